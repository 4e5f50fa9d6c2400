"""MLflow's file store (`mlflow ui --backend-store-uri FOLDER`), written without MLflow."""

import hashlib
from collections import defaultdict
from pathlib import Path
from typing import Any

from silogan.common.files import write_bytes_atomically
from silogan.common.yaml_text import write_yaml
from silogan.server.tracking.tracked import Metric, Tracked

_FINISHED, _LOCAL = 3, 4  # MLflow's numbers for a run that has ended and for a source on this machine


def write(run: Tracked, out: Path) -> Path:
    """Writes a run into the experiment that has the study's name; returns the run's folder."""
    experiment = _experiment(run, out)
    folder = experiment / run.run_id
    for name in ("metrics", "params", "tags", "artifacts"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    lines: dict[str, list[str]] = defaultdict(list)
    for metric in run.metrics:
        lines[metric.name].append(_line(metric))
    for name, values in lines.items():
        write_bytes_atomically(folder / "metrics" / name, "".join(values).encode())
    write_bytes_atomically(folder / "tags" / "mlflow.runName", run.name.encode())
    about = {
        "artifact_uri": (folder / "artifacts").resolve().as_uri(),
        "end_time": _milliseconds(run.ended),
        "entry_point_name": "",
        "experiment_id": experiment.name,
        "lifecycle_stage": "active",
        "run_id": run.run_id,
        "run_name": run.name,
        "run_uuid": run.run_id,
        "source_name": "",
        "source_type": _LOCAL,
        "source_version": "",
        "start_time": _milliseconds(run.started),
        "status": _FINISHED,
        "tags": [],
        "user_id": "",
    }
    _write_about(folder, about)
    return folder


def _experiment(run: Tracked, out: Path) -> Path:
    """The folder of the experiment, whose number follows from its name."""
    number = int(hashlib.sha256(run.study.encode()).hexdigest()[:14], 16)
    folder = out / str(number)
    folder.mkdir(parents=True, exist_ok=True)
    about = {
        "artifact_location": folder.resolve().as_uri(),
        "creation_time": _milliseconds(run.started),
        "experiment_id": folder.name,
        "last_update_time": _milliseconds(run.started),
        "lifecycle_stage": "active",
        "name": run.study,
    }
    if not (folder / "meta.yaml").exists():
        _write_about(folder, about)
    return folder


def _write_about(folder: Path, about: dict[str, Any]) -> None:
    write_bytes_atomically(folder / "meta.yaml", write_yaml(about).encode())


def _line(metric: Metric) -> str:
    return f"{_milliseconds(metric.time)} {metric.value!r} {metric.step}\n"


def _milliseconds(time: float) -> int:
    return round(1000 * time)
