"""The critic of images: fixed features, two logits a class, and a gradient of each record that stays below C."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from silogan.client.training.isolation import check_isolation
from silogan.common.config.scenario import parse_model
from silogan.common.modality.image import ImageSchema
from silogan.common.models.losses import LOSSES
from silogan.common.models.networks import build, check_private, initialise
from silogan.common.models.networks.image_critic import ImageCritic, Standardised
from silogan.common.models.networks.silent import Silent
from silogan.simulations.attacks.adversary import search
from silogan.simulations.attacks.contribution import ProductContribution

SCHEMA = ImageSchema(8, 1, ("0", "1", "2"))
MODEL = parse_model({"family": "gaussians", "frequencies": 4, "critic": 16})
LOSS = "nonsaturating"


@pytest.fixture
def critic() -> ImageCritic:
    gan = build(MODEL, SCHEMA)
    initialise(gan, torch.Generator().manual_seed(0))
    assert isinstance(gan.discriminator, ImageCritic)
    return gan.discriminator


def images(count: int) -> Tensor:
    return torch.rand(count, *SCHEMA.shape, generator=torch.Generator().manual_seed(1)).mul(2).sub(1)


def test_gaussians_have_a_critic_only_where_one_is_asked_for() -> None:
    without = parse_model({"family": "gaussians", "frequencies": 4})
    assert isinstance(build(without, SCHEMA).discriminator, Silent)


def test_it_may_be_trained_privately(critic: ImageCritic) -> None:
    check_private(critic)
    labels = torch.tensor([0, 1, 2, 0])
    LOSSES[LOSS].real(critic(images(4), labels)).sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in critic.parameters())
    assert critic(images(0), labels[:0]).shape == (0, 2)
    with pytest.raises(ValueError, match="needs labels"):
        critic(images(4), None)


def test_the_second_answer_is_the_cross_entropy_of_its_names(critic: ImageCritic) -> None:
    labels = torch.tensor([0, 1, 2, 0])
    answers, names = critic(images(4), labels), critic.names(images(4))
    loss = LOSSES[LOSS]
    of_class = loss.real(answers) - loss.real(answers[:, 0])
    torch.testing.assert_close(of_class, torch.nn.functional.cross_entropy(names, labels, reduction="none"))
    torch.testing.assert_close(loss.fake(answers), loss.fake(answers[:, 0]))
    torch.testing.assert_close(loss.generator(answers), loss.generator(answers[:, 0]))


def test_of_one_class_there_is_nothing_to_name() -> None:
    alone = ImageCritic(replace(SCHEMA, classes=("0",)), 16)
    answers = alone(images(4), torch.zeros(4, dtype=torch.int64))
    assert answers.shape == (4,)
    assert answers.isfinite().all()


def test_the_map_is_applied_to_each_record_by_itself_and_clipped() -> None:
    layer = Standardised(2)
    layer.centre.copy_(torch.tensor([1.0, 0.0]))
    layer.scale.copy_(torch.tensor([0.1, 3.0]))
    found = layer(torch.tensor([[2.0, 0.0], [1.0, 2.0]]))
    torch.testing.assert_close(found, torch.tensor([[0.1, 0.0], [0.0, 1.0]]))
    assert list(layer.parameters()) == []


@pytest.mark.parametrize("views", [1, 3])
@pytest.mark.parametrize("size", [8, 28])
def test_the_machine_keeps_the_images_of_this_critic_apart(size: int, views: int) -> None:
    schema = replace(SCHEMA, size=size)
    precision = torch.autocast("cpu", torch.bfloat16, enabled=False)
    check_isolation(ImageCritic(schema, 16), LOSSES[LOSS], schema.shape, block=32, views=views, precision=precision)


# --- what a record adds, whatever is sent ---------------------------------------------------------------------------


@pytest.mark.parametrize("views", [1, 3])
def test_an_image_adds_at_most_c_whatever_weights_are_sent(critic: ImageCritic, views: int) -> None:
    found = search(ProductContribution(SCHEMA, LOSS, 1.0), critic, SCHEMA, seconds=60, views=views, seed=3, most=60)
    assert found.holds
    assert found.largest > 0.9


EXPONENTS = st.floats(-38, 38)


@settings(max_examples=40, deadline=None)
@given(centre=EXPONENTS, scale=EXPONENTS, weights=EXPONENTS, seed=st.integers(0, 2**16))
def test_an_image_adds_at_most_c_whatever_map_is_sent(centre: float, scale: float, weights: float, seed: int) -> None:
    rng = torch.Generator().manual_seed(seed)
    gan = build(MODEL, SCHEMA)
    initialise(gan, rng)
    critic = gan.discriminator
    assert isinstance(critic, ImageCritic)
    with torch.no_grad():
        for tensor, exponent in ((critic.standardised.centre, centre), (critic.standardised.scale, scale)):
            tensor.normal_(generator=rng).mul_(10.0**exponent).nan_to_num_().clamp_(-3e38, 3e38)
        for parameter in critic.parameters():
            parameter.mul_(10.0**weights).nan_to_num_().clamp_(-3e38, 3e38)
    image = torch.rand(1, *SCHEMA.shape, generator=rng).mul(2).sub(1)
    assert ProductContribution(SCHEMA, LOSS, 1.0)(critic, image, torch.tensor([seed % 3])) <= 1.0001
