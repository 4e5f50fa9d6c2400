"""The events of a run, as the files of an experiment tracker; a new form is one file and one line."""

from collections.abc import Callable
from pathlib import Path

from silogan.common.errors import DataError
from silogan.common.files import writing
from silogan.common.registry import lookup
from silogan.server.tracking import mlflow, tensorboard
from silogan.server.tracking.tracked import Tracked, tracked

Form = Callable[[Tracked, Path], Path]
"""Writes a run beside others into a tracker's folder, over what it wrote of the same run before; returns where.

Raises:
    OSError: the folder cannot be written.
"""

FORMS: dict[str, Form] = {"mlflow": mlflow.write, "tensorboard": tensorboard.write}


def track(run_dir: Path, form: str, out: Path) -> str:
    """Writes what `events.jsonl` says of a run, and nothing else: the coordinator sees all of it.

    Args:
        run_dir: a run folder, of a simulation or of a coordinator; the run may still go on.
        form: a name in `FORMS`.
        out: the tracker's folder, with other runs or none.

    Returns:
        What was written, in one line.

    Raises:
        ConfigError: there is no run, no such form, or the folder cannot be written.
        DataError: the run has no events yet.
    """
    write = lookup(FORMS, form, "--to")
    found = tracked(run_dir)
    if not found.metrics:
        raise DataError(f"run folder '{run_dir}'", "has no events yet", "wait for the first answers")
    with writing(f"--out {out}", "choose another folder"):
        place = write(found, out)
    return f"{len(found.metrics)} values of {len({metric.name for metric in found.metrics})} metrics in {place}"
