"""A hostile coordinator: searches for weights under which one record adds more to a site's sum than allowed.

A site trains whatever weights it is sent, so the bound C on what a record adds must hold for all of them, in the
arithmetic that is used. A search cannot prove that (`docs/guarantee.md` says what does); it finds arithmetic that
breaks, as that of Gram matrices in float32 did, by many orders of magnitude. Weights are tried at random, in families
that strain the arithmetic each in its own way, and those that went furthest are changed a little, again and again.
"""

import math
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from random import Random

import torch
from torch import Tensor, nn

from silogan.common.modality import Schema
from silogan.common.models.networks import Discriminator
from silogan.common.seeding import seeded_generator

TOLERANCE = 1.0001
"""In units of C: what a record may add, the rounding of a float32 sum included."""

_MOST_EXPONENT = 100
_RECORDS = 5


# What one record adds to the sum that a site would release, without its noise: ‖sum with it - sum without it‖ / C. It
# is the product's own code, run twice: on a batch with the record and on the same batch without it. It is given a
# discriminator with the coordinator's weights, which are finite, the record's k views float32[k, C, S, S] in [-1, 1],
# and their classes int64[k].
Contribution = Callable[[Discriminator, Tensor, Tensor], float]


@dataclass(frozen=True)
class Crafted:
    """Weights and a record, described by a few numbers.

    Attributes:
        family: one of `FAMILIES`.
        seed: of what is random in them.
        scales: exponent of two for each parameter of the discriminator.
        eta: what should cancel does so up to 2^-eta.
        layer: at whose output it should.
        places: where, in the weights that come after; the second counts from the first.
        record: which of a few kinds the images are of.
    """

    family: str
    seed: int
    scales: tuple[int, ...]
    eta: int
    layer: int
    places: tuple[int, int]
    record: int


@dataclass(frozen=True)
class Search:
    """The result of a search.

    Attributes:
        largest: the most that a record added, in units of C; the largest float where the sum was not finite.
        tried: how many weights were.
        worst: the weights and the record that did it.
        seed: of the search.
    """

    largest: float
    tried: int
    worst: Crafted
    seed: int

    @property
    def holds(self) -> bool:
        """Whether no record added more than allowed."""
        return self.largest <= TOLERANCE


def search(
    contribution: Contribution,
    discriminator: Discriminator,
    schema: Schema,
    *,
    seconds: float,
    views: int = 1,
    seed: int = 0,
    most: int | None = None,
) -> Search:
    """Searches for the weights under which a record adds most.

    Args:
        contribution: tells what it adds.
        discriminator: any weights, on the CPU; they are overwritten.
        schema: of the images.
        seconds: when to stop; the last try may end later.
        views: k, images of the record.
        seed: of everything random; the same seed tries the same weights in the same order.
        most: how many weights to try at most.
    """
    rng, started = Random(seed), time.monotonic()  # noqa: S311  (an attack needs no secret)
    parameters = len(list(discriminator.parameters()))
    best: dict[str, tuple[float, Crafted]] = {}
    tried = 0
    while tried == 0 or (time.monotonic() - started < seconds and (most is None or tried < most)):
        family = rng.choice(_TURNS)
        # where every bound has held so far there is no slope to climb
        climb = family in best and rng.random() < (0.6 if best[family][0] > TOLERANCE else 0.2)
        crafted = _changed(best[family][1], rng) if climb else _random(family, parameters, rng)
        found = contribution(discriminator, *make(crafted, discriminator, schema, views))
        found = found if math.isfinite(found) else sys.float_info.max
        tried += 1
        if family not in best or found >= best[family][0]:
            best[family] = found, crafted
    largest, worst = max(best.values(), key=lambda pair: pair[0])
    return Search(largest, tried, worst, seed)


@torch.no_grad()
def make(crafted: Crafted, discriminator: Discriminator, schema: Schema, views: int) -> tuple[Tensor, Tensor]:
    """Gives the discriminator its crafted weights, and returns the record's images and labels."""
    FAMILIES[crafted.family](crafted, discriminator)
    for parameter in discriminator.parameters():
        parameter.nan_to_num_().clamp_(-3e38, 3e38)  # a site refuses weights that are not finite
    return _images(crafted, schema, views), torch.full((views,), crafted.seed % schema.num_classes)


