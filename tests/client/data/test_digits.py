import pytest
import torch

from client.data import read
from common.config.scenario import Data
from common.errors import ConfigError


def test_digits_have_their_public_shape_and_range() -> None:
    data = read(Data(source="digits"))
    assert (data.schema.size, data.schema.channels, data.schema.num_classes) == (8, 1, 10)
    assert len(data.train) + len(data.test) == 1797
    assert data.train.pixels.dtype == torch.uint8
    assert data.train.pixels.shape == (len(data.train), 1, 8, 8)
    assert (data.train.pixels.min(), data.train.pixels.max()) == (0, 255)
    assert data.site_names is None


def test_the_split_is_fixed_stratified_and_without_overlap() -> None:
    one, two = read(Data(source="digits", test_fraction=0.25)), read(Data(source="digits", test_fraction=0.25))
    assert torch.equal(one.train.pixels, two.train.pixels)
    assert torch.equal(one.test.labels, two.test.labels)
    share = torch.bincount(one.test.labels) / torch.bincount(torch.cat([one.train.labels, one.test.labels]))
    assert share.sub(0.25).abs().max() < 0.01
    rows = torch.cat([one.train.pixels, one.test.pixels]).flatten(1)
    assert len(torch.unique(rows, dim=0)) == 1797


def test_resize_and_colour() -> None:
    data = read(Data(source="digits", image_size=32, channels=3))
    assert data.test.pixels.shape == (len(data.test), 3, 32, 32)
    assert (data.schema.size, data.schema.channels) == (32, 3)


def test_a_fraction_that_leaves_a_class_out_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"^data\.test_fraction: 0\.001 leaves a split without some class"):
        read(Data(source="digits", test_fraction=0.001))


def test_other_class_names_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"^data\.classes: differs from the class names of 'digits'; remove it$"):
        read(Data(source="digits", classes=("a", "b")))
