"""Training at the server: each step changes what it should, goes on where it stopped, and Adam is the central one."""

from collections.abc import Callable

import pytest
import torch
from torch.optim import Adam

from silogan.common.modality.image import ImageSchema
from silogan.common.wire.messages import Weights
from silogan.common.wire.study import Study
from silogan.server.app import initial_weights
from silogan.server.fitting.server_trainer import Rates, ServerTrainer

RATES = Rates(0.001, 0.01)


@pytest.fixture
def study(make_study: Callable[..., Study]) -> Study:
    training = {"discriminator_adam": "server", "lr_discriminator": 0.01, "betas": (0.0, 0.99)}
    return make_study(schema=ImageSchema(8, 1, ("a", "b")), training=training)


def test_generator_is_trained_against_a_discriminator_that_stays(study: Study) -> None:
    fresh = initial_weights(study)
    trainer = ServerTrainer(study, fresh, torch.Generator().manual_seed(0), RATES)
    trainer.generator_step()
    for name, tensor in trainer.weights.items():
        assert torch.equal(tensor, fresh[name]) == name.startswith("discriminator."), name


def test_generator_training_goes_on_where_its_optimizer_stopped(study: Study) -> None:
    fresh = initial_weights(study)
    whole = ServerTrainer(study, fresh, torch.Generator().manual_seed(0), RATES)
    for _ in range(4):
        whole.generator_step()
    rng = torch.Generator().manual_seed(0)
    first = ServerTrainer(study, fresh, rng, RATES)
    first.load_state({})
    for _ in range(2):
        first.generator_step()
    second = ServerTrainer(study, first.weights, rng, RATES)
    second.load_state(first.state())
    for _ in range(2):
        second.generator_step()
    expected = whole.weights
    assert all(torch.equal(tensor, expected[name]) for name, tensor in second.weights.items())


def test_discriminator_step_leaves_the_generator(study: Study) -> None:
    fresh = initial_weights(study)
    trainer = ServerTrainer(study, fresh, torch.Generator().manual_seed(0), RATES)
    trainer.discriminator_step(torch.rand(6, 1, 8, 8), torch.arange(6) % 2)
    for name, tensor in trainer.weights.items():
        assert torch.equal(tensor, fresh[name]) == name.startswith("generator."), name


def _moved(weights: Weights, gradients: Weights, lr: float) -> Weights:
    return {name: tensor - lr * gradients[name] if name in gradients else tensor for name, tensor in weights.items()}


def test_adam_on_the_average_of_plain_steps_is_adam_on_the_average_gradient(study: Study) -> None:
    weights = initial_weights(study)
    names = [name for name in weights if name.startswith("discriminator.")]
    central = {name: weights[name].clone().requires_grad_() for name in names}
    optimizer = Adam(central.values(), lr=0.01, betas=(0.0, 0.99))
    state: Weights = {}
    for step in range(3):
        rng = torch.Generator().manual_seed(step)
        gradients = {name: torch.randn(weights[name].shape, generator=rng) for name in names}
        trainer = ServerTrainer(study, weights, rng, RATES)
        trainer.load_state(state)
        trainer.discriminator_follows(_moved(weights, gradients, 0.01))
        weights, state = trainer.weights, trainer.state()
        for name, parameter in central.items():
            parameter.grad = gradients[name]
        optimizer.step()
    for name, parameter in central.items():
        torch.testing.assert_close(weights[name], parameter.detach(), rtol=1e-4, atol=1e-5)
