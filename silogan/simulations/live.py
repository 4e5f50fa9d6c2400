"""The live view: a line with a bar for each phase, time left, and one line for each round as it ends.

It looks the same whoever works, this process or those of Ray: the coordinator writes `events.jsonl` in any case, and
all of them write where they are to a file beside it while somebody watches (`silogan/common/progress.py`).
"""

import threading
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console, Group, RenderableType
from rich.markup import escape
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from silogan.common.files import writing
from silogan.common.pages.words import budget
from silogan.common.pages.words import epsilon as epsilon_in_words
from silogan.common.progress import STOPPING, Told, listening, read_told
from silogan.common.wire.run_folder import PROGRESS_FILE
from silogan.common.wire.study import Study
from silogan.server.rounds.events import ANSWERED, ASKED, Event, read_events
from silogan.server.rounds.stages import FITTING, STATISTICS, stages
from silogan.simulations.control import has_control
from silogan.simulations.screen import LOOK_SECONDS, clock, shown, watched
from silogan.simulations.times import Clock, phase_of, stage_of

PREPARING, MEASURING, CONTROL = "preparing", "measuring", "control"
"""Phases of a simulation beside those of its coordinator; the last stands before the names of a control's."""

_BAR = 18  # characters
_NOTHING = Told("")


@dataclass
class _Step:
    """What goes on between two steps of a part: where these are long, so is the time in which nothing is told.

    Attributes:
        first: fraction of the part that was done when it began.
        fraction: that was told last.
        spent: seconds on the part when that was told first.
        gain: by how much it then rose.
    """

    first: float = 0.0
    fraction: float = 0.0
    spent: float = 0.0
    gain: float = 0.0

    def reached(self, told: float, spent: float) -> float:
        """The fraction after so many seconds, if the present step takes as long as those before it have taken."""
        if told != self.fraction:
            self.gain, self.fraction, self.spent = max(0.0, told - self.fraction), told, spent
        if not self.spent:
            return told
        return min(self.first + (told - self.first) * spent / self.spent, told + self.gain, 1.0)


@dataclass
class _Phase:
    """A phase, as far as it has come.

    Attributes:
        began, ended: when; None if it has not.
        told: the last that was told of it.
        before: fraction of its present part that was done when that began, as of a run that is resumed.
        step: the present one of its part.
        sites: of that step, the fraction that each site has told.
    """

    began: float | None = None
    ended: float | None = None
    told: Told = _NOTHING
    before: float = 0.0
    step: _Step = field(default_factory=_Step)
    sites: dict[str, float] = field(default_factory=dict[str, float])


