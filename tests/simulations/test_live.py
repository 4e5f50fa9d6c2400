import time
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from rich.text import Text

from silogan.common.config.scenario import parse_scenario
from silogan.common.modality.image import ImageSchema
from silogan.common.privacy.plan import make_plan
from silogan.common.wire.study import SiteDeclaration, Study
from silogan.server.rounds.events import append_event, phase_event
from silogan.simulations import live
from silogan.simulations.live import live_view, round_line


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
    assert line == "round   2  2 of 2 sites  ε 1.00 of 8 per site  D on fakes 0.92  variety 0.31  1.3 s"


def test_a_line_says_that_the_guard_went_back() -> None:
    assert plain(round_line(event(9, rolled_back_to=4), study())).endswith("1.3 s  rolled back to round 4")


def test_a_line_tells_of_refusals_and_of_missing_privacy() -> None:
    refused = event(1, sites_replied=1, sites_refused=[{"site": "site-2", "why": "budget"}])
    assert "1 of 2 sites  1 refused  ε 0.50 of 8" in plain(round_line(refused, study()))
    line = plain(round_line(event(1, epsilon=None), study(enabled=False)))
    assert "NON-PRIVATE" in line
    assert "ε" not in line


def test_a_line_names_the_sites_in_quarantine() -> None:
    line = plain(round_line(event(2, sites_replied=1, quarantined=["site-2", "[odd]"]), study()))
    assert "1 of 2 sites  in quarantine: site-2, [odd]  ε 1.00 of 8" in line
    assert "quarantine" not in plain(round_line(event(2, quarantined=[]), study()))


def view(console: Console, run_dir: Path) -> None:
    """Two rounds end while somebody looks; the second right before the end."""
    with live_view(study(), run_dir, console):
        append_event(run_dir, event(1))
        append_event(run_dir, event(2))


def test_a_terminal_shows_every_round_once_and_the_progress(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "_LOOK_SECONDS", 0.01)
    screen = StringIO()
    view(Console(file=screen, force_terminal=True, width=120, color_system=None), tmp_path)
    shown = screen.getvalue()
    assert shown.count("round   1  ") == 1
    assert shown.count("round   2  ") == 1
    assert shown.index("round   1") < shown.index("round   2")
    assert "2/3" in shown


def test_phases_of_statistics_are_named_while_they_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "_LOOK_SECONDS", 0.01)
    screen = StringIO()
    with live_view(study(), tmp_path, Console(file=screen, force_terminal=True, width=120, color_system=None)):
        for step, seconds in (("asked", 0.0), ("answered", 3.21), ("fitted", 0.5)):
            append_event(tmp_path, phase_event("means", step, 2 if step == "answered" else 0, seconds))
            time.sleep(0.2)
    shown = screen.getvalue()
    for told in (
        "asking for means",
        "means      answered  2 of 2 sites  3.2 s",
        "fitting means",
        "means      fitted  0.5 s",
    ):
        assert told in shown


def test_anything_else_than_a_terminal_stays_silent(tmp_path: Path) -> None:
    file = StringIO()
    view(Console(file=file, force_terminal=False), tmp_path)
    assert file.getvalue() == ""


def test_an_error_passes_through_and_ends_the_view(tmp_path: Path) -> None:
    screen = StringIO()
    with pytest.raises(KeyboardInterrupt), live_view(study(), tmp_path, Console(file=screen, force_terminal=True)):
        raise KeyboardInterrupt
    written = screen.getvalue()
    append_event(tmp_path, event(1))
    assert screen.getvalue() == written
