"""Checks every file of a coordinator's folder, and repairs what can be repaired from the rest.

Repairs use only the coordinator's own files; nothing is guessed, and nothing is deleted: a replaced file is kept beside
its successor. What cannot be repaired is reported with the one command or step that repairs it.
"""

import shutil
from collections.abc import Generator, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from silogan.common.errors import FederationError, SiloganError, UsageError, VerificationError
from silogan.common.files import write_bytes_atomically
from silogan.common.operations.supervise import only_one, running
from silogan.common.privacy.plan import canonical_json
from silogan.common.wire.run_folder import EVENTS_FILE, checkpoint_path, checkpoint_paths
from silogan.server.operations import database
from silogan.server.operations.actions import ACTIONS_FILE, read_actions
from silogan.server.operations.authority import Authority
from silogan.server.operations.control import Control
from silogan.server.operations.coordinator import INNER, SECRETS, Coordinator, make_secrets, require_access
from silogan.server.operations.enrolment import COPY_FILE, SITES_FILE, Enrolment
from silogan.server.operations.settings import SETTINGS_FILE, Settings
from silogan.server.operations.submission import RUNS_FOLDER, Runs, Submission
from silogan.server.rounds.checkpoint import recover
from silogan.server.rounds.events import read_events

_PRIVATE = (*SECRETS, "ca.key", "server.key", f"{INNER}/ca.key", f"{INNER}/server.key")


@dataclass(frozen=True)
class Finding:
    """One problem.

    Attributes:
        thing: a file, a hospital or a run.
        problem: what is, or was, wrong with it.
        hint: what was done, or is to be done.
        mended: whether it was done.
    """

    thing: str
    problem: str
    hint: str
    mended: bool


def require_folder(folder: Path) -> None:
    """Refuses a folder that is not a coordinator's, however damaged.

    Raises:
        UsageError: there is no such folder.
        ConfigError: this user may not enter it.
    """
    require_access(folder)
    if not folder.is_dir() or not any((folder / name).exists() for name in (SETTINGS_FILE, SITES_FILE, RUNS_FOLDER)):
        hint = "give a coordinator's folder, or make one with `silogan server restore`"
        raise UsageError(f"server folder '{folder}'", "is not a coordinator folder", hint)


def repair(folder: Path) -> list[Finding]:
    """Checks everything in a coordinator's folder, whether it runs or not; returns the problems."""
    folder = folder.absolute()
    runs = bool(running(folder))
    with ExitStack() as stack:
        if not runs:  # nobody starts it meanwhile
            stack.enter_context(only_one(folder, "server"))
        return list(_findings(folder, runs=runs))


def _findings(folder: Path, *, runs: bool) -> Iterator[Finding]:
    settings = yield from _settings(folder)
    yield from _secrets(folder)
    yield from _certificates(folder, settings, runs=runs)
    yield from _sites(folder)
    yield from _database(folder, runs=runs)
    if runs and settings is not None:
        yield from _hospitals(folder, Coordinator(folder).control)
    yield from _runs(folder)
    lines = _damaged_lines(folder / ACTIONS_FILE, len(read_actions(folder)))
    if lines:
        yield Finding(f"file '{ACTIONS_FILE}'", f"has {lines} lines that cannot be read", "they are left out", True)


def _settings(folder: Path) -> Generator[Finding, None, Settings | None]:
    try:
        return Settings.load(folder)
    except SiloganError as error:
        hint = f"correct it, or move {SETTINGS_FILE} away and run `silogan server init --name NAME`"
        yield Finding(f"file '{SETTINGS_FILE}'", f"{error.thing} {error.problem}", hint, False)
        return None


def _secrets(folder: Path) -> Iterator[Finding]:
    for name in _PRIVATE:
        path = folder / name
        if path.is_file() and path.stat().st_mode & 0o077:
            path.chmod(0o600)
            yield Finding(f"file '{name}'", "was open to other users", "only its owner can read it now", True)
    for name in make_secrets(folder):
        yield Finding(f"file '{name}'", "was missing", "was recreated; restart the coordinator if it is running", True)


def _certificates(folder: Path, settings: Settings | None, *, runs: bool) -> Iterator[Finding]:
    if settings is not None:
        try:
            Authority(folder).check(settings.names)
        except SiloganError as error:
            yield Finding(error.thing, error.problem, error.hint, False)
    try:
        Authority(folder / INNER).check(["localhost"])
    except SiloganError as error:
        if runs:
            hint = "run `silogan server stop`, then `silogan server repair`"
            yield Finding(f"folder '{INNER}'", error.problem, hint, False)
            return
        shutil.rmtree(folder / INNER, ignore_errors=True)
        (folder / INNER).mkdir(mode=0o700)
        Authority.create(folder / INNER, "SiloGAN inner").renew(["localhost"])
        yield Finding(f"folder '{INNER}'", "had damaged or expired certificates", "they were recreated", True)


