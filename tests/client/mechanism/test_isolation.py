"""The assumption behind the proof: in a block of a fixed shape a unit's part depends on the unit and its place alone.

Weights can be chosen so that the last digit of an activation decides a whole gradient. So nothing less than equality
bit for bit will do, whatever else is in the block, and for all of forward pass, backward pass, norm and sum.
"""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from silogan.client.mechanism.dpsgd import BookKeepingModule, bag_mean
from silogan.client.mechanism.units import Bags
from silogan.common.config.scenario import WarmStart, parse_model
from silogan.common.modality.image import ImageSchema
from silogan.common.models.losses import LOSSES
from silogan.common.models.networks import Discriminator, build, initialise
from silogan.common.privacy.statistics import Moments

REAL = LOSSES["nonsaturating"].real


def discriminator(family: str, size: int, width: int) -> Discriminator:
    model = parse_model({"family": family, "width": width, "latent_dim": 4})
    gan = build(model, ImageSchema(size, 1, ("a", "b", "c")))
    initialise(gan, torch.Generator().manual_seed(0))
    return gan.discriminator


def part_of(critic: BookKeepingModule, images: Tensor, place: int, views: int, bfloat16: bool) -> Tensor:
    """What the unit at `place` alone adds to the sum, with the others in the block but not counted."""
    with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
        answers = critic(images, torch.arange(len(images)) % 3).float()
    losses = REAL(answers).view(-1, views)
    counts = torch.arange(len(losses)) == place
    # the losses of all units go back together, as in a step; only what is counted differs
    critic.add(bag_mean(losses, torch.ones_like(losses, dtype=torch.bool)), 0.7, counts)
    return critic.take()


def fillings(images: Tensor, place: int, views: int) -> Iterator[Tensor]:
    """The same unit among others, among none, among huge ones, and among some that are not finite."""
    own = slice(place * views, (place + 1) * views)
    for others in (
        torch.randn_like(images),
        torch.zeros_like(images),
        1e30 * images,
        torch.full_like(images, torch.nan),
    ):
        others[own] = images[own]
        yield others


@pytest.mark.parametrize("bfloat16", [False, True], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(
    ("family", "size", "width", "units", "views"),
    [
        ("dcgan", 8, 4, 16, 1),
        ("dcgan", 28, 16, 32, 1),
        ("dcgan", 28, 8, 16, 3),
        ("dcgan", 64, 4, 16, 1),
        ("article", 64, 2, 16, 1),
    ],
)
def test_a_units_part_does_not_depend_on_the_others(
    family: str, size: int, width: int, units: int, views: int, threads: int, bfloat16: bool
) -> None:
    critic = BookKeepingModule(discriminator(family, size, width))
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    torch.manual_seed(1)
    images = torch.randn(units * views, 1, size, size)
    try:
        for place in (0, units // 2 + 1, units - 1):
            first, *others = (
                part_of(critic, those, place, views, bfloat16) for those in fillings(images, place, views)
            )
            assert first.any()
            assert all(torch.equal(first, other) for other in others)
    finally:
        torch.set_num_threads(before)


def test_blocks_have_one_shape_however_many_units_there_are() -> None:
    for count in (1, 7, 8, 9, 24):
        bags = Bags(torch.arange(count).unsqueeze(1), torch.ones(count, 1, dtype=torch.bool))
        blocks = list(bags.blocks(8))
        assert {tuple(block.positions.shape) for block in blocks} == {(8, 1)}
        assert sum(int(block.present.sum()) for block in blocks) == count
    assert list(Bags(torch.empty(0, 2, dtype=torch.int64), torch.empty(0, 2, dtype=torch.bool)).blocks(8)) == []


def test_a_records_moments_do_not_depend_on_the_others() -> None:
    moments = Moments(ImageSchema(28, 3, ("a", "b")), WarmStart(frequencies=12))
    torch.manual_seed(1)
    images, labels = torch.rand(64, 3, 28, 28) * 2 - 1, torch.arange(64) % 2
    expected = moments.rows(images, labels)
    for place in (0, 31, 63):
        for others in fillings(images, place, 1):
            assert torch.equal(moments.rows(others, labels)[place], expected[place])
