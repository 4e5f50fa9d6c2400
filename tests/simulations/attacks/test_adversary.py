"""A hostile coordinator's search: it finds arithmetic that breaks, and says so in a way that can be done again."""

import math
import sys
import time

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from silogan.common.config.scenario import parse_model
from silogan.common.modality.image import ImageSchema
from silogan.common.modality.image_options import Dcgan
from silogan.common.models.networks import Discriminator, build
from silogan.simulations.attacks.adversary import FAMILIES, TOLERANCE, Crafted, make, search

SCHEMA = ImageSchema(28, 1, ("a", "b", "c"))


@pytest.fixture
def discriminator() -> Discriminator:
    return build(Dcgan(width=4), SCHEMA).discriminator


def squares(discriminator: Discriminator, images: Tensor, labels: Tensor) -> tuple[float, float]:
    """‖gradient‖² of a record: as it is, and with the convolutions' weights by Gram matrices in float32."""
    seen: list[tuple[nn.Conv2d, Tensor, Tensor]] = []

    def note(layer: nn.Conv2d, inputs: tuple[Tensor], output: Tensor) -> None:
        seen.append((layer, inputs[0].detach(), output))

    convolutions = [layer for layer in discriminator.modules() if isinstance(layer, nn.Conv2d)]
    handles = [layer.register_forward_hook(note) for layer in convolutions]
    loss = F.softplus(-discriminator(images, labels)).mean()
    for handle in handles:
        handle.remove()
    parameters = dict(discriminator.named_parameters())
    gradients = torch.autograd.grad(loss, [*parameters.values(), *(output for _, _, output in seen)])
    exact = dict(zip(parameters, (float(gradient.double().square().sum()) for gradient in gradients), strict=False))
    by_gram = sum(
        exact[name] for name in parameters if id(parameters[name]) not in {id(c.weight) for c in convolutions}
    )
    for (layer, inputs, _), back in zip(seen, gradients[len(parameters) :], strict=True):
        patches = F.unfold(inputs, layer.kernel_size, stride=layer.stride, padding=layer.padding)  # pyright: ignore
        p, b = (part.transpose(0, 1).flatten(1) for part in (patches, back.flatten(2)))
        by_gram += float(((p.T @ p) * (b.T @ b)).sum())
    return sum(exact.values()), by_gram


def broken(discriminator: Discriminator, images: Tensor, labels: Tensor) -> float:
    """Clips by Gram matrices in float32, which cancel, as the product once did; what is not finite adds nothing."""
    exact, by_gram = squares(discriminator, images, labels)
    if not math.isfinite(by_gram) or not math.isfinite(exact):
        return 0.0
    return math.sqrt(exact) / max(1.0, math.sqrt(max(by_gram, 0.0)))


def sound(discriminator: Discriminator, images: Tensor, labels: Tensor) -> float:
    exact, _ = squares(discriminator, images, labels)
    return min(1.0, math.sqrt(exact)) if math.isfinite(exact) else 0.0


@pytest.mark.parametrize("views", [1, 2])
def test_broken_clipping_is_found_by_orders_of_magnitude(discriminator: Discriminator, views: int) -> None:
    found = search(broken, discriminator, SCHEMA, seconds=60, views=views, seed=0, most=700)
    assert found.largest > 2.4e7
    assert not found.holds
    # what was found can be made again from its numbers
    other = build(Dcgan(width=4), SCHEMA).discriminator
    assert broken(other, *make(found.worst, other, SCHEMA, views)) == found.largest


def test_sound_clipping_passes_however_it_is_strained(discriminator: Discriminator) -> None:
    exact: list[float] = []

    def noted(network: Discriminator, images: Tensor, labels: Tensor) -> float:
        exact.append(squares(network, images, labels)[0])
        return sound(network, images, labels)

    found = search(noted, discriminator, SCHEMA, seconds=60, most=100)
    assert found.holds
    assert found.largest == 1.0
    assert found.tried == 100
    assert max(filter(math.isfinite, exact)) > 1e20
    assert not all(map(math.isfinite, exact))  # some overflow


def test_the_same_seed_tries_the_same_weights(discriminator: Discriminator) -> None:
    first, again, other = (search(sound, discriminator, SCHEMA, seconds=60, seed=seed, most=30) for seed in (5, 5, 6))
    assert first == again
    assert first.worst != other.worst
    assert first.seed == 5


def test_a_sum_that_is_not_finite_is_the_largest_of_all(discriminator: Discriminator) -> None:
    found = search(lambda *_: math.nan, discriminator, SCHEMA, seconds=60, most=3)
    assert found.largest == sys.float_info.max
    assert not found.holds


def test_search_ends_in_time(discriminator: Discriminator) -> None:
    started = time.monotonic()
    found = search(lambda *_: 0.0, discriminator, SCHEMA, seconds=0.2)
    assert found.tried > 1
    assert time.monotonic() - started < 5
    assert search(lambda *_: 0.0, discriminator, SCHEMA, seconds=0).tried == 1


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("name", "size"), [("dcgan", 28), ("article", 64)])
def test_crafted_weights_are_finite_and_fit_every_network(family: str, name: str, size: int) -> None:
    schema = ImageSchema(size, 1, ("a", "b", "c"))
    network = build(parse_model({"family": name, "width": 4}), schema).discriminator
    count = len(list(network.parameters()))
    for record in range(5):
        crafted = Crafted(family, 7, (100, -100) * (count // 2) + (3,) * (count % 2), 5, 1, (9, 2), record)
        images, labels = make(crafted, network, schema, 2)
        assert all(bool(parameter.isfinite().all()) for parameter in network.parameters())
        assert any(bool(parameter.any()) for parameter in network.parameters())
        assert images.shape == (2, 1, size, size)
        assert images.abs().max() <= 1
        assert labels.tolist() == [1, 1]


def test_what_may_be_added_leaves_room_for_rounding_only() -> None:
    assert 1 < TOLERANCE <= 1.0001
