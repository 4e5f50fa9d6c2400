import json
from pathlib import Path

import pytest

from silogan.common import progress
from silogan.common.progress import Told, begin, begin_part, listening, read_told, track, writer


@pytest.fixture(autouse=True)
def every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "LEAST_SECONDS", 0.0)


def told_of(work: list[int], inner: int) -> list[Told]:
    told: list[Told] = []
    with listening(told.append):
        begin("measuring", "classifier")
        for _ in track(work):
            for _ in track(range(inner)):
                pass
    return told


def test_loops_in_loops_add_up_to_one_fraction() -> None:
    told = told_of([7, 8], 4)
    assert {(one.phase, one.part, one.who) for one in told} == {("measuring", "classifier", "")}
    fractions = [one.fraction for one in told]
    assert fractions == sorted(fractions)
    assert {0, 0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875, 1} == {*fractions}
    assert [(one.done, one.of) for one in told if one.fraction == 0.625] == [(1, 2)]


def test_a_step_is_told_not_more_often_than_it_can_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "LEAST_SECONDS", 1000.0)
    assert [(one.done, one.of) for one in told_of([1, 2, 3], 5)] == [(0, 0), (3, 3)]  # its beginning and its end


def test_nobody_listens_by_itself() -> None:
    told: list[Told] = []
    with listening(told.append), listening(None):
        begin("fitting")
        assert [*track([3, 1, 2])] == [3, 1, 2]
    begin_part("unheard")
    assert [*track(iter("ab"), of=2)] == ["a", "b"]
    assert told == []


def test_a_loop_that_somebody_else_goes_round() -> None:
    told: list[Told] = []
    with listening(told.append, who="site-3"):
        begin("rounds", done=3, of=8)
        for _ in track(range(2)):
            pass
    assert told[0] == Told("rounds", "", 3, 8, 0.375, "site-3")
    assert [one.fraction for one in told] == [0.375, 0.375, 0.4375, 0.5]
    assert {(one.done, one.of) for one in told} == {(3, 8)}


def test_a_loop_that_is_left_early_leaves_nothing_behind() -> None:
    told: list[Told] = []
    with listening(told.append):
        for step in track(range(10)):
            if step == 5:
                break
        for _ in track(range(2)):
            pass
    assert [(one.done, one.of) for one in told][-3:] == [(0, 2), (1, 2), (2, 2)]


def test_another_process_reads_what_was_told(tmp_path: Path) -> None:
    path = tmp_path / "progress"
    assert writer(path) is None  # nobody has asked for it
    path.touch()
    with listening(writer(path)):
        begin("fitting", "mixture")
    first, read = read_told(path, 0)
    assert first == [Told("fitting", "mixture")]
    assert read_told(path, read) == ([], read)
    with path.open("a") as file:
        file.write('[]\n{"a": 1}\n"x"\n[1, 2, "x", 4, 5, 6]\n' + json.dumps(Told("measuring")) + "\n" + '["half')
    assert read_told(path, read)[0] == [Told("measuring")]
    assert read_told(tmp_path / "missing", 5) == ([], 5)


def test_a_disk_that_fails_does_not_stop_the_work(tmp_path: Path) -> None:
    path = tmp_path / "progress"
    path.touch()
    write = writer(path)
    path.unlink()
    path.mkdir()
    with listening(write):
        begin("fitting")
