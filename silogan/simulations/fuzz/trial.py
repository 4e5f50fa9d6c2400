"""One trial: the outcome of a mutation, its time and memory, and the files that changed."""

import contextlib
import fnmatch
import io
import os
import re
import shutil
import sqlite3
import time
import traceback
import warnings
from collections.abc import Callable, Generator
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from typing import Any

from silogan.common.errors import ERRORS_BY_EXIT_CODE, SiloganError
from silogan.simulations.fuzz.content import bytes_file
from silogan.simulations.fuzz.kinds import KINDS, Kind
from silogan.simulations.fuzz.messages import NotDeliveredError
from silogan.simulations.processes import memory

MOST_SECONDS = 2.0
"""Of processor time: the machine may have other work."""

MOST_BYTES = 500 * 2**20
_LONGEST = 2000  # characters of an error
_PEAK_RESET = Path("/proc/self/clear_refs")


@dataclass(frozen=True)
class Outcome:
    """The outcome of one mutation.

    Attributes:
        kind: which input.
        index: which mutation of it.
        how: "accepted", "refused N" with the exit code, "not delivered", or what is wrong.
        detail: for people.
        seconds: of processor time.
        megabytes: of memory beyond what the process had.
    """

    kind: str
    index: int
    how: str
    detail: str = ""
    seconds: float = 0.0
    megabytes: float = 0.0

    @property
    def is_finding(self) -> bool:
        """Whether the outcome is a finding."""
        return not re.fullmatch(r"accepted|refused \d|not delivered", self.how)

    def to_json(self) -> dict[str, Any]:
        """As in the file that `--json` names."""
        return asdict(self)


Measured = tuple[str, str, float, float]
"""What came of it and its detail, as in `Outcome`; seconds of processor time; and megabytes beyond the start."""


def mutation(kind: str, seed: int, index: int, original: bytes) -> bytes:
    """The mutated input; the same for the same numbers."""
    rng = Random(f"{seed}/{kind}/{index}")  # noqa: S311  (to be repeated)
    try:
        return KINDS[kind].mutate(rng, original)
    except Exception:  # what one change has left another cannot always be made of
        return bytes_file(rng, original)


def attempt(kind: str, index: int, place: Path, content: bytes) -> Outcome:
    """Gives the input to what reads it.

    Args:
        kind: which input it is.
        index: which mutation of it.
        place: an intact place; is as intact afterwards.
        content: the input.
    """
    (place / KINDS[kind].file).write_bytes(content)

    def look(found: Kind) -> Measured:
        resident, began = reset_peak(), time.process_time()
        how, detail = _outcome(found, place)
        return how, detail, time.process_time() - began, (peak() - resident) / 2**20

    return judged(kind, index, place, look)


def judged(kind: str, index: int, place: Path, look: Callable[[Kind], Measured]) -> Outcome:
    """What came of giving a place to what reads it, its time, memory and files among that.

    Args:
        kind: which input was spoilt.
        index: which mutation of it.
        place: where it lies.
        look: has it read.
    """
    found, before, kept = KINDS[kind], listing(place), entries(place)
    how, detail, seconds, megabytes = look(found)
    if seconds > MOST_SECONDS:
        how, detail = "too slow", f"{seconds:.1f} s after {how} {detail}"
    elif megabytes * 2**20 > MOST_BYTES:
        how, detail = "too large", f"{megabytes:.0f} MB after {how} {detail}"
    changed = [name for name in _changes(before, listing(place)) if not allowed(found, name)]
    lost = [name for name, rows in kept.items() if entries(place).get(name, [])[: len(rows)] != rows]
    changed += [f"entries of {name}" for name in lost]
    if changed:
        how, detail = "changed files", f"{', '.join(changed[:3])} after {how} {detail}"
    return Outcome(kind, index, how, detail, round(seconds, 3), round(max(0.0, megabytes), 1))


def _outcome(kind: Kind, place: Path) -> tuple[str, str]:
    with quiet(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            kind.attempt(place)
        except NotDeliveredError:
            return "not delivered", ""
        except SiloganError as error:
            return said(str(error), error.exit_code)
        except Exception as error:
            return f"raised {type(error).__name__}", _where(error)
    return "accepted", ""


def said(text: str, code: int) -> tuple[str, str]:
    """Whether an error is a line for people."""
    if code not in ERRORS_BY_EXIT_CODE:
        return "undocumented exit code", f"{code}: {text[:200]}"
    if len(text.splitlines()) > 1 or not text.isprintable():
        return "not one printable line", ascii(text)[:300]
    if len(text) > _LONGEST:
        return "a long error", f"{len(text)} characters: {text[:100]}"
    return f"refused {code}", text


def _where(error: Exception) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    places = " < ".join(f"{Path(frame.filename).name}:{frame.lineno}" for frame in reversed(frames[-6:]))
    return f"{ascii(str(error))[:160]} at {places}"


@contextmanager
def quiet() -> Generator[None]:
    """Suppresses all output within the context."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield


# --- memory ----------------------------------------------------------------------------------------------------------


def reset_peak() -> int:
    """Forgets the largest memory so far; bytes that the process has now."""
    _PEAK_RESET.write_text("5")
    return memory("VmRSS")


def peak() -> int:
    """The most bytes that the process has had since."""
    return memory("VmHWM")


# --- files -----------------------------------------------------------------------------------------------------------

Listing = dict[str, tuple[int, int, int]]


def listing(place: Path) -> Listing:
    """Every file of a place: its size, when it was written to, and its permissions."""
    found: Listing = {}
    for folder, _, names in os.walk(place):
        for name in names:
            path = Path(folder) / name
            facts = path.lstat()
            found[path.relative_to(place).as_posix()] = (facts.st_size, facts.st_mtime_ns, facts.st_mode)
    return found


def _changes(before: Listing, after: Listing) -> list[str]:
    return [name for name in sorted({*before, *after}) if before.get(name) != after.get(name)]


def allowed(kind: Kind, name: str) -> bool:
    """Whether a kind's reader may change a file; through a link it is known by its path; logs and copies may grow."""
    return any(fnmatch.fnmatch(name, pattern) for pattern in kind.may_change) or name.endswith(
        (".lock", "-shm", "-wal", "actions.jsonl", "sites.copy.json")
    )


def entries(place: Path) -> dict[str, list[tuple[object, ...]]]:
    """The rows of the register and of each ledger that SQLite can read."""
    found: dict[str, list[tuple[object, ...]]] = {}
    for path in (place / "node").glob("**/*.sqlite"):
        opened = f"{path.as_uri()}?mode=ro"
        with suppress(sqlite3.Error, UnicodeDecodeError), closing(sqlite3.connect(opened, uri=True)) as db:
            tables = db.execute("SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = 'entries'")
            if tables.fetchone()[0]:
                found[path.name] = db.execute("SELECT * FROM entries ORDER BY 1").fetchall()
    return found


def restore(place: Path, base: Path) -> None:
    """Makes a place as the one that it is a copy of."""
    wanted, have = listing(base), listing(place)
    for name in _changes(wanted, have):
        path = place / name
        path.unlink(missing_ok=True)
        if name in wanted:
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(base / name, path, follow_symlinks=False)
    for name in ("out", "restored"):
        shutil.rmtree(place / name, ignore_errors=True)
