"""The names of a run's files: the only place that knows them. Imports nothing slow.

A coordinator's run has only the first block; a simulation also holds its hospitals' files, and has all of them.
"""

import shutil
from pathlib import Path

RUN_FILE = "run.yaml"
SUBMISSION_FILE = "submission.json"
EVENTS_FILE = "events.jsonl"
QUARANTINE_FILE = "quarantine.json"
QUARANTINE_LOCK = ".quarantine.lock"
OUTCOME_FILE = "outcome.json"
GENERATOR_FILE = "generator.safetensors"
CHECKPOINT_FOLDER = "checkpoints"
SAMPLES_FOLDER = "samples"

PARTITION_FILE = "partition.npz"
LEDGER_FOLDER = "ledgers"
STATE_FOLDER = "sites"
REPORT_FILE = "report.json"
REPORT_PAGE = "report.html"
SUMMARY_FILE = "summary.json"
SUMMARY_PAGE = "summary.html"
"""Of several seeds, in the folder that holds their runs."""
RAY_LOG = "ray.log"
SITES_LOG = "sites.log"
LOCK_FILE = ".lock"
PROGRESS_FILE = ".progress.jsonl"
"""How far a run is within its phases; there only while somebody watches (`silogan/common/progress.py`)."""
TIMES_FILE = "times.json"
"""Seconds of each stage, of a run that was watched; an older one stays when its run is deleted."""
CONTROL_FOLDER = "control"
"""A simulation's second run, that of the control of `training.refine`: a run folder too."""

DATASHEET_FILE = "release.yaml"
AUDITS_FOLDER = "audits"
"""What people put into a run folder for its release: a data sheet, and the audits that real hospitals gave."""

RUNS_VARIABLE = "SILOGAN_RUNS"
"""Environment variable of a coordinator's ServerApp: the folder of its runs."""

_COORDINATORS_FOLDERS = (CHECKPOINT_FOLDER, SAMPLES_FOLDER)
_FOLDERS = (LEDGER_FOLDER, STATE_FOLDER, *_COORDINATORS_FOLDERS)
_DELETED = (
    *(REPORT_FILE, REPORT_PAGE, GENERATOR_FILE, OUTCOME_FILE, EVENTS_FILE, QUARANTINE_FILE, RAY_LOG, SITES_LOG),
    *(SAMPLES_FOLDER, CHECKPOINT_FOLDER, STATE_FOLDER, LEDGER_FOLDER, CONTROL_FOLDER, PARTITION_FILE),
    *(PROGRESS_FILE, RUN_FILE),
)


def make_folders(run_dir: Path, *, simulated: bool = False) -> None:
    """Creates the folders of a run that are missing."""
    for name in _FOLDERS if simulated else _COORDINATORS_FOLDERS:
        (run_dir / name).mkdir(parents=True, exist_ok=True)


def holds_run(run_dir: Path) -> bool:
    """Whether a run was begun in this folder."""
    return (run_dir / RUN_FILE).exists()


def holds_others(run_dir: Path) -> bool:
    """Whether the folder holds anything that no run writes."""
    known = {*_DELETED, *_FOLDERS, LOCK_FILE, QUARANTINE_LOCK, TIMES_FILE}
    return any(path.name not in known for path in run_dir.iterdir())


def delete_run(run_dir: Path) -> None:
    """Deletes what a run writes, `run.yaml` last: killed in between, the folder still says that it holds a run."""
    for name in _DELETED:
        path = run_dir / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def checkpoint_path(run_dir: Path, number: int) -> Path:
    """The checkpoint of a round."""
    return run_dir / CHECKPOINT_FOLDER / f"round-{number:06d}.safetensors"


def checkpoint_paths(run_dir: Path) -> list[Path]:
    """All checkpoints that are there, the oldest first."""
    return sorted((run_dir / CHECKPOINT_FOLDER).glob("round-*.safetensors"))


def sample_sheet(run_dir: Path, number: int | None = None) -> Path:
    """The contact sheet of a round; that of the finished generator for None."""
    return run_dir / SAMPLES_FOLDER / ("final.png" if number is None else f"round-{number:06d}.png")


def ledger_path(run_dir: Path, site: str) -> Path:
    """The ledger of a simulated site."""
    return run_dir / LEDGER_FOLDER / f"{site}.sqlite"


def key_path(run_dir: Path, site: str) -> Path:
    """The key of a simulated site, which lies beside its ledger."""
    return run_dir / LEDGER_FOLDER / f"{site}.key"