def _sites(folder: Path) -> Iterator[Finding]:
    enrolment, copy = Enrolment(folder), folder / COPY_FILE
    try:
        enrolment.all()
    except VerificationError as damage:
        try:
            number = enrolment.repair()
        except VerificationError as error:
            yield Finding(error.thing, error.problem, error.hint, False)
        else:
            yield Finding(damage.thing, damage.problem, f"was restored from its copy: {number} hospitals", True)
        return
    source = folder / SITES_FILE
    if source.exists() and not (copy.is_file() and copy.read_bytes() == source.read_bytes()):
        write_bytes_atomically(copy, source.read_bytes())
        yield Finding(f"file '{COPY_FILE}'", "was missing or older", "was rewritten", True)


def _database(folder: Path, *, runs: bool) -> Iterator[Finding]:
    thing = f"file '{database.DATABASE}'"
    if database.is_damaged(folder, thorough=True):
        if runs:
            yield Finding(thing, "is damaged", "run `silogan server stop`, then `silogan server repair`", False)
            return
        name = database.set_aside(folder)
        yield Finding(thing, "was damaged", f"is renamed {name}; {_AT_START}", True)
    elif not runs and not (folder / database.DATABASE).exists() and _was_told(folder):
        yield Finding(thing, "is missing", _AT_START, True)


_AT_START = "`silogan server start` registers the hospitals again"


def _was_told(folder: Path) -> bool:
    try:
        return any(site.node for site in Enrolment(folder).all().values())
    except VerificationError:
        return False


def _hospitals(folder: Path, control: Control) -> Iterator[Finding]:
    """Registers the hospitals that the SuperLink does not know."""
    enrolment = Enrolment(folder)
    try:
        before = enrolment.all()
        problems = enrolment.tell(control)
    except VerificationError:  # said already
        return
    except FederationError as error:
        yield Finding(error.thing, error.problem, error.hint, False)
        return
    for name, site in enrolment.all().items():
        if name in problems:
            yield Finding(f"hospital '{name}'", problems[name], "see above", False)
        elif name in before and before[name].node not in (0, site.node):
            yield Finding(f"hospital '{name}'", "was unknown to the SuperLink", "was registered again", True)


def _runs(folder: Path) -> Iterator[Finding]:
    runs = Runs(folder)
    for name in runs.all():
        thing = f"run '{name}'"
        try:
            yield from _run(runs, name)
        except SiloganError as error:
            problem = error.problem if error.thing == thing else f"{error.thing} {error.problem}"
            yield Finding(thing, problem, error.hint, False)
        except OSError as error:
            yield Finding(thing, f"cannot be used ({error.strerror})", "restore its folder from a backup", False)


def _run(runs: Runs, name: str) -> Iterator[Finding]:
    folder, thing = runs.path(name), f"run '{name}'"
    try:
        submission = runs.get(name)
    except VerificationError as error:
        submission = Submission("stopped", problem="its state was damaged: submit it again to continue")
        runs.set(name, submission)
        yield Finding(thing, error.problem, "now counts as stopped: submit its scenario again to continue", True)
    if submission.state == "running":  # its process has all of this in memory, and writes it again
        return
    found = runs.check(name)
    if found.problem:
        for path in _damaged_checkpoints(folder):
            path.rename(path.with_name(f"{path.name}.damaged"))
        yield Finding(thing, found.problem, "the damaged file is kept beside it", True)
    lines = _damaged_lines(folder / EVENTS_FILE, len(read_events(folder)))
    if lines:
        content = "".join(f"{canonical_json(event)}\n" for event in read_events(folder)).encode()
        shutil.copyfile(folder / EVENTS_FILE, folder / f"{EVENTS_FILE}.damaged")
        write_bytes_atomically(folder / EVENTS_FILE, content)
        yield Finding(thing, f"{EVENTS_FILE} had {lines} lines that cannot be read", "they were left out", True)
    if submission.state == "damaged":
        runs.set(name, replace(submission, state="queued", problem=""))
        yield Finding(thing, "was set aside", "can continue and is queued", True)


def _damaged_checkpoints(folder: Path) -> list[Path]:
    """Those that are newer than the one from which the run continues."""
    found = recover(folder).checkpoint
    kept = "" if found is None else checkpoint_path(folder, found.round).name
    return [path for path in checkpoint_paths(folder) if path.name > kept]


def _damaged_lines(path: Path, readable: int) -> int:
    """The number of unreadable lines in a file of JSON lines."""
    try:
        return len(path.read_bytes().split(b"\n")) - 1 - readable
    except OSError:
        return 0
