"""The collapse guard: what it sees, when it goes back, and that a run goes on from there."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from flwr.app import RecordDict
from hypothesis import given
from hypothesis import strategies as st

from silogan.common.config.scenario import Guard
from silogan.common.errors import FederationError
from silogan.common.wire.messages import Instruction, Reply, Weights, unpack
from silogan.common.wire.run_folder import CHECKPOINT_FOLDER
from silogan.common.wire.study import Study
from silogan.server.app import federate, initial_weights
from silogan.server.rounds.after.guard import GuardState, Vitals, judge, vitals
from silogan.server.rounds.checkpoint import Checkpoint
from silogan.server.rounds.events import read_events

WELL, FLAT, LOST, BRINK = Vitals(0.4, 0.6), Vitals(0.05, 0.6), Vitals(0.4, 1.0), Vitals(0.12, 0.6)


def test_a_generator_that_repeats_itself_has_no_diversity(make_study: Callable[..., Study]) -> None:
    study = make_study()
    weights = initial_weights(study)
    varied = vitals(study, weights)
    # without its first layer's weights it hears neither noise nor label
    deaf = {n: torch.zeros_like(t) if n == "generator.layers.0.weight" else t for n, t in weights.items()}
    assert varied.variety > 0.01
    assert vitals(study, deaf).variety == pytest.approx(0, abs=1e-6)
    assert vitals(study, weights) == varied  # the same latent vectors every time


@pytest.mark.parametrize(("bias", "share"), [(-50.0, 1.0), (50.0, 0.0)])
def test_fake_accuracy_is_what_the_discriminator_says(
    make_study: Callable[..., Study], bias: float, share: float
) -> None:
    study = make_study()
    weights = {**initial_weights(study), "discriminator.shared.bias": torch.tensor([bias])}
    assert vitals(study, weights).fake_accuracy == share


@pytest.mark.parametrize("bad", [FLAT, LOST, Vitals(math.nan, 0.6), Vitals(0.4, math.nan)])
def test_it_goes_back_after_as_many_bad_rounds_as_it_has_patience(bad: Vitals) -> None:
    settings = Guard(patience=3)
    state = judge(settings, GuardState(), 1, WELL)
    assert state == GuardState(healthy_round=1)
    for number in (2, 3):
        state = judge(settings, state, number, bad)
        assert (state.rollbacks, state.healthy_round) == (0, 1)
    state = judge(settings, state, 4, bad)
    assert state == GuardState(healthy_round=1, rollbacks=1, fresh=True)
    assert state.lr_factor(settings) == 0.25
    assert judge(settings, state, 5, WELL).fresh is False


def test_one_good_round_is_enough_to_forget_the_bad_ones() -> None:
    settings = Guard(patience=2)
    state = GuardState()
    for number, found in enumerate([WELL, FLAT] * 20):
        state = judge(settings, state, number, found)
    assert state.rollbacks == 0


def test_it_gives_up_after_the_last_rollback_and_says_what_to_do() -> None:
    settings = Guard(patience=1, rollbacks=2)
    state = judge(settings, GuardState(), 1, WELL)
    for number in (2, 3):
        state = judge(settings, state, number, FLAT)
    with pytest.raises(FederationError, match=r"after 2 rollbacks \(variety 0\.05.*lr_generator"):
        judge(settings, state, 4, FLAT)


def test_the_brink_is_neither_bad_nor_a_place_to_go_back_to() -> None:
    settings = Guard(patience=1)
    state = judge(settings, judge(settings, GuardState(), 1, WELL), 2, BRINK)
    assert state == GuardState(healthy_round=1)


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), max_size=40), st.integers(1, 5))
def test_it_only_ever_goes_back_to_a_round_that_was_well(found: list[tuple[float, float]], patience: int) -> None:
    settings, state, well = Guard(patience=patience, rollbacks=100), GuardState(), {0}
    for number, one in enumerate(found, start=1):
        if one[0] >= 1.5 * settings.variety and one[1] <= settings.fake_accuracy:
            well.add(number)
        before, state = state, judge(settings, state, number, Vitals(*one))
        assert state.healthy_round in well
        assert state.rollbacks - before.rollbacks in (0, 1)
        assert 0 < state.lr_factor(settings) <= 1


@pytest.fixture
def collapsing(honest: Callable[..., Any]) -> Callable[[int, Instruction, Weights], RecordDict]:
    """Sites whose generators repeat themselves from round 3 on, unless their learning rates are halved."""

    def of(node: int, instruction: Instruction, weights: Weights) -> RecordDict:
        record = honest(shift=lambda node: 1e-4 * node + 4e-7 * node**2)(node, instruction, weights)
        if instruction.round < 3 or instruction.lr_factor < 1:
            return record
        reply, packed = Reply.from_record(record)
        flat = unpack(packed)
        flat["generator.layers.0.weight"] = flat["generator.layers.0.weight"] * 0
        return reply.to_record(flat)

    return of


def _run(study: Study, grid: Any, folder: Path) -> Checkpoint:
    for part in (CHECKPOINT_FOLDER, "samples"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    study.save(folder)
    federate(grid, folder)
    end = Checkpoint.latest(folder)
    assert end is not None
    return end


def test_a_run_that_collapses_is_taken_back_and_ends_well(
    make_study: Callable[..., Study], make_grid: Callable[..., Any], collapsing: Any, tmp_path: Path
) -> None:
    training = {"rounds": 7, "guard": {"patience": 2, "variety": 0.005}}
    study = make_study(training=training)
    grid = make_grid(collapsing, nodes=[1, 2, 3])
    end = _run(study, grid, tmp_path)
    assert end.round == 7
    assert end.guard["rollbacks"] == 1
    assert [event.get("rolled_back_to") for event in read_events(tmp_path)] == [None] * 3 + [2] + [None] * 3
    asked = {i.round: (i.lr_factor, i.fresh) for _, i in grid.asked}
    assert asked == {1: (1, False), 2: (1, False), 3: (1, False), 4: (1, False)} | {
        5: (0.25, True), 6: (0.25, False), 7: (0.25, False)
    }  # fmt: skip
    assert vitals(study, end.weights).variety > 0.01
    unguarded = make_study(training={"rounds": 7})
    flat = _run(unguarded, make_grid(collapsing, nodes=[1, 2, 3]), tmp_path / "unguarded")
    assert vitals(unguarded, flat.weights).variety < 0.001


def test_where_no_round_was_well_it_goes_back_to_the_beginning(
    make_study: Callable[..., Study], make_grid: Callable[..., Any], honest: Callable[..., Any], tmp_path: Path
) -> None:
    study = make_study(training={"rounds": 4, "guard": {"patience": 2, "variety": 0.9}})

    def answer(node: int, instruction: Instruction, weights: Weights) -> RecordDict:
        return honest(shift=lambda node: 1e-4 * node + 1e-5 * instruction.round)(node, instruction, weights)

    end = _run(study, make_grid(answer, nodes=[1, 2, 3]), tmp_path)
    assert (end.guard["rollbacks"], end.guard["healthy_round"]) == (2, 0)
    assert all(torch.equal(end.weights[name], tensor) for name, tensor in initial_weights(study).items())


@pytest.mark.parametrize("killed_after", range(1, 7))
def test_killed_at_any_round_it_ends_with_the_same_weights(
    make_study: Callable[..., Study],
    make_grid: Callable[..., Any],
    collapsing: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    killed_after: int,
) -> None:
    study = make_study(training={"rounds": 7, "guard": {"patience": 2, "variety": 0.005}})
    whole = _run(study, make_grid(collapsing, nodes=[1, 2, 3]), tmp_path / "whole")

    class Killed(BaseException):
        pass

    save = Checkpoint.save

    def killed(self: Checkpoint, run_dir: Path) -> None:
        save(self, run_dir)
        if self.round == killed_after:
            raise Killed

    monkeypatch.setattr(Checkpoint, "save", killed)
    with pytest.raises(Killed):
        _run(study, make_grid(collapsing, nodes=[1, 2, 3]), tmp_path / "killed")
    monkeypatch.setattr(Checkpoint, "save", save)
    resumed = _run(study, make_grid(collapsing, nodes=[1, 2, 3]), tmp_path / "killed")
    assert resumed.guard == whole.guard
    assert all(torch.equal(resumed.weights[name], tensor) for name, tensor in whole.weights.items())
    assert all(torch.equal(resumed.ema[name], tensor) for name, tensor in whole.ema.items())
