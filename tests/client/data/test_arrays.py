from typing import Any

import numpy as np
import pytest
import torch

from silogan.client.data import Records
from silogan.client.data.arrays import assemble, checked_codes, images_from_arrays
from silogan.common.errors import DataError
from silogan.common.modality.image import PIXELS
from silogan.common.modality.image_options import Digits


def random_pixels(*shape: int) -> torch.Tensor:
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


GOOD = np.zeros((2, 8, 8), np.uint8)


@pytest.mark.parametrize(
    ("pixels", "labels", "message"),
    [
        (GOOD.astype(np.float32), [0, 1], r"images of x: hold float32 values; store unsigned bytes"),
        (np.full((2, 8, 8), np.nan), [0, 1], r"images of x: hold float64 values"),
        (np.zeros((2, 8), np.uint8), [0, 1], r"images of x: have the shape \[N, 8\]"),
        (np.zeros((), np.uint8), [0, 1], r"images of x: have the shape \[\]"),
        (np.zeros((2, 8, 8, 4), np.uint8), [0, 1], r"images of x: have the shape \[N, 8, 8, 4\]"),
        (np.zeros((2, 3, 8, 8, 3), np.uint8), [0, 1], r"images of x: have the shape \[N, 3, 8, 8, 3\]"),
        (np.zeros((2, 8, 0), np.uint8), [0, 1], r"images of x: are empty"),
        (np.zeros((2, 8, 9), np.uint8), [0, 1], r"each image of x: is 8 x 9 pixels, not square"),
        (np.zeros((2, 4, 4), np.uint8), [0, 1], r"each image of x: is 4 x 4 pixels.*set data\.image_size"),
        (np.zeros((2, 300, 300), np.uint8), [0, 1], r"each image of x: is 300 x 300 pixels"),
        (GOOD, [0.0, 1.0], r"labels of x: holds float64 values"),
        (GOOD, [0], r"labels of x: does not hold one value for each image"),
        (GOOD, [[0, 1], [1, 1]], r"labels of x: holds several labels per image"),
        (GOOD, [0, 2], r"labels of x: holds a value outside 0 to 1"),
        (GOOD, [-1, 0], r"labels of x: holds a value outside 0 to 1"),
        (GOOD, 0, r"labels of x: does not hold one value for each image"),
    ],
)
def test_bad_arrays_are_refused(pixels: Any, labels: Any, message: str) -> None:
    values = np.array(labels, dtype=None if np.size(labels) else np.int64)
    with pytest.raises(DataError, match=message):
        images_from_arrays("x", pixels, values, 2, Digits())


def test_colour_arrays_become_channels_first() -> None:
    pixels = random_pixels(2, 8, 8, 3).numpy()
    images = images_from_arrays("x", pixels, np.array([[1], [0]], np.uint8), 2, Digits())
    assert torch.equal(images.stored[PIXELS], torch.from_numpy(pixels).permute(0, 3, 1, 2))
    assert images.stored[PIXELS].is_contiguous()
    assert images.labels.tolist() == [1, 0]
    assert images.labels.dtype == torch.int64


def test_codes_beyond_int64_do_not_wrap_around() -> None:
    with pytest.raises(DataError, match="outside 0 to 9"):
        checked_codes("x", np.array([2**64 - 1], np.uint64), 1, 10)


def test_splits_of_different_shape_are_refused() -> None:
    small, large = (Records({PIXELS: random_pixels(1, 1, size, size)}, torch.tensor([0])) for size in (8, 16))
    with pytest.raises(DataError, match="x: has training and test images of different size or channels"):
        assemble("x", small, large, ("a",))


@pytest.mark.parametrize("size", [None, 16])
@pytest.mark.parametrize("channels", [None, 1, 3])
def test_no_images_at_all_are_images(size: int | None, channels: int | None) -> None:
    """A hospital whose patients have all withdrawn goes on without any."""
    nothing = np.zeros((0, 8, 8), np.uint8)
    images = images_from_arrays("x", nothing, np.zeros(0, np.int64), 2, Digits(image_size=size, channels=channels))
    assert images.stored[PIXELS].shape == (0, channels or 1, size or 8, size or 8)
    assert len(images) == 0
