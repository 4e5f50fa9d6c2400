"""What the live view tells of a run folder, however damaged it is."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from silogan.common.errors import ConfigError
from silogan.common.privacy.plan import SEEDED
from silogan.common.wire.run_folder import EVENTS_FILE, REPORT_FILE, sample_sheet
from silogan.common.wire.study import Study
from silogan.server.operations.run_state import LARGEST_SHEET, run_state, sheet_bytes
from silogan.server.rounds.events import append_event

PNG = b"\x89PNG\r\n\x1a\nrest"


def ended(number: int, **changes: Any) -> dict[str, Any]:
    return {
        "event": "round", "round": number, "seconds": 1.0, "sites_replied": 3, "sites_refused": [], "quarantined": [],
        "epsilon": {"min": 0.5 * number, "max": 0.5 * number + 0.0001},
    } | changes  # fmt: skip


@pytest.fixture
def run(run_dir: Path, study: Study) -> Path:
    study.save(run_dir)
    return run_dir


def test_a_run_that_has_just_begun_waits(run: Path, study: Study) -> None:
    state = run_state(run)
    assert [site["name"] for site in state["sites"]] == [site.name for site in study.sites]
    assert {site["state"] for site in state["sites"]} == {"waiting"}
    assert {phase["state"] for phase in state["phases"]} == {"waiting"}
    assert (state["verdict"], state["sheet"]) == (None, None)
    assert json.loads(json.dumps(state, allow_nan=False)) == state


def test_a_round_shows_who_answered_and_what_was_spent_rounded_up(run: Path) -> None:
    append_event(run, ended(1))
    state = run_state(run)
    assert {site["state"] for site in state["sites"]} == {"answered"}
    assert {site["spent"] for site in state["sites"]} == {"0.501"}
    assert all(0 < site["share"] <= 1 for site in state["sites"])
    assert state["phases"][-1]["told"].startswith("round 1 of ")


def test_refused_and_missing_hospitals_are_told(run: Path, study: Study) -> None:
    refused, out = study.sites[0].name, study.sites[1].name
    append_event(run, ended(1))
    append_event(run, ended(2, sites_replied=0, sites_refused=[{"site": refused, "why": "budget"}], quarantined=[out]))
    state = run_state(run)
    assert [site["state"] for site in state["sites"]][:2] == ["refused", "in quarantine"]
    assert {site["state"] for site in state["sites"][2:]} <= {"asked"}
    assert f"round 2: {len(study.sites)} of {len(study.sites)} hospitals gave no usable answer" in state["warnings"]
    assert f"{refused} was refused: budget" in state["warnings"]


def test_a_seeded_run_warns(run_dir: Path, make_study: Callable[..., Study]) -> None:
    make_study(seed=1).save(run_dir)
    assert SEEDED in run_state(run_dir)["warnings"]


def test_words_of_others_are_printable(run: Path) -> None:
    append_event(run, ended(1, sites_refused=[{"site": "x\x1b[2J", "why": "\u202eevil"}]))
    assert "x\\x1b[2J was refused: \\u202eevil" in run_state(run)["warnings"]


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"{}\n[]\nnull\n", b'{"event": "round", "round": NaN}\n'])
def test_damaged_events_are_left_out(run: Path, content: bytes) -> None:
    (run / EVENTS_FILE).write_bytes(content)
    (run / REPORT_FILE).write_bytes(content)
    assert run_state(run)["verdict"] is None


def test_a_folder_without_a_run_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        run_state(tmp_path)


def test_the_newest_sheet_is_sent(run: Path) -> None:
    sample_sheet(run).parent.mkdir(exist_ok=True)
    assert sheet_bytes(run) is None
    for number in (2, 10):
        sample_sheet(run, number).write_bytes(PNG + b"%d" % number)
    assert sheet_bytes(run) == PNG + b"10"
    sample_sheet(run).write_bytes(PNG + b"final")
    assert sheet_bytes(run) == PNG + b"final"
    assert run_state(run)["sheet"] == "final.png"


def test_what_is_no_picture_is_not_sent(run: Path, tmp_path: Path) -> None:
    sheet = sample_sheet(run)
    sheet.parent.mkdir(exist_ok=True)
    sheet.write_bytes(b"date,patient\n")
    assert sheet_bytes(run) is None
    secret = tmp_path / "secret.png"
    secret.write_bytes(PNG)
    sheet.unlink()
    sheet.symlink_to(secret)
    assert sheet_bytes(run) is None
    sheet.unlink()
    with sheet.open("wb") as file:
        file.write(PNG)
        file.truncate(LARGEST_SHEET + 1)
    assert sheet_bytes(run) is None
