"""The script that measures a recording of a terminal (`docs/recordings/record.py`)."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "recordings"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("record", FOLDER / "record.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def outputs(script: ModuleType, lefts: dict[float, str]) -> list[object]:
    """One picture of the whole at each time."""
    texts = {
        at: f"\r\x1b[2K\x1b[1A\x1b[2Kfitting  ━━ \x1b[1m0:01\x1b[0m\r\nin all   ━━ 0:01 {left} left"
        for at, left in lefts.items()
    }
    return [script.Output(at, text) for at, text in texts.items()]


def test_the_longest_silence_may_be_before_the_first_output(script: ModuleType) -> None:
    written = [script.Output(3.0, "a"), script.Output(4.5, "b"), script.Output(5.0, "c")]
    assert script.silences(written) == [(3.0, 0.0), (1.5, 3.0), (0.5, 4.5)]


def test_times_left_are_compared_with_the_truth(script: ModuleType) -> None:
    shown = script.pictures(outputs(script, {30.0: "10:00", 40.0: "1:00", 60.0: "0:30", 80.0: "0:32", 100.0: "0:00"}))
    found = script.promises(shown, 100.0)
    assert [(one.left, one.truth) for one in found] == [(600, 70), (60, 60), (30, 40), (32, 20), (0, 0)]
    told = script.judged(shown, 100.0)
    assert (
        told[0]
        == "times left from a third of the way to ten seconds before the end: 67% within 30 %; worst +60% at 80 s"
    )
    assert told[1] == "  at 33%: 60 s shown, 60 s true"
    assert script.judged(shown[:1], 100.0) == ["no time left was shown"]


def test_a_recording_keeps_a_picture_a_second_and_every_line_above(script: ModuleType) -> None:
    written = outputs(script, {1.1: "0:09", 1.9: "0:08", 2.1: "0:07"})
    written.insert(1, script.Output(1.5, "\r\x1b[2K\x1b[1A\x1b[2Kround 1\r\nin all   ━━ 0:01 0:09 left"))
    kept = script.shortened(script.pictures(written), 2.1)
    assert [output.seconds for output in kept] == [1.9, 2.1]
    assert kept[0].text == "round 1\nfitting  ━━ 0:01\nin all   ━━ 0:01 0:08 left"
    assert len(script.shortened(script.pictures(written), 10.0 * script.MOST_PICTURES)) == 1


def test_a_command_is_recorded(script: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "recording.txt"
    script.main(path, [sys.executable, "-c", "print('hello')"])
    head = path.read_text("utf-8")
    assert "no time left was shown" in head
    assert head.endswith("hello\n")
    assert capsys.readouterr().out in head


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.txt")), ids=lambda path: path.stem)
def test_a_recording_says_what_was_measured_of_it(script: ModuleType, path: Path) -> None:
    head = path.read_text("utf-8").partition("\n\n")[0]
    assert head.startswith("$ silogan ")
    assert "longest silences: " in head
    assert "times left from a third of the way to ten seconds before the end: " in head
    assert script.measured_again(path)[0].startswith(
        "times left from a third of the way to ten seconds before the end: "
    )
