import re
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from rich.text import Text

from silogan.common.config.scenario import parse_scenario
from silogan.common.modality.image import ImageSchema
from silogan.common.privacy.plan import make_plan
from silogan.common.progress import STOPPING, Told, begin, listening, writer
from silogan.common.wire.run_folder import PROGRESS_FILE
from silogan.common.wire.study import SiteDeclaration, Study
from silogan.server.rounds.events import append_event, phase_event
from silogan.simulations import live
from silogan.simulations.live import View, _Step, following, live_view, phases_of, round_line
from silogan.simulations.times import Clock, Times, phase_of


def study(enabled: bool = True) -> Study:
    scenario = parse_scenario(
        {
            "name": "live",
            "sites": {"count": 2},
            "training": {"rounds": 3, "local_steps": 1},
            "privacy": {"enabled": enabled, "epsilon": 8, "noise_multiplier": 2.0},
        }
    )
    sites = tuple(SiteDeclaration(f"site-{number}", 700) for number in (1, 2))
    return Study(scenario, ImageSchema(8, 1, ("0", "1")), make_plan(scenario), sites)


def event(number: int, **changes: Any) -> dict[str, Any]:
    return {
        "event": "round",
        "round": number,
        "rounds": 3,
        "seconds": 1.26,
        "sites_replied": 2,
        "sites_refused": [],
        "epsilon": {"min": 0.5 * number, "max": 0.5 * number},
        "fake_accuracy": 0.918,
        "variety": 0.314,
    } | changes


def plain(markup: str) -> str:
    return Text.from_markup(markup).plain


def test_a_round_in_one_line() -> None:
    line = plain(round_line(event(2), study()))
    assert line == "round   2  2 of 2 sites  ε 1 of 8 per site  D on fakes 0.92  variety 0.31  1.3 s"


def test_a_line_says_that_the_guard_went_back() -> None:
    assert plain(round_line(event(9, rolled_back_to=4), study())).endswith("1.3 s  rolled back to round 4")


def test_a_line_tells_of_refusals_and_of_missing_privacy() -> None:
    refused = event(1, sites_replied=1, sites_refused=[{"site": "site-2", "why": "budget"}])
    assert "1 of 2 sites  1 refused  ε 0.5 of 8" in plain(round_line(refused, study()))
    line = plain(round_line(event(1, epsilon=None), study(enabled=False)))
    assert "NON-PRIVATE" in line
    assert "ε" not in line


def test_a_line_names_the_sites_in_quarantine() -> None:
    line = plain(round_line(event(2, sites_replied=1, quarantined=["site-2", "[odd]"]), study()))
    assert "1 of 2 sites  in quarantine: site-2, [odd]  ε 1 of 8" in line
    assert "quarantine" not in plain(round_line(event(2, quarantined=[]), study()))


class Hand:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def hand() -> Hand:
    return Hand()


@pytest.fixture
def view(hand: Hand) -> View:
    return View(Console(file=StringIO(), force_terminal=True), now=hand)


def lines(view: View) -> dict[str, str]:
    """What stands beside each phase's bar."""
    screen = StringIO()
    Console(file=screen, width=100, color_system=None).print(view.picture())
    shown = (re.split(r"  *[━╸╺ ]{16,} *|  +", line.strip(), maxsplit=1) for line in screen.getvalue().splitlines())
    return {name: " ".join(rest.split()) for name, rest in ((*parts, "")[:2] for parts in shown)}


def expected(view: View, **stages: float) -> None:
    """An earlier run on a machine that was as fast; `_` stands for the comma of a stage's name."""
    times = Times(trial=1.0, stages={name.replace("_", ", "): seconds for name, seconds in stages.items()})
    view.expect(list(dict.fromkeys(map(phase_of, times.stages))), Clock(times, 1.0), sites=2)


def test_a_phase_that_can_say_how_far_it_is_tells_its_time_left(view: View, hand: Hand) -> None:
    view.tell(Told("fitting", "mixture"))
    hand.seconds += 10
    assert lines(view) == {"fitting": "0:10 mixture"}
    view.tell(Told("fitting", "mixture", 20, 100, 0.2))
    assert lines(view) == {"fitting": "0:10 0:40 left mixture 21 of 100"}
    view.tell(Told("measuring"))
    hand.seconds += 5
    assert lines(view) == {"fitting": "0:10", "measuring": "0:05"}


def test_nothing_is_said_of_the_whole_where_nothing_is_known(view: View) -> None:
    view.expect(["statistics", "rounds"], Clock(None, 1.0), sites=2)
    view.tell(Told("statistics", "means"))
    view.tell(Told("statistics", "means", 1, 2, 0.5))
    assert lines(view) == {"statistics": "0:00 0:00 left means 2 of 2", "rounds": ""}


def test_the_whole_is_told_by_an_earlier_run_and_by_how_this_one_goes(view: View, hand: Hand) -> None:
    expected(view, statistics=10.0, measuring_one=20.0, measuring_two=70.0)
    view.tell(Told("statistics"))
    assert lines(view)["measuring"] == "~1:30"
    assert lines(view)["in all"] == "0:00 1:40 left"
    hand.seconds += 20  # twice as long: half of what was expected is believed to go on like this
    view.tell(Told("measuring", "one"))
    assert lines(view)["in all"] == "0:20 2:15 left"
    hand.seconds += 40
    view.tell(Told("measuring", "two"))
    hand.seconds += 70
    view.tell(Told("measuring", "two", 1, 2, 0.5))
    assert lines(view)["measuring"] == "1:50 1:10 left two 2 of 2"
    assert lines(view)["in all"] == "2:10 1:10 left"
    view.end()
    assert lines(view) == {"statistics": "0:20", "measuring": "1:50"}
    assert view.spent() == {"statistics": 20.0, "measuring, one": 40.0, "measuring, two": 70.0}


