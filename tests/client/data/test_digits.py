import pytest
import torch

from silogan.client.data import read
from silogan.common.errors import ConfigError
from silogan.common.modality.image import PIXELS
from silogan.common.modality.image_options import Digits


def test_digits_have_their_public_shape_and_range() -> None:
    data = read(Digits())
    assert (data.schema.size, data.schema.channels, data.schema.num_classes) == (8, 1, 10)
    assert len(data.train) + len(data.test) == 1797
    assert data.train.stored[PIXELS].dtype == torch.uint8
    assert data.train.stored[PIXELS].shape == (len(data.train), 1, 8, 8)
    assert (data.train.stored[PIXELS].min(), data.train.stored[PIXELS].max()) == (0, 255)
    assert data.site_names is None


def test_the_split_is_fixed_stratified_and_without_overlap() -> None:
    one, two = read(Digits(test_fraction=0.25)), read(Digits(test_fraction=0.25))
    assert torch.equal(one.train.stored[PIXELS], two.train.stored[PIXELS])
    assert torch.equal(one.test.labels, two.test.labels)
    share = torch.bincount(one.test.labels) / torch.bincount(torch.cat([one.train.labels, one.test.labels]))
    assert share.sub(0.25).abs().max() < 0.01
    rows = torch.cat([one.train.stored[PIXELS], one.test.stored[PIXELS]]).flatten(1)
    assert len(torch.unique(rows, dim=0)) == 1797


def test_resize_and_colour() -> None:
    data = read(Digits(image_size=32, channels=3))
    assert data.test.stored[PIXELS].shape == (len(data.test), 3, 32, 32)
    assert (data.schema.size, data.schema.channels) == (32, 3)


def test_a_fraction_that_leaves_a_class_out_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"^data\.test_fraction: 0\.001 leaves a split without some class"):
        read(Digits(test_fraction=0.001))


def test_other_class_names_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"^data\.classes: differs from the class names of 'digits'; remove it$"):
        read(Digits(classes=("a", "b")))
