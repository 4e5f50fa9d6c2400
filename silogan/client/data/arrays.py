"""From unchecked arrays to images of the size and channels that the scenario asks for."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from silogan.client.data.records import DataSet, Records
from silogan.common.errors import DataError
from silogan.common.modality.image import PIXELS, ImageSchema
from silogan.common.modality.image_files import check_square, conform
from silogan.common.modality.image_options import ImageSource

SIZES = range(8, 257)
"""Heights and widths in pixels that the networks are made for; the same as `data.image_size` allows."""


def check_size(thing: str, height: int, width: int, data: ImageSource) -> None:
    """Refuses images that cannot become square, or that must be resized before use.

    Raises:
        DataError: they are not square and no rule makes them so, or too small or too large for the networks.
    """
    check_square(thing, height, width, data.fit)
    side = min(height, width) if data.fit == "crop" else max(height, width)
    squashed = data.fit == "squash" and height != width
    if data.image_size is None and (squashed or side not in SIZES):
        problem = f"is {height} x {width} pixels, not square with {SIZES[0]} to {SIZES[-1]}"
        raise DataError(thing, problem, "set data.image_size to resize")


def checked_codes(thing: str, values: NDArray[Any], count: int, limit: int) -> Tensor:
    """Checks one public code per image: a label, or a site.

    Args:
        thing: what to call the values in an error.
        values: any array; [N] or [N, 1] of integers is accepted.
        count: N, the number of images.
        limit: codes are 0 to `limit` - 1.

    Returns:
        int64 [N].

    Raises:
        DataError: the values are not integers, not one per image, or out of range.
    """
    if values.dtype.kind not in "iu":
        raise DataError(thing, f"holds {values.dtype} values", "store integers")
    if values.ndim == 2 and values.shape[1] > 1:
        raise DataError(thing, "holds several labels per image", "use a single-label data set")
    if values.shape not in ((count,), (count, 1)):
        raise DataError(thing, "does not hold one value for each image", "store one integer per image")
    if values.size and (values.min() < 0 or values.max() >= limit):
        raise DataError(thing, f"holds a value outside 0 to {limit - 1}", "correct the values or the list of names")
    return torch.from_numpy(values.reshape(-1).astype(np.int64))


def images_from_arrays(
    thing: str,
    pixels: NDArray[Any],
    labels: NDArray[Any],
    num_classes: int,
    data: ImageSource,
    sites: Tensor | None = None,
) -> Records:
    """Checks one split and brings it to the scenario's size and channels.

    Args:
        thing: what to call the split in an error.
        pixels: uint8 [N, H, W] grey or [N, H, W, 3] colour.
        labels: integers [N] or [N, 1].
        num_classes: labels are 0 to `num_classes` - 1.
        data: says which size and channels, and what becomes of images that are not square.
        sites: int64 [N], already checked.

    Raises:
        DataError: an array has the wrong type, shape or values; there may be no images, but no image may be empty.
    """
    if pixels.dtype != np.uint8:
        raise DataError(f"images of {thing}", f"hold {pixels.dtype} values", "store unsigned bytes (uint8)")
    if pixels.ndim not in (3, 4) or pixels.shape[3:] not in ((), (3,)):
        shape = ", ".join(["N", *map(str, pixels.shape[1:])]) if pixels.ndim else ""
        hint = "store [N, S, S] grey or [N, S, S, 3] colour"
        raise DataError(f"images of {thing}", f"have the shape [{shape}]", hint)
    if 0 in pixels.shape[1:]:
        raise DataError(f"images of {thing}", "are empty", "give data with images")
    height, width = pixels.shape[1:3]
    check_size(f"each image of {thing}", height, width, data)
    checked_labels = checked_codes(f"labels of {thing}", labels, len(pixels), num_classes)
    planes = torch.from_numpy(pixels)
    planes = planes.unsqueeze(1) if planes.ndim == 3 else planes.permute(0, 3, 1, 2)
    return Records({PIXELS: conform(planes, data.image_size, data.channels, data.fit)}, checked_labels, sites)


def assemble(
    thing: str, train: Records, test: Records, classes: tuple[str, ...], site_names: tuple[str, ...] | None = None
) -> DataSet:
    """Joins two splits that must have the same size and channels.

    Raises:
        DataError: they have not.
    """
    _, channels, size, _ = train.stored[PIXELS].shape
    if test.stored[PIXELS].shape[1:] != (channels, size, size):
        problem = "has training and test images of different size or channels"
        raise DataError(thing, problem, "set data.image_size and data.channels")
    return DataSet(ImageSchema(size, channels, classes), train, test, site_names)
