"""Every input of the product, spoilt a few times: the short form of `python -m silogan.simulations.fuzz`."""

import gc
import itertools
import mmap
from pathlib import Path

import numpy as np
import pytest

from silogan.common.errors import DataError
from silogan.simulations.fuzz import kinds, trial
from silogan.simulations.fuzz.__main__ import campaign
from silogan.simulations.fuzz.kinds import KINDS, Kind
from silogan.simulations.fuzz.trial import Outcome, attempt, mutation

MUTATIONS = 250


def test_every_input_is_accepted_or_refused_in_one_line() -> None:
    outcomes = list(campaign(MUTATIONS, seed=1, workers=1))
    assert [outcome for outcome in outcomes if outcome.is_finding] == []
    as_they_are = [outcome for outcome in outcomes if outcome.index == -1]
    assert {outcome.kind for outcome in as_they_are} == set(KINDS)
    assert {outcome.how for outcome in as_they_are} == {"accepted"}
    assert len(outcomes) >= MUTATIONS
    refused = {outcome.kind for outcome in outcomes if outcome.how.startswith("refused")}
    assert len(refused) > len(KINDS) / 2


def test_a_mutation_is_the_same_for_the_same_numbers() -> None:
    original = b'{"site": "bergen", "public_key": "ecdsa x", "declared_size": 40}'
    found = [mutation("request", 3, index, original) for index in range(30)]
    assert found == [mutation("request", 3, index, original) for index in range(30)]
    assert len(set(found)) > 20
    assert found != [mutation("request", 4, index, original) for index in range(30)]


def _reader(place: Path) -> None:
    """Misbehaves as it is told."""
    match (place / "x").read_text(encoding="utf-8"):
        case "traceback":
            raise ValueError("a patient")
        case "slow":
            for _ in itertools.repeat(None, 10**12):
                pass
        case "large":
            # pages of its own: a run in the same process lets the allocator keep what was freed, and use it again
            np.frombuffer(mmap.mmap(-1, 700 << 20), np.uint8)[:: mmap.PAGESIZE] = 1
        case "change":
            (place / "other").write_bytes(b"changed")
        case "delete":
            (place / "other").unlink()
        case "lines":
            error = DataError("x", "y", "z")
            error.args = ("one\ntwo",)
            raise error
        case _:
            raise DataError("x", "is wrong", "correct it")


@pytest.mark.parametrize(
    ("content", "how"),
    [
        ("traceback", "raised ValueError"),
        ("large", "too large"),
        ("change", "changed files"),
        ("delete", "changed files"),
        ("lines", "not one printable line"),
        ("else", "refused 4"),
    ],
)
def test_what_must_not_be_is_a_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str, how: str) -> None:
    monkeypatch.setitem(kinds.KINDS, "x", Kind("x", lambda _rng, original: original, _reader))
    # Other tests' garbage, freed during the attempt, would hide part of what it takes.
    gc.collect()
    monkeypatch.setattr(trial, "MOST_BYTES", 100 << 20)
    (tmp_path / "other").write_bytes(b"as it was")
    outcome = attempt("x", 0, tmp_path, content.encode())
    assert (outcome.how, outcome.is_finding) == (how, how != "refused 4")


def test_what_takes_too_long_is_a_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, trial.MOST_SECONDS + 0.1])
    monkeypatch.setitem(kinds.KINDS, "x", Kind("x", lambda _rng, original: original, lambda _place: None))
    monkeypatch.setattr("time.process_time", lambda: next(clock))
    assert attempt("x", 0, tmp_path, b"").how == "too slow"


def test_only_what_is_documented_is_no_finding() -> None:
    hows = ["accepted", "refused 5", "not delivered", "refused 55", "raised KeyError", "died", "too slow"]
    assert [Outcome("x", 0, how).is_finding for how in hows] == [False] * 3 + [True] * 4
