"""Phantoms are drawn by a seed alone, and their mask outlines the brightest shape."""

import pytest
import torch

from silogan.client.data import read
from silogan.client.data.phantoms import drawn
from silogan.common.config.scenario import parse_data
from silogan.common.errors import ConfigError
from silogan.common.modality.image import PIXELS
from silogan.common.modality.masked import MASK


def test_the_same_seed_draws_the_same_phantoms() -> None:
    first, again, other = (
        read(parse_data({"source": "phantoms", "records": 50, "draw_seed": seed})) for seed in (1, 1, 2)
    )
    assert list(first.train.contents()) == list(again.train.contents())
    assert list(first.train.contents()) != list(other.train.contents())
    assert (len(first.train), len(first.test)) == (40, 10)
    assert first.schema.shape == (2, 32, 32)
    assert not set(first.train.contents()) & set(first.test.contents())


@pytest.mark.parametrize(("size", "channels"), [(8, 1), (33, 3)])
def test_the_mask_outlines_the_lesion(size: int, channels: int) -> None:
    options = {"source": "phantoms", "records": 60, "image_size": size, "channels": channels}
    found = read(parse_data(options))
    pixels, mask = found.train.stored[PIXELS], found.train.stored[MASK]
    assert pixels.shape[1:] == (channels, size, size)
    assert set(mask.unique().tolist()) == {0, 255}
    within = mask.expand_as(pixels) > 0
    assert pixels[within].float().mean() > 160
    assert pixels[~within].float().mean() < 80
    areas = mask.gt(0).flatten(1).sum(dim=1).double()
    small, large = (areas[found.train.labels == label] for label in (0, 1))
    assert small.mean() * 2 < large.mean()


def test_the_number_of_phantoms_changes_none_of_the_first() -> None:
    few, many = drawn(100, 16, 5), drawn(200, 16, 5)
    for one, other in zip(few, many, strict=True):
        assert torch.from_numpy(one).equal(torch.from_numpy(other[:100]))


def test_other_classes_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"^data\.classes: differs from the class names of 'phantoms'"):
        read(parse_data({"source": "phantoms", "classes": ["a", "b"]}))
