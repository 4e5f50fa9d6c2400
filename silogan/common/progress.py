"""How far long work has come: whoever does it says so, and whoever wants to know listens.

    with listening(show):                      # show(Told("measuring", "classifier", 3, 8, 0.41))
        begin("measuring")
        begin_part("classifier")
        for epoch in track(range(8)):
            for batch in track(batches): ...

Loops in loops add up to one fraction. Where nobody listens, as at a hospital, nothing is told, and it costs nothing. No
result and no random number depends on it.

Privacy: names and numbers of steps are those of the study, which is public. No loop over records is tracked, but for
those of measurements, which are for records whose owner agrees.
"""

import json
import time
from collections.abc import Callable, Collection, Generator, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import NamedTuple, TypeVar

_T = TypeVar("_T")

STOPPING = "stopping"
"""What is told instead of a phase when the work is to end before its time; the part says when it will."""

LEAST_SECONDS = 0.2
"""Between two steps of one loop that are told."""


class Told(NamedTuple):
    """What is told.

    Attributes:
        phase: what is going on, in a word or two.
        part: of the phase; empty if it has none.
        done: steps of the outermost loop that are done.
        of: its steps; 0 if they are not known.
        fraction: of the part that is done, inner loops included, from 0 to 1.
        who: the site that tells it; empty if the server or a measurement does.
    """

    phase: str
    part: str = ""
    done: int = 0
    of: int = 0
    fraction: float = 0.0
    who: str = ""


Listener = Callable[[Told], None]


class _Teller:
    """Keeps where one thread is, and tells it."""

    def __init__(self, listener: Listener, who: str) -> None:
        self._listener, self._who = listener, who
        self._phase, self._part = "", ""
        self._loops: list[tuple[int, int]] = []
        self._next = 0.0

    def begin(self, phase: str, part: str, done: int, of: int) -> None:
        self._phase, self._part = phase or self._phase, part
        self._loops[:] = [(done, of)] if of else []
        self._tell(at_once=True)

    def track(self, steps: Iterable[_T], of: int) -> Iterator[_T]:
        depth = len(self._loops)
        self._loops.append((0, of))
        try:
            self._tell()
            for done, step in enumerate(steps, start=1):
                yield step
                self._loops[depth:] = [(done, of)]
                self._tell(at_once=not depth and done == of)
        finally:
            del self._loops[depth:]

    def _tell(self, *, at_once: bool = False) -> None:
        now = time.monotonic()
        if now < self._next and not at_once:
            return
        self._next = now + LEAST_SECONDS
        fraction, width = 0.0, 1.0
        for done, of in self._loops:
            width /= max(1, of)
            fraction += done * width
        outermost = self._loops[0] if self._loops else (0, 0)
        self._listener(Told(self._phase, self._part, *outermost, min(1.0, fraction), self._who))


_teller: ContextVar[_Teller | None] = ContextVar("teller", default=None)


@contextmanager
def listening(listener: Listener | None, who: str = "") -> Generator[None]:
    """Tells the listener what this thread does within the context; nobody if it is None."""
    before = _teller.get()
    _teller.set(None if listener is None else _Teller(listener, who))
    try:
        yield
    finally:
        _teller.set(before)


def begin(phase: str, part: str = "", *, done: int = 0, of: int = 0) -> None:
    """Says that a phase begins, which lasts until the next one.

    Args:
        phase: in a word or two.
        part: of the phase that begins with it.
        done: steps that are done of a loop that somebody else goes round; said again as the loop goes on.
        of: its steps.
    """
    if teller := _teller.get():
        teller.begin(phase, part, done, of)


def begin_part(part: str) -> None:
    """Says that a part of the phase begins."""
    if teller := _teller.get():
        teller.begin("", part, 0, 0)


def track(steps: Iterable[_T], of: int | None = None) -> Iterator[_T]:
    """The same steps one by one; `of` says how many they are, where they do not know it themselves."""
    teller = _teller.get()
    if teller is None:
        return iter(steps)
    return teller.track(steps, of or (len(steps) if isinstance(steps, Collection) else 0))


def writer(path: Path) -> Listener | None:
    """Appends what is told to a file, from which another process reads; None if nobody has made one."""
    if not path.is_file():
        return None

    def write(told: Told) -> None:
        try:
            with path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(told) + "\n")
        except OSError:
            pass  # a full disk stops the work where it matters

    return write


def read_told(path: Path, start: int) -> tuple[list[Told], int]:
    """What was written from the byte `start` on, and the byte from which to go on; what is damaged is left out."""
    try:
        with path.open("rb") as file:
            file.seek(start)
            lines = file.read().splitlines(keepends=True)
    except OSError:
        return [], start
    if lines and not lines[-1].endswith(b"\n"):
        lines.pop()  # not yet written to its end
    found: list[Told] = []
    for line in lines:
        try:
            phase, part, done, of, fraction, who = json.loads(line)
            found.append(Told(str(phase), str(part), int(done), int(of), float(fraction), str(who)))
        except (ValueError, TypeError):
            continue
    return found, start + sum(map(len, lines))
