"""A run as trackers see it: a name, and numbers with their step and time."""

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from silogan.common.wire.run_folder import RUN_FILE
from silogan.common.wire.study import Study
from silogan.server.rounds.events import ASKED, read_events

_NOT_MEASURED = ("round", "rounds")
_NAME = re.compile(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)*")  # a file's name at MLflow, so nothing else


class Metric(NamedTuple):
    """One number.

    Attributes:
        name: what it is, as "epsilon.max"; small letters, digits, underscores, and dots between parts.
        step: the round; 0 for the phases before the first.
        time: seconds since 1970.
        value: the number.
    """

    name: str
    step: int
    time: float
    value: float


@dataclass(frozen=True)
class Tracked:
    """A run.

    Args:
        run_id: 32 hexadecimal digits: always the same for the same run in the same folder.
        study: the name of its scenario.
        started: when, in seconds since 1970.
        metrics: in the order of time.
    """

    run_id: str
    study: str
    started: float
    metrics: tuple[Metric, ...]

    @property
    def name(self) -> str:
        """A name that tells runs of one study apart."""
        return f"{self.study}-{self.run_id[:8]}"

    @property
    def ended(self) -> float:
        """When its last event was, in seconds since 1970."""
        return max((metric.time for metric in self.metrics), default=self.started)


def tracked(run_dir: Path) -> Tracked:
    """The run in a folder. Events have no date: their seconds are added up from that of `run.yaml`.

    Raises:
        ConfigError: there is none.
    """
    study = Study.load(run_dir)
    started = (run_dir / RUN_FILE).stat().st_mtime
    identity = hashlib.sha256(f"{study.study_id} {run_dir.resolve()}".encode()).hexdigest()
    return Tracked(identity[:32], study.scenario.name, started, tuple(_metrics(run_dir, started)))


def _metrics(run_dir: Path, started: float) -> Iterator[Metric]:
    now = started
    for event in read_events(run_dir):
        now += event.get("seconds", 0.0)
        if event.get("step") == ASKED:
            continue  # nothing has been answered
        before = f"{event['phase']}.{event['step']}." if "phase" in event else ""
        for name, value in _numbers(event):
            if _NAME.fullmatch(before + name):
                yield Metric(before + name, event["round"], now, value)


def _numbers(event: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """Every number of an event by its name; a list by its length."""
    for name, value in event.items():
        match value:
            case bool() | str() | None:
                continue
            case int() | float() if name not in _NOT_MEASURED:
                yield name, float(value)
            case list():
                yield name, float(len(value))
            case dict():
                yield from ((f"{name}.{part}", number) for part, number in _numbers(value))
            case _:
                continue
