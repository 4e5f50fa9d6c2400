from pathlib import Path
from typing import Any

import pytest

from silogan.common.config.scenario import load_scenario
from silogan.common.wire.run_folder import TIMES_FILE
from silogan.simulations import times
from silogan.simulations.shipped import shipped, shipped_file
from silogan.simulations.times import Clock, Times, in_words, known, left_at_speed, record, trial

STAGES = {"statistics": 10.0, "measuring, one": 20.0, "measuring, two": 70.0}


def clock(took: float = 1.0) -> Clock:
    return Clock(Times(trial=1.0, stages=STAGES), took)


def digits(*changes: str) -> Any:
    file = shipped_file("digits")
    assert file is not None
    return load_scenario(file, [*changes])


def test_a_slower_machine_takes_longer() -> None:
    assert clock().total == 100
    assert clock(2.0).total == 200
    assert clock(2.0).expected("measuring") == 180
    assert clock(2.0).left({"statistics": 0.0}, "statistics", 0.0) == pytest.approx(200)


def test_the_run_itself_counts_more_and_more() -> None:
    spent = {"statistics": 30.0, "measuring, one": 60.0, "measuring, two": 0.0}  # three times as long as then
    left = clock().left(spent, "measuring, two", 0.0)
    assert left == pytest.approx(70 * (0.1 * 100 * 1 + 90) / (0.1 * 100 + 30))
    assert clock().left({**spent, "measuring, two": 105.0}, "measuring, two", 0.5) == pytest.approx(105)


def test_nothing_is_said_where_nothing_is_known() -> None:
    assert clock().left({"rounds": 3.0}, "rounds", 0.5) is None
    nobody = Clock(None, 1.0)
    assert (nobody.total, nobody.expected("measuring")) == (0, 0)
    assert nobody.left({"rounds": 3.0}, "rounds", 0.5) is None
    assert nobody.left_of_phase({"rounds": 3.0}, "rounds", 0.75) == pytest.approx(1)
    assert left_at_speed(3.0, 0.0) is None


def test_a_stage_that_takes_longer_than_expected_has_no_time_left_below_zero() -> None:
    assert clock().left({"measuring, two": 1000.0}, "measuring, two", 0.0) == 0


def test_the_part_of_a_phase_that_is_done() -> None:
    assert clock().done({"measuring, one": 20.0, "measuring, two": 1.0}, "measuring, two", 0.5) == pytest.approx(
        55 / 90
    )
    assert clock().done({"rounds": 1.0}, "rounds", 0.5) is None


def test_an_earlier_run_of_the_same_study_is_found_beside_it(tmp_path: Path) -> None:
    changed = ("privacy.epsilon=2",)
    assert known(digits(*changed), tmp_path / "seed-1") is None
    (tmp_path / "seed-0").mkdir()
    record(digits(*changed, "seed=0"), tmp_path / "seed-0", 0.01234567, {"fitting": 1.23456})
    found = known(digits(*changed, "seed=1", "data.root=elsewhere"), tmp_path / "seed-1")
    assert found is not None
    assert (found.trial, found.stages) == (0.01235, {"fitting": 1.23})
    assert known(digits("privacy.epsilon=3"), tmp_path / "seed-1") is None
    (tmp_path / "seed-0" / TIMES_FILE).write_text('{"trial": 0, "stages": {}}')
    assert known(digits(*changed), tmp_path / "seed-1") is None


def test_of_ours_it_is_known_as_they_are(tmp_path: Path) -> None:
    measured = known(digits("seed=7"), tmp_path / "run")
    assert measured is not None
    assert measured.total > 1
    assert known(digits("sites.count=3"), tmp_path / "run") is None


@pytest.mark.parametrize("path", sorted(times.SHIPPED.glob("*.json")), ids=lambda path: path.stem)
def test_times_of_ours_are_of_scenarios_that_are_there(path: Path) -> None:
    assert path.stem in {one.name for one in shipped()}
    assert Times.model_validate_json(path.read_bytes()).total > 1


def test_a_trial_takes_some_time() -> None:
    assert 0 < trial() < 60


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.4, "about 5 seconds"),
        (52.0, "about 50 seconds"),
        (343.0, "about 6 minutes"),
        (9000.0, "about 2.5 hours"),
    ],
)
def test_a_time_in_words(seconds: float, words: str) -> None:
    assert in_words(seconds) == words
