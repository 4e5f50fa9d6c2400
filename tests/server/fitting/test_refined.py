"""What refines images at the server: it follows the critic, with momentum, and is kept near what was drawn."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.optim import SGD

from silogan.common.models.networks.gaussians import RefinedGaussians
from silogan.common.models.networks.image_critic import ImageCritic
from silogan.common.models.weights import Weights, networks, part_of
from silogan.common.wire.study import Study
from silogan.server.app import initial_weights
from silogan.server.fitting.critic import standardised
from silogan.server.fitting.refined import RefinedImages
from silogan.server.fitting.server_trainer import Rates, ServerTrainer
from silogan.server.rounds.after import EndedRound
from silogan.server.rounds.after.server_training import train
from silogan.server.rounds.checkpoint import Checkpoint

RATES = Rates(0.01, 0.5)


@pytest.fixture
def study(make_study: Callable[..., Study]) -> Study:
    refine: dict[str, Any] = {"rounds": 4, "width": 16, "batch": 8, "sample_rate": 1.0, "head_start": 0.5}
    training = {"refine": refine, "local_steps": 1}
    model = {"latent_dim": 64, "family": "gaussians", "frequencies": 4, "cells": 1, "width": 32}
    return make_study(training=training, model=model, privacy={"noise_multiplier": None, "clip_norm": 1.0})


@pytest.fixture
def weights(study: Study) -> Weights:
    found = initial_weights(study)
    found["generator.roots"] = torch.eye(16).mul(0.1).repeat(3, 1, 1)
    return found


def rng() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_a_generator_step_moves_what_refines_and_nothing_else(study: Study, weights: Weights) -> None:
    trainer = ServerTrainer(study, weights, rng(), RATES)
    for _ in range(2):  # the first one only lets it begin to add something
        trainer.generator_step()
    moved = {name for name, tensor in trainer.weights.items() if not torch.equal(tensor, weights[name])}
    assert moved
    assert all(name.startswith("generator.refiner.") for name in moved)


def test_what_strays_is_weighed_by_its_lowest_frequencies_alone(study: Study, weights: Weights) -> None:
    generator = networks(study.scenario.model, study.schema, weights).generator
    assert isinstance(generator, RefinedGaussians)
    images, labels, strayed = RefinedImages(generator, study.schema, 4, 10.0).draw(6, rng())
    assert float(strayed.detach()) == 0
    assert images.shape == (6, 1, 8, 8)
    assert labels.shape == (6,)
    with torch.no_grad():
        generator.refiner.leave.bias.fill_(0.01)
    _, _, strayed = RefinedImages(generator, study.schema, 4, 10.0).draw(6, rng())
    assert float(strayed.detach()) == pytest.approx(10 * 0.01**2, rel=0.02)  # a little is clamped


def test_the_critic_takes_plain_steps_with_momentum(study: Study, weights: Weights) -> None:
    names = [f"discriminator.{name}" for name, _ in networks_of(study, weights).named_parameters()]
    central = {name: weights[name].clone().requires_grad_() for name in names}
    optimizer, state = SGD(central.values(), lr=RATES.discriminator, momentum=0.6), Weights()
    lr = study.scenario.training.lr_discriminator
    for step in range(3):
        gradients = {name: torch.randn(weights[name].shape, generator=rng().manual_seed(step)) for name in names}
        average = {**weights, **{name: weights[name] - lr * gradients[name] for name in names}}
        trainer = ServerTrainer(study, weights, rng(), RATES)
        trainer.load_state(state)
        trainer.discriminator_follows(average)
        weights, state = trainer.weights, trainer.state()
        for name, parameter in central.items():
            parameter.grad = gradients[name]
        optimizer.step()
    for name, parameter in central.items():
        torch.testing.assert_close(weights[name], parameter.detach(), rtol=1e-4, atol=1e-5)


def networks_of(study: Study, weights: Weights) -> ImageCritic:
    critic = networks(study.scenario.model, study.schema, weights).discriminator
    assert isinstance(critic, ImageCritic)
    return critic


def test_the_critic_learns_alone_before_the_generator_follows(study: Study, weights: Weights, run_dir: Path) -> None:
    state = Checkpoint(study.study_id, 0, weights, {})
    moved = list[bool]()
    for number in range(1, 5):
        ended = EndedRound(study, run_dir, state, asked_at=0.0, replied=3, refused=[], quarantined=[])
        after = train(ended, replace(state, round=number))
        moved.append(any(not torch.equal(after.weights[n], t) for n, t in part(state.weights).items()))
        state = after
    assert moved == [False, False, True, True]


def part(weights: Weights) -> Weights:
    return {f"generator.{name}": tensor for name, tensor in part_of(weights, "generator").items()}


def test_features_are_centred_and_half_evened_out() -> None:
    features = torch.randn(4000, 3, generator=rng()) * torch.tensor([1.0, 4.0, 0.0]) + torch.tensor([5.0, 0.0, 2.0])
    found = standardised(features)
    mapped = (features - found["centre"]) * found["scale"]
    torch.testing.assert_close(mapped.mean(dim=0), torch.zeros(3), atol=1e-3, rtol=0)
    spread = mapped.std(dim=0)
    assert float(spread[1] / spread[0]) == pytest.approx(2, rel=0.05)
    assert float(mapped.norm(dim=1).median()) == pytest.approx(0.45, rel=1e-3)
    assert all(bool(tensor.isfinite().all()) for tensor in standardised(torch.zeros(5, 3)).values())