def _cancelling(crafted: Crafted, discriminator: Discriminator) -> None:
    """The gradient at a layer's output is large at two places and opposite; what the layer sees there is the same."""
    for parameter in discriminator.parameters():
        parameter.zero_()
    layers = _layers(discriminator)
    layer = crafted.layer % len(layers)
    exponents = iter(crafted.scales)
    if layer > 0 and isinstance(bias := layers[layer - 1].bias, Tensor):
        bias.fill_(2.0 ** next(exponents))
    first, second = crafted.places[0], crafted.places[0] + crafted.places[1]
    for later in layers[layer + 1 :] or layers[layer:]:
        weight = later.get_parameter("weight").flatten(1) if later.get_parameter("weight").dim() > 1 else None
        if weight is None:  # a normalisation's
            later.get_parameter("weight").fill_(1.0)
            continue
        large = 2.0 ** next(exponents)
        weight[:, first % weight.shape[1]] = large
        weight[:, second % weight.shape[1]] = -large * (1 - 2.0**-crafted.eta)


def _random_weights(crafted: Crafted, discriminator: Discriminator) -> None:
    """Normal weights, each parameter at a scale of its own: saturated, overflowing, vanishing."""
    rng = seeded_generator(crafted.seed, "weights")
    for parameter, exponent in zip(discriminator.parameters(), crafted.scales, strict=True):
        fan_in = max(1, parameter[0].numel())
        parameter.normal_(generator=rng).mul_(fan_in**-0.5).mul_(2.0**exponent)


def _alternating(crafted: Crafted, discriminator: Discriminator) -> None:
    """Weights that are all alike but for their sign, up to 2^-eta: long sums that cancel in every layer."""
    rng = seeded_generator(crafted.seed, "signs")
    for parameter, exponent in zip(discriminator.parameters(), crafted.scales, strict=True):
        signs = torch.randint(2, parameter.shape, generator=rng).mul_(2).sub_(1)
        parameter.copy_(signs * 2.0**exponent)
        parameter.flatten()[:: 1 + crafted.places[1]].mul_(1 - 2.0**-crafted.eta)


FAMILIES: dict[str, Callable[[Crafted, Discriminator], None]] = {
    "cancelling": _cancelling,
    "moderate": _random_weights,
    "extreme": _random_weights,
    "alternating": _alternating,
}
"""How weights are made of a `Crafted`."""

_TURNS = ("cancelling", "cancelling", *FAMILIES)
"""Whose turn it is: cancellation, which has worked before, more often."""

_EXPONENTS = {"cancelling": (0, 40), "moderate": (-4, 8), "extreme": (-60, 60), "alternating": (-8, 12)}


def _random(family: str, parameters: int, rng: Random) -> Crafted:
    low, high = _EXPONENTS[family]
    return Crafted(
        family=family,
        seed=rng.getrandbits(32),
        scales=tuple(rng.randint(low, high) for _ in range(parameters)),
        eta=rng.randint(4, 24),
        layer=rng.randrange(64),
        places=(rng.getrandbits(12), rng.randint(1, 8)),
        record=rng.randrange(_RECORDS),
    )


def _changed(crafted: Crafted, rng: Random) -> Crafted:
    """One step of hill climbing, along one coordinate."""
    coordinate = rng.randrange(6)
    if coordinate <= 1:
        place = rng.randrange(len(crafted.scales))
        step = rng.choice((-8, -2, -1, 1, 2, 8))
        moved = max(-_MOST_EXPONENT, min(_MOST_EXPONENT, crafted.scales[place] + step))
        return replace(crafted, scales=(*crafted.scales[:place], moved, *crafted.scales[place + 1 :]))
    if coordinate == 2:
        return replace(crafted, eta=max(1, crafted.eta + rng.choice((-1, 1))))
    if coordinate == 3:
        return replace(crafted, layer=rng.randrange(64))
    if coordinate == 4:
        return replace(crafted, places=(crafted.places[0] + rng.choice((-1, 1)), rng.randint(1, 8)))
    return replace(crafted, record=rng.randrange(_RECORDS))


def _images(crafted: Crafted, schema: Schema, views: int) -> Tensor:
    """float32[k, *shape]: white, noise, black and white noise, nearly opposite views, or black."""
    shape = (views, *schema.shape)
    if crafted.record == 0:
        return torch.ones(shape)
    if crafted.record == 4:
        return -torch.ones(shape)
    noise = torch.rand(shape, generator=seeded_generator(crafted.seed, "images")).mul_(2).sub_(1)
    if crafted.record == 1:
        return noise
    if crafted.record == 2:
        return noise.sign()
    signs = torch.tensor([1.0, -(1 - 2.0**-crafted.eta)]).repeat(views)[:views]
    return noise[:1].sign() * signs.view(-1, *[1] * len(schema.shape))


def _layers(discriminator: Discriminator) -> list[nn.Module]:
    return [layer for layer in discriminator.modules() if any(True for _ in layer.parameters(recurse=False))]
