"""One line a round, none lost and none that did not happen, whenever the server was killed."""

from pathlib import Path

import pytest

from silogan.common.wire.run_folder import EVENTS_FILE
from silogan.server.rounds.events import append_event, read_events, restore_events


def event(number: int) -> dict[str, object]:
    return {"event": "round", "round": number, "why": f"Ausfall – Süd {number}"}


def rounds(run_dir: Path) -> list[int]:
    return [entry["round"] for entry in read_events(run_dir)]


@pytest.fixture
def three(tmp_path: Path) -> Path:
    """A folder with the events of three rounds."""
    for number in (1, 2, 3):
        append_event(tmp_path, event(number))
    return tmp_path


def test_events_are_lines_and_are_read_back(three: Path) -> None:
    assert len((three / EVENTS_FILE).read_text(encoding="ascii").splitlines()) == 3
    assert read_events(three) == [event(1), event(2), event(3)]


def test_no_file_is_no_events(tmp_path: Path) -> None:
    assert read_events(tmp_path) == []


def test_a_value_that_is_no_number_is_never_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        append_event(tmp_path, {"round": 1, "update_norm": float("nan")})
    assert read_events(tmp_path) == []


@pytest.mark.parametrize("torn", [b'{"event":"round","rou', b'{"round":4', b"\x00" * 40, b"\xff\xfe", b"\n"])
def test_a_torn_last_line_is_left_out(three: Path, torn: bytes) -> None:
    with (three / EVENTS_FILE).open("ab") as file:
        file.write(torn)
    assert rounds(three) == [1, 2, 3]


@pytest.mark.parametrize("torn", [b"", b'{"event":"round","rou', b'{"round":3', b"\x00" * 40, b"\xff\xfe"])
def test_killed_after_the_checkpoint_and_before_the_event(three: Path, torn: bytes) -> None:
    """The checkpoint is of round 4 and holds its event; the line is missing or torn."""
    with (three / EVENTS_FILE).open("ab") as file:
        file.write(torn)
    restore_events(three, 4, event(4))
    assert read_events(three) == [event(1), event(2), event(3), event(4)]
    append_event(three, event(5))
    assert rounds(three) == [1, 2, 3, 4, 5]


def test_killed_after_the_event(three: Path) -> None:
    before = (three / EVENTS_FILE).read_bytes()
    restore_events(three, 3, event(3))
    assert (three / EVENTS_FILE).read_bytes() == before


def test_gone_back_to_an_older_checkpoint(three: Path) -> None:
    restore_events(three, 2, event(2))
    assert rounds(three) == [1, 2]


def test_gone_back_to_the_beginning(three: Path) -> None:
    restore_events(three, 0, {})
    assert read_events(three) == []


def test_a_new_run_begins_with_an_empty_file(tmp_path: Path) -> None:
    restore_events(tmp_path, 0, {})
    assert (tmp_path / EVENTS_FILE).read_bytes() == b""


def test_of_two_lines_for_the_checkpoints_round_its_own_stands(three: Path) -> None:
    append_event(three, {"event": "round", "round": 3, "why": "other"})
    restore_events(three, 3, event(3))
    assert read_events(three) == [event(1), event(2), event(3)]