class View:
    """What is known of the progress of some work.

    Args:
        console: where lines are printed, if it is watched.
        now: the time in seconds.
    """

    def __init__(self, console: Console, now: Callable[[], float] = time.monotonic) -> None:
        self.console, self._now = console, now
        self.watched = watched(console)
        self._phases: dict[str, _Phase] = {}
        self._sites = 1
        self._clock = Clock(None, 0.0)
        self._start = now()
        self._stage, self._stage_began = "", self._start
        self._spent: dict[str, float] = {}
        self._stopping = ""
        self._lock = threading.Lock()

    def expect(self, phases: Sequence[str], times: Clock, sites: int) -> None:
        """Says which phases will come, how long they will take, and how many sites there are."""
        with self._lock:
            self._phases |= {phase: _Phase() for phase in phases if phase not in self._phases}
            self._clock, self._sites = times, sites

    def tell(self, told: Told) -> None:
        """Notes what is told, in any thread."""
        with self._lock:
            if told.phase == STOPPING:
                self._stopping = told.part
            elif not told.who:
                begins = self._enter(stage_of(told.phase, told.part))
                phase = self._phases[told.phase]
                if begins:
                    phase.before, phase.step = told.fraction, _Step(told.fraction, told.fraction)
                if begins or told.done != phase.told.done:
                    phase.sites.clear()
                phase.told = told
            elif self._stage:
                self._phases[phase_of(self._stage)].sites[told.who] = told.fraction

    def spent(self) -> dict[str, float]:
        """Seconds on each stage until now."""
        with self._lock:
            return self._spent_until(self._now())

    def end(self) -> None:
        """Notes that the last phase has ended."""
        with self._lock:
            self._enter("")

    def lines(self) -> tuple[list[dict[str, str | float]], float | None]:
        """The phases as plain values, and seconds until the end of all of them, None if nobody knows.

        Of each phase its `name`, its `state` (waiting, running or done), the `share` of it that is done (0 to 1), and
        what is `told` of it.
        """
        with self._lock:
            now = self._now()
            return [self._plain_line(name, phase, now) for name, phase in self._phases.items()], self._left(now)

    def picture(self) -> RenderableType:
        """A line for each phase and one for all of them."""
        with self._lock:
            return self._picture(self._now())

    def _enter(self, stage: str) -> bool:
        """Whether a stage has begun."""
        if stage == self._stage:
            return False
        now = self._now()
        self._spent = self._spent_until(now)
        before, phase = phase_of(self._stage), phase_of(stage)
        if before != phase and before:
            self._phases[before].ended = now
        if phase:
            entered = self._phases.setdefault(phase, _Phase())
            entered.began, entered.ended = now if entered.began is None else entered.began, None
        self._stage, self._stage_began = stage, now
        return True

    def _spent_until(self, now: float) -> dict[str, float]:
        if not self._stage:
            return dict(self._spent)
        return {**self._spent, self._stage: self._spent.get(self._stage, 0.0) + now - self._stage_began}

    def _picture(self, now: float) -> RenderableType:
        lines = Table.grid(padding=(0, 1))
        lines.add_column(no_wrap=True)
        lines.add_column(width=_BAR)
        lines.add_column(justify="right", no_wrap=True)
        lines.add_column(no_wrap=True)
        lines.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
        for name, phase in self._phases.items():
            lines.add_row(*self._line(name, phase, now))
        left = self._left(now)
        if left is not None:
            elapsed = now - self._start
            bar = ProgressBar(max(1e-9, elapsed + left), elapsed, width=_BAR)
            lines.add_row(Text("in all", style="bold"), bar, clock(elapsed), f"{clock(left)} left", "")
        return Group(lines, f"{STOPPING} {self._stopping}") if self._stopping else lines

    def _line(self, name: str, phase: _Phase, now: float) -> tuple[RenderableType, ...]:
        if phase.began is None:
            expected = self._clock.expected(name)
            told = f"~{clock(expected)}" if expected else ""
            return Text(name, style="dim"), ProgressBar(1, 0, width=_BAR), Text(told, style="dim"), "", ""
        if phase.ended is not None:
            return name, ProgressBar(1, 1, width=_BAR), clock(phase.ended - phase.began), "", ""
        spent = self._spent_until(now)
        fraction = self._fraction(phase, spent[self._stage])
        of_phase = self._clock.done(spent, self._stage, fraction)
        shown_fraction = fraction if of_phase is None else of_phase
        bar = ProgressBar(1, shown_fraction, width=_BAR, pulse=not shown_fraction, animation_time=now)
        left = self._clock.left_of_phase(spent, self._stage, self._since_begun(phase, fraction))
        told = "" if left is None else f"{clock(left)} left"
        return Text(name, style="bold"), bar, clock(now - phase.began), told, Text(_doing(phase.told), style="dim")

    def _plain_line(self, name: str, phase: _Phase, now: float) -> dict[str, str | float]:
        if phase.began is None:
            expected = self._clock.expected(name)
            return {"name": name, "state": "waiting", "share": 0.0, "told": f"~{clock(expected)}" if expected else ""}
        if phase.ended is not None or not self._stage:
            took = clock((phase.ended or now) - phase.began)
            return {"name": name, "state": "done", "share": 1.0, "told": took}
        spent = self._spent_until(now)
        fraction = self._fraction(phase, spent[self._stage])
        of_phase = self._clock.done(spent, self._stage, fraction)
        told = " ".join(one for one in (clock(now - phase.began), _doing(phase.told)) if one)
        return {"name": name, "state": "running", "share": fraction if of_phase is None else of_phase, "told": told}

    def _left(self, now: float) -> float | None:
        """Seconds until the end of all phases, None if nobody knows."""
        phase = self._phases.get(phase_of(self._stage))
        if phase is None:
            return None
        spent = self._spent_until(now)
        since = self._since_begun(phase, self._fraction(phase, spent[self._stage]))
        return self._clock.left(spent, self._stage, since)

    def _fraction(self, phase: _Phase, spent: float) -> float:
        """Of the present part that is done: what the server tells, or what the sites do within one of its steps."""
        told = phase.told.fraction
        if phase.sites and phase.told.of:
            at_work = sum(phase.sites.values()) / self._sites
            told = min(1.0, max(told, (phase.told.done + at_work) / phase.told.of))
        return phase.step.reached(told, spent)

    def _since_begun(self, phase: _Phase, fraction: float) -> float:
        """The same of what was left when the phase began."""
        return max(0.0, fraction - phase.before) / max(1e-9, 1 - phase.before)


