"""The runs of a coordinator: one folder and one state each.

    proposed ── queued ── running ── finished
                  ▲          │
                  └──────────┴── failed, stopped, damaged

A run that failed continues from its checkpoint when it is queued again. One whose folder is damaged is set aside, and
the others continue.
"""

import json
import re
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import AfterValidator, Field, TypeAdapter
from pydantic.dataclasses import dataclass

from silogan.common.bounds import STRICT
from silogan.common.config.scenario import Scenario
from silogan.common.errors import ConfigError, SiloganError, VerificationError, one_line
from silogan.common.files import write_bytes_atomically, writing
from silogan.common.privacy.plan import choose_unit
from silogan.common.wire.run_folder import QUARANTINE_FILE, RUN_FILE, SUBMISSION_FILE, make_folders
from silogan.common.wire.study import SiteDeclaration, Study
from silogan.server.rounds.quarantine import Quarantine

if TYPE_CHECKING:
    from silogan.server.rounds.checkpoint import Recovered

RUNS_FOLDER = "runs"
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,127}")

State = Literal["proposed", "queued", "running", "finished", "failed", "stopped", "damaged"]


@dataclass(frozen=True, config=STRICT)
class Submission:
    """The state of a run.

    Attributes:
        state: see above.
        number: of its last submission at the SuperLink; 0 before the first.
        attempts: submissions since the last round that was completed.
        problem: why it failed or waits, in one line.
    """

    state: State = "proposed"
    number: Annotated[int, Field(ge=0, lt=2**64)] = 0
    attempts: Annotated[int, Field(ge=0)] = 0
    problem: Annotated[str, AfterValidator(one_line)] = ""


_ENROL = "enrol each with `silogan server enrol`"
_SUBMISSION: TypeAdapter[Submission] = TypeAdapter(Submission)


def make_study(scenario: Scenario, sites: tuple[SiteDeclaration, ...]) -> Study:
    """Makes a study of a scenario and hospitals, without reading any data.

    Raises:
        ConfigError: the scenario names what does not exist, leaves open what the data looks like, or counts other
            hospitals than those given.
        PrivacyRefusal: its budget does not pay for one round.
    """
    from silogan.server.rounds import begin  # noqa: PLC0415  (torch, which looking at runs does without)

    begin.check_scenario(scenario)
    if not sites:
        raise ConfigError("sites.count", f"is {scenario.sites.count}, but no hospital is enrolled", _ENROL)
    if scenario.sites.count != len(sites):
        hint = f"--set sites.count={len(sites)}, or name the sites"
        raise ConfigError("sites.count", f"is {scenario.sites.count}, but {len(sites)} sites take part", hint)
    if not scenario.privacy.enabled:
        raise ConfigError("privacy.enabled", "is false, which hospitals refuse", "set it, or use `silogan simulate`")
    unit = choose_unit(scenario, patients_known=True)
    return begin.make_study(scenario, scenario.data.declared_schema(), unit, sites)


class Runs:
    """The runs of a coordinator.

    Args:
        folder: the coordinator's.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder / RUNS_FOLDER

    def path(self, name: str) -> Path:
        """The folder of a run.

        Raises:
            ConfigError: there is no run of that name.
        """
        if not _NAME.fullmatch(name) or not (self._folder / name).is_dir():
            raise ConfigError(f"run '{name}'", "does not exist", "see `silogan server status`")
        return self._folder / name

    def propose(self, study: Study) -> str:
        """Makes the folder of a study, unless it is there, and returns its name."""
        name = f"{study.scenario.name}-{study.study_id[:8]}"
        folder = self._folder / name
        with writing(f"run folder '{folder}'", "free or repair the disk"):
            make_folders(folder)
            if not _holds(folder, study):
                study.save(folder)
            if not (folder / SUBMISSION_FILE).exists():
                self._write(folder, Submission())
        return name

    def all(self) -> dict[str, Submission]:
        """Every run by its name, the oldest first; one whose state cannot be read is `damaged`."""
        folders = [path for path in self._folder.glob("*") if path.is_dir() and _NAME.fullmatch(path.name)]
        return {folder.name: self._found(folder.name) for folder in sorted(folders, key=_age)}

    def get(self, name: str) -> Submission:
        """The state of a run.

        Raises:
            ConfigError: there is no run of that name.
            VerificationError: what was written down is missing or damaged.
        """
        try:
            return _SUBMISSION.validate_json((self.path(name) / SUBMISSION_FILE).read_bytes())
        except (OSError, ValueError):
            problem, hint = f"has a missing or damaged {SUBMISSION_FILE}", "run `silogan server repair`"
            raise VerificationError(f"run '{name}'", problem, hint) from None

    def check(self, name: str) -> "Recovered":
        """Whether a run can continue, and from which checkpoint.

        Raises:
            ConfigError, PrivacyRefusal, VerificationError: what is damaged, and how to repair it.
        """
        from silogan.server.rounds.checkpoint import recover  # noqa: PLC0415  (as above)

        folder = self.path(name)
        try:
            study = Study.load(folder)
        except ConfigError:
            hint = "submit its scenario again, which rewrites the file"
            raise VerificationError(f"run '{name}'", f"has a missing or damaged {RUN_FILE}", hint) from None
        make_folders(folder)
        Quarantine(folder / QUARANTINE_FILE, study.scenario.federation.quarantine_after)
        found = recover(folder)
        if found.checkpoint is not None and found.checkpoint.study_id != study.study_id:
            raise VerificationError(f"run '{name}'", "has checkpoints of another study", "restore its own checkpoints")
        return found

    def _found(self, name: str) -> Submission:
        try:
            return self.get(name)
        except SiloganError as error:
            return Submission("damaged", problem=str(error))

    def set(self, name: str, submission: Submission) -> None:
        """Writes down where a run stands."""
        self._write(self.path(name), submission)

    def _write(self, folder: Path, submission: Submission) -> None:
        write_bytes_atomically(folder / SUBMISSION_FILE, json.dumps(asdict(submission)).encode())


def _age(folder: Path) -> tuple[float, str]:
    """The creation time of a run, from its `run.yaml`; a run without one counts as the oldest."""
    try:
        return (folder / RUN_FILE).stat().st_mtime, folder.name
    except OSError:
        return 0.0, folder.name


def _holds(folder: Path, study: Study) -> bool:
    try:
        return Study.load(folder) == study
    except SiloganError:
        return False
