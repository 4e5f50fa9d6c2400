"""The benchmark against another checkout takes the step of each in turn, and says when one of them cannot."""

from pathlib import Path

import pytest

from silogan.simulations.benchmarks import step_against
from silogan.simulations.benchmarks.step_against import HERE, compare


def test_this_checkout_against_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step_against, "BATCH", 4)
    row = compare(HERE, "ours", size=28, threads=1, rounds=2)
    assert row["plain_seconds"] > 0
    assert row["now_over_before"] == row["now_seconds"] / row["before_seconds"]
    assert len(row["now_over_before_quartiles"]) == 3


def test_a_folder_that_is_no_checkout_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="is not a checkout"):
        compare(tmp_path, "ours", size=28, threads=1, rounds=2)


def test_an_engine_that_the_other_has_not_is_said() -> None:
    with pytest.raises(SystemExit, match="before ended"):
        compare(HERE, "bookkeeping", size=28, threads=1, rounds=2)
