"""The live view of a simulation: one line per phase of statistics and per round, a progress bar, the time left."""

import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from silogan.common.wire.study import Study
from silogan.server.rounds.events import ANSWERED, ASKED, FITTED, Event, read_events

_LOOK_SECONDS = 0.25
_DOING = {ASKED: "asking for", ANSWERED: "fitting"}


@contextmanager
def live_view(study: Study, run_dir: Path, console: Console) -> Generator[None]:
    """Shows phases and rounds as they end, within the context; silent if `console` is not a terminal."""
    if not console.is_terminal:
        yield
        return
    columns = (
        *(TextColumn("[bold]{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()),
        *(TextColumn("left"), TimeRemainingColumn()),
    )
    done = threading.Event()
    with Progress(*columns, console=console) as progress:
        follower = threading.Thread(target=_follow, args=(study, run_dir, progress, done), daemon=True)
        follower.start()
        try:
            yield
        finally:
            done.set()
            follower.join()


def round_line(event: Event, study: Study) -> str:
    """One round in one line, in rich markup."""
    spent = event["epsilon"]
    epsilon = f"ε {spent['max']:.2f} of {study.plan.epsilon:g} per site" if spent else "[red]NON-PRIVATE[/red]"
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


def _follow(study: Study, run_dir: Path, progress: Progress, done: threading.Event) -> None:
    rounds, statistics = study.scenario.training.rounds, [one for one in study.plan.phases if not one.takes_batches]
    task = progress.add_task("preparing", total=len(statistics) + rounds)
    steps: set[tuple[str, str]] = set()
    shown = 0
    while True:
        last_look = done.wait(_LOOK_SECONDS)
        for event in read_events(run_dir):
            step = event.get("phase", ""), event.get("step", "")
            if event.get("event") == "phase" and step not in steps:
                steps.add(step)
                if step[1] in _DOING:
                    progress.update(task, description=escape(f"{_DOING[step[1]]} {step[0]}"))
                if step[1] != ASKED:
                    progress.console.print(phase_line(event, study), highlight=False)
            if event["round"] > shown:
                shown = event["round"]
                progress.console.print(round_line(event, study), highlight=False)
                progress.update(task, description="training")
            progress.update(task, completed=shown + sum(name == FITTED for _, name in steps))
        if last_look:
            return