def test_what_sites_do_within_a_round_counts(view: View, hand: Hand) -> None:
    view.expect(["rounds"], Clock(None, 1.0), sites=2)
    view.tell(Told("", who="site-0", fraction=0.5))  # before anything is known of a phase
    view.tell(Told("rounds", "", 0, 4))
    hand.seconds += 10
    view.tell(Told("", "", 5, 10, 0.5, "site-0"))
    assert lines(view)["rounds"] == "0:10 2:30 left 1 of 4"
    view.tell(Told("", "", 5, 10, 0.5, "site-1"))
    assert lines(view)["rounds"] == "0:10 1:10 left 1 of 4"
    view.tell(Told("rounds", "", 1, 4, 0.25))
    assert lines(view)["rounds"] == "0:10 0:30 left 2 of 4"


def test_a_run_that_is_resumed_counts_from_where_it_begins(view: View, hand: Hand) -> None:
    expected(view, statistics=500.0, rounds=100.0, measuring=30.0)
    view.tell(Told("rounds", "", 50, 100, 0.5))
    hand.seconds += 10
    view.tell(Told("rounds", "", 60, 100, 0.6))
    assert lines(view)["rounds"] == "0:10 0:40 left 61 of 100"


def test_work_that_is_to_stop_says_when_it_will(view: View) -> None:
    view.tell(Told("rounds", "", 1, 4, 0.25))
    view.tell(Told(STOPPING, "when the sites at work have ended"))
    screen = StringIO()
    Console(file=screen, width=100).print(view.picture())
    assert screen.getvalue().splitlines()[0].startswith("rounds ")
    assert "2 of 4" in screen.getvalue()
    assert screen.getvalue().endswith("\nstopping when the sites at work have ended\n")


def test_phases_are_known_before_they_begin() -> None:
    assert phases_of(study()) == ["preparing", "rounds", "measuring"]


def followed(console: Console, run_dir: Path) -> None:
    """Two rounds end while somebody looks; the second right before the end."""
    with live_view(console) as view, following(view, study(), run_dir):
        append_event(run_dir, event(1))
        append_event(run_dir, event(2))
        with listening(writer(run_dir / PROGRESS_FILE)):
            begin("rounds", done=1, of=3)


def test_a_terminal_shows_every_round_once_and_the_progress(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "LOOK_SECONDS", 0.01)
    screen = StringIO()
    followed(Console(file=screen, force_terminal=True, width=120, color_system=None), tmp_path)
    shown = screen.getvalue()
    assert shown.count("round   1  ") == 1
    assert shown.count("round   2  ") == 1
    assert shown.index("round   1") < shown.index("round   2")
    assert "rounds ━" in shown
    assert not (tmp_path / PROGRESS_FILE).exists()


def test_steps_of_statistics_are_told_as_they_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "LOOK_SECONDS", 0.01)
    screen = StringIO()
    console = Console(file=screen, force_terminal=True, width=120, color_system=None)
    with live_view(console) as view, following(view, study(), tmp_path, "control "):
        for step, seconds in (("asked", 0.0), ("answered", 3.21), ("fitted", 0.5)):
            append_event(tmp_path, phase_event("means", step, 2 if step == "answered" else 0, seconds))
    shown = screen.getvalue()
    assert "control means      answered  2 of 2 sites  3.2 s" in shown
    assert "control means      fitted  0.5 s" in shown
    assert "asked" not in shown


def test_anything_else_than_a_terminal_stays_silent(tmp_path: Path) -> None:
    file = StringIO()
    followed(Console(file=file, force_terminal=False), tmp_path)
    assert file.getvalue() == ""
    assert not (tmp_path / PROGRESS_FILE).exists()


def test_an_error_passes_through_and_ends_the_view(tmp_path: Path) -> None:
    screen = StringIO()
    console = Console(file=screen, force_terminal=True)
    with pytest.raises(KeyboardInterrupt), live_view(console) as view, following(view, study(), tmp_path):
        raise KeyboardInterrupt
    written = screen.getvalue()
    append_event(tmp_path, event(1))
    assert screen.getvalue() == written


def test_between_two_long_steps_the_time_left_goes_on_falling() -> None:
    step = _Step()
    assert step.reached(0.0, 5.0) == 0.0
    assert step.reached(0.2, 10.0) == pytest.approx(0.2)
    assert step.reached(0.2, 15.0) == pytest.approx(0.3)
    assert step.reached(0.2, 60.0) == pytest.approx(0.4)  # the next step should be done: no further
    assert step.reached(0.4, 60.0) == pytest.approx(0.4)


def test_a_step_of_a_run_that_is_resumed_counts_what_came_since() -> None:
    step = _Step(0.5, 0.5)
    assert step.reached(0.5, 3.0) == 0.5
    assert step.reached(0.6, 10.0) == pytest.approx(0.6)
    assert step.reached(0.6, 15.0) == pytest.approx(0.65)
