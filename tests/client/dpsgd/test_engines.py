"""Every engine takes the same private step, and leaves the discriminator alone in the generator's."""

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.optim import SGD

from client.dpsgd import DP_ENGINES, Engine, PlainEngine
from client.randomness import SeededRandomness
from common.config import Model, parse_scenario
from common.errors import DataError
from common.networks import FAMILIES, Discriminator
from common.plan import make_plan
from common.schema import ImageSchema

CLIP, BATCH = 0.05, 7.5
SIZES = {"dcgan": 28, "seed": 64}


def discriminator_of(family: str) -> Discriminator:
    torch.manual_seed(0)
    return FAMILIES[family](Model(family=family, width=8), ImageSchema(SIZES[family], 1, ("a", "b")))[1]


def images_for(family: str, count: int) -> tuple[Tensor, Tensor]:
    rng = torch.Generator().manual_seed(1)
    return torch.randn(count, 1, SIZES[family], SIZES[family], generator=rng), torch.arange(count) % 2


def engine_of(name: str, discriminator: Discriminator) -> Engine:
    privacy = {"noise_multiplier": 1.0, "clip_norm": CLIP, "epsilon": 1000}
    plan = make_plan(parse_scenario({"name": "engines", "seed": 0, "privacy": privacy}))
    randomness = SeededRandomness(torch.Generator().manual_seed(2))
    return DP_ENGINES[name](discriminator, SGD(discriminator.parameters(), lr=1.0), randomness, plan, BATCH)


def flat(network: nn.Module) -> Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in network.parameters()])


def after_steps(name: str, family: str, at_once: int) -> Tensor:
    """The change of the weights in two steps of six images, with a generator's pass between."""
    discriminator = discriminator_of(family)
    before = flat(discriminator).clone()
    engine = engine_of(name, discriminator)
    images, labels = images_for(family, 6)
    for _ in range(2):
        engine.zero_grad()
        for part, theirs in zip(images.split(at_once), labels.split(at_once), strict=True):
            engine.backward(nn.functional.softplus(engine.logits(part, theirs)))
        engine.step()
        with engine.frozen() as frozen:
            fakes = images.clone().requires_grad_()
            frozen(fakes, labels).sum().backward()
            assert fakes.grad is not None
    return flat(discriminator) - before


def test_each_family_has_a_size_here() -> None:
    assert set(SIZES) == set(FAMILIES)


@pytest.mark.parametrize("family", SIZES)
def test_engines_and_micro_batches_take_the_same_step(family: str) -> None:
    expected = after_steps("hooks", family, 6)
    assert float(expected.norm()) > CLIP / BATCH
    for name, at_once in (("ghost", 6), ("bookkeeping", 6), ("bookkeeping", 4), ("bookkeeping", 1)):
        error = float((after_steps(name, family, at_once) - expected).norm() / expected.norm())
        assert error < 1e-4, (name, at_once)


@pytest.mark.parametrize("name", DP_ENGINES)
def test_the_generators_pass_leaves_no_trace(name: str) -> None:
    discriminator = discriminator_of("dcgan")
    engine = engine_of(name, discriminator)
    images, labels = images_for("dcgan", 3)
    with engine.frozen() as frozen:
        frozen(images.requires_grad_(), labels).sum().backward()
    assert all(p.requires_grad and p.grad is None for p in discriminator.parameters())
    assert all(getattr(p, "grad_sample", None) is None for p in discriminator.parameters())
    engine.zero_grad()
    images, labels = images_for("dcgan", 2)
    engine.backward(engine.logits(images, labels))  # would be refused, or mixed up, had the pass been noted
    engine.step()
    assert flat(discriminator).isfinite().all()


def test_a_plain_step_divides_by_the_expected_batch() -> None:
    discriminator = discriminator_of("dcgan")
    reference = copy.deepcopy(discriminator)
    images, labels = images_for("dcgan", 4)
    engine = PlainEngine(discriminator, SGD(discriminator.parameters(), lr=1.0), BATCH)
    engine.backward(engine.logits(images, labels))
    engine.step()
    (reference(images, labels).sum() / BATCH).backward()
    gradient = torch.cat([p.grad.flatten() for p in reference.parameters()])
    torch.testing.assert_close(flat(reference) - flat(discriminator), gradient, rtol=1e-4, atol=1e-6)


def test_ghost_clipping_refuses_what_it_cannot_leave_out() -> None:
    engine = engine_of("ghost", discriminator_of("dcgan"))
    images, labels = images_for("dcgan", 3)
    images[1] = float("nan")
    with pytest.raises(DataError, match="gradient: is not finite"):
        engine.backward(engine.logits(images, labels))