@contextmanager
def live_view(console: Console, *, elsewhere: bool = False) -> Generator[View]:
    """A view of what this thread does within the context, which is shown where somebody watches.

    Args:
        console: a terminal or a notebook, or neither.
        elsewhere: whether somebody watches in a browser.
    """
    view = View(console)
    view.watched |= elsewhere
    with shown(console, view.picture), listening(view.tell if view.watched else None):
        yield view
        view.end()  # what an error has ended stays as it was


@contextmanager
def following(view: View, study: Study, run_dir: Path, prefix: str = "") -> Generator[None]:
    """Follows a run within the context, whichever processes work on it.

    Args:
        view: what is told of it.
        study: that runs.
        run_dir: its folder.
        prefix: of its phases' names.
    """
    progress, done = run_dir / PROGRESS_FILE, threading.Event()
    with writing(f"run folder '{run_dir}'", "free or repair the disk"):
        progress.unlink(missing_ok=True)  # of a run that was killed
        if view.watched:
            progress.touch()
    if not view.watched:
        yield
        return
    follower = threading.Thread(target=_follow, args=(view, study, run_dir, prefix, done), daemon=True)
    follower.start()
    try:
        yield
    finally:
        done.set()
        follower.join()
        progress.unlink(missing_ok=True)


def phases_of(study: Study) -> list[str]:
    """The phases of a simulation, in order."""
    found = [PREPARING, *stages(study)]
    if has_control(study.scenario):
        found += [f"{CONTROL} {name}" for name in (STATISTICS, FITTING, MEASURING)]
    return [*found, MEASURING]


def round_line(event: Event, study: Study) -> str:
    """One round in one line, in rich markup."""
    spent = event["epsilon"]
    epsilon = "[red]NON-PRIVATE[/red]"
    if spent:
        epsilon = f"ε {epsilon_in_words(spent['max'])} of {budget(study.plan.epsilon)} per site"
    sites = f"{event['sites_replied']} of {len(study.sites)} sites"
    if event["sites_refused"]:
        sites += f"  [yellow]{len(event['sites_refused'])} refused[/yellow]"
    names = escape(", ".join(event.get("quarantined", ())))  # rounds of older versions have none
    if names:
        sites += f"  [red]in quarantine: {names}[/red]"
    return (
        f"round {event['round']:>3}  {sites}  {epsilon}  "
        f"D on fakes {event['fake_accuracy']:.2f}  "
        f"variety {event['variety']:.2f}  {event['seconds']:.1f} s{_rollback(event)}"
    )


def phase_line(event: Event, study: Study) -> str:
    """A step of a phase that has ended in one line, in rich markup."""
    told = f"{event['phase']:<9}  {event['step']}"
    sites = f"  {event['sites_replied']} of {len(study.sites)} sites" if event["step"] == ANSWERED else ""
    return f"{escape(told)}{sites}  {event['seconds']:.1f} s"


def _rollback(event: Event) -> str:
    """The rollback by the collapse guard, if any."""
    back = event.get("rolled_back_to")
    return "" if back is None else f"  [yellow]rolled back to round {back}[/yellow]"


def _doing(told: Told) -> str:
    """The present part and its step."""
    step = f"{min(told.done + 1, told.of)} of {told.of}" if told.of else ""
    return " ".join(word for word in (told.part, step) if word)


def _follow(view: View, study: Study, run_dir: Path, prefix: str, done: threading.Event) -> None:
    steps: set[tuple[str, str]] = set()
    read = rounds = 0
    last_look = False
    while not last_look:
        last_look = done.wait(LOOK_SECONDS)
        found, read = read_told(run_dir / PROGRESS_FILE, read)
        for told in found:
            view.tell(told._replace(phase=prefix + told.phase))
        for event in read_events(run_dir):
            step = event.get("phase", ""), event.get("step", "")
            if event.get("event") == "phase" and step not in steps:
                steps.add(step)
                if step[1] != ASKED:
                    view.console.print(prefix + phase_line(event, study), highlight=False)
            if event["round"] > rounds:
                rounds = event["round"]
                view.console.print(prefix + round_line(event, study), highlight=False)
