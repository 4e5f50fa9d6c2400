"""Runs that begin with a warm start and train at the server: asked once, checked, and resumed to the same weights."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from flwr.app import RecordDict

from silogan.common.errors import Code, FederationError, PrivacyRefusal
from silogan.common.privacy.statistics import Moments
from silogan.common.wire.messages import STATISTICS, Instruction, Reply, Weights
from silogan.common.wire.refusals import refusal_record
from silogan.common.wire.run_folder import CHECKPOINT_FOLDER, QUARANTINE_FILE
from silogan.common.wire.study import Study
from silogan.server.app import federate, initial_weights
from silogan.server.rounds.checkpoint import Checkpoint

Answer = Callable[[int, Instruction, Weights], RecordDict | None]
TRAINING: dict[str, Any] = {
    "warm_start": {"noise_multiplier": 2.0, "frequencies": 2, "steps": 2},
    "server_generator_steps": 2,
    "discriminator_adam": "server",
    "lr_decay": "linear",
}


@pytest.fixture
def study(make_study: Callable[..., Study]) -> Study:
    return make_study(training=TRAINING)


@pytest.fixture
def answer(study: Study, honest: Callable[..., Answer]) -> Answer:
    """Three sites that answer rightly: node n's statistics are n times the same ones."""
    settings = study.scenario.training.warm_start
    assert settings is not None
    moments = Moments(study.schema, settings)
    images = torch.rand(60, 1, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
    labels = torch.arange(60) % 3
    empty = torch.zeros(moments.slots, moments.width, dtype=torch.float64)
    statistics = empty.index_add_(0, labels, moments.rows(images, labels)).flatten().float()

    def of(node: int, instruction: Instruction, weights: Weights) -> RecordDict | None:
        if instruction.phase == "training":
            return honest()(node, instruction, weights)
        assert weights == {}
        reply = Reply(f"site-{node}", "statistics", 1, f"0{node}" * 32)
        return reply.to_record({STATISTICS: node * statistics})

    return of


@pytest.fixture
def prepared(study: Study, tmp_path: Path) -> Callable[[str], Path]:
    def make(name: str) -> Path:
        for part in (CHECKPOINT_FOLDER, "samples"):
            (tmp_path / name / part).mkdir(parents=True)
        study.save(tmp_path / name)
        return tmp_path / name

    return make


def latest(run_dir: Path) -> Checkpoint:
    checkpoint = Checkpoint.latest(run_dir)
    assert checkpoint is not None
    return checkpoint


def number_of(instruction: Instruction) -> int:
    """0 for the release before the training, and the round of that."""
    return instruction.round if instruction.phase == "training" else 0


def but(answer: Answer, node: int, number: int, other: Answer) -> Answer:
    """One node answers otherwise in one round."""
    return lambda asked, instruction, weights: (other if (asked, number_of(instruction)) == (node, number) else answer)(
        asked, instruction, weights
    )


def dies(*_: object) -> RecordDict:
    raise KeyboardInterrupt


def poisoned(node: int, instruction: Instruction, _: Weights) -> RecordDict:
    return Reply(f"site-{node}", "statistics", 1, "").to_record({STATISTICS: torch.full((3 * (1 + 4 + 10),), 1e6)})


def test_statistics_are_asked_for_once_and_the_rounds_know_the_heads(
    make_grid: Callable[..., Any], answer: Answer, prepared: Callable[[str], Path], study: Study
) -> None:
    grid, run_dir = make_grid(answer, nodes=[1, 2, 3]), prepared("run")
    federate(grid, run_dir)
    assert [number_of(instruction) for _, instruction in grid.asked] == [0] * 3 + [1] * 3 + [2] * 3 + [3] * 3 + [4] * 3
    first_round = [instruction.known_head for _, instruction in grid.asked if number_of(instruction) == 1]
    assert first_round == [f"0{node}" * 32 for node in (1, 2, 3)]
    assert latest(run_dir).phases == ["statistics"]


@pytest.mark.parametrize("number", [0, 1, 2, 4])
def test_a_run_that_was_killed_ends_with_the_same_weights(
    make_grid: Callable[..., Any], answer: Answer, prepared: Callable[[str], Path], number: int
) -> None:
    straight, killed = prepared("straight"), prepared("killed")
    federate(make_grid(answer, nodes=[1, 2, 3]), straight)
    with pytest.raises(KeyboardInterrupt):
        federate(make_grid(but(answer, 2, number, dies), nodes=[1, 2, 3]), killed)
    grid = make_grid(answer, nodes=[1, 2, 3])
    federate(grid, killed)
    assert min(number_of(instruction) for _, instruction in grid.asked) == number
    ours, theirs = latest(killed), latest(straight)
    for mine, reference in ((ours.weights, theirs.weights), (ours.ema, theirs.ema), (ours.server, theirs.server)):
        assert mine.keys() == reference.keys() != set()
        assert [name for name in mine if not torch.equal(mine[name], reference[name])] == []


def test_poisoned_statistics_are_left_out_and_an_violation(
    make_grid: Callable[..., Any], answer: Answer, prepared: Callable[[str], Path]
) -> None:
    without, with_it = prepared("without"), prepared("with")
    federate(make_grid(but(answer, 3, 0, lambda *_: None), nodes=[1, 2, 3]), without)
    federate(make_grid(but(answer, 3, 0, poisoned), nodes=[1, 2, 3]), with_it)
    assert all(torch.equal(tensor, latest(without).weights[name]) for name, tensor in latest(with_it).weights.items())
    violations = json.loads((with_it / QUARANTINE_FILE).read_text())["site-3"]["violations"]
    assert ["moves the weights by more than" in violation["what"] for violation in violations] == [True]


def test_without_a_quorum_nothing_is_trained(
    make_grid: Callable[..., Any], answer: Answer, prepared: Callable[[str], Path], study: Study
) -> None:
    run_dir = prepared("run")
    refusal = refusal_record("site", Code.BUDGET)
    with pytest.raises(PrivacyRefusal, match="phase statistics"):
        federate(make_grid(lambda *_: refusal, nodes=[1, 2, 3]), run_dir)
    silent = but(but(answer, 1, 0, lambda *_: None), 2, 0, lambda *_: None)
    with pytest.raises(FederationError, match="phase statistics: 1 usable replies of 3"):
        federate(make_grid(silent, nodes=[1, 2, 3]), run_dir)
    found = latest(run_dir)
    assert (found.round, found.phases) == (0, [])
    assert all(torch.equal(found.weights[name], tensor) for name, tensor in initial_weights(study).items())
