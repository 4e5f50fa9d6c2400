"""Phantoms drawn by rule: an ellipse of a body, in it one of an organ, and in that a disc of a lesion.

Source: the idea of ellipses in ellipses is of L. A. Shepp and B. F. Logan (1974), The Fourier reconstruction of a head
section; places, sizes and shades here are made up, and vary from phantom to phantom.
"""

import numpy as np
import torch
from numpy.typing import NDArray

from silogan.client.data.records import DataSet, Records
from silogan.client.data.settings import own_classes
from silogan.common.modality.image import PIXELS
from silogan.common.modality.image_files import conform
from silogan.common.modality.masked import MASK
from silogan.common.modality.masked_options import CLASSES, Phantoms

Bytes, Floats = NDArray[np.uint8], NDArray[np.float64]

_NOISE = 6.0
"""Standard deviation of each pixel's noise, of 255."""

_RADII = ((0.07, 0.10), (0.12, 0.16))
"""Of lesions of each class, as a part of the image's side."""

_FARTHEST = 0.5
"""A lesion's distance from the middle of the organ, at most, as a part of the organ's half axes."""

_AT_ONCE = 100
"""Phantoms that are drawn together."""


def read(data: Phantoms) -> DataSet:
    """As many phantoms as the scenario asks for, classes in turn; the last ones are for testing.

    Raises:
        ConfigError: `data.classes` names other classes.
    """
    own_classes(data, CLASSES)
    schema, test = data.declared_schema(), round(data.records * data.test_fraction)
    pixels, masks = drawn(data.records, schema.size, data.draw_seed)
    stored = {PIXELS: conform(torch.from_numpy(pixels), None, schema.channels), MASK: torch.from_numpy(masks)}
    everything = Records(stored, torch.arange(data.records) % len(CLASSES))
    parts = torch.arange(data.records).split([data.records - test, test])
    train, held_out = map(everything.select, parts)
    return DataSet(schema, train, held_out)


def drawn(count: int, size: int, seed: int) -> tuple[Bytes, Bytes]:
    """Images and their masks, both uint8[count, 1, size, size]; phantom i is of class i modulo 2."""
    rng, classes = np.random.default_rng(seed), np.arange(count) % len(_RADII)
    blocks = [_block(classes[start : start + _AT_ONCE], size, rng) for start in range(0, count, _AT_ONCE)]
    images, masks = (np.concatenate(parts)[:, None] for parts in zip(*blocks, strict=True))
    return images, masks


def _block(classes: NDArray[np.int64], size: int, rng: np.random.Generator) -> tuple[Bytes, Bytes]:
    """Images and masks uint8[N, size, size] of some phantoms."""

    def each(low: Floats | float, high: Floats | float) -> Floats:
        return low + (np.asarray(high) - low) * rng.random((len(classes), 1, 1))

    side = (np.arange(size) + 0.5) / size
    x, y = side[None, None, :], side[None, :, None]
    body_x, body_y = each(0.47, 0.53), each(0.47, 0.53)
    body = _outside(x - body_x, y - body_y, each(0.40, 0.46), each(0.34, 0.40))
    organ_x, organ_y = body_x + each(-0.10, -0.04), body_y + each(-0.04, 0.04)
    wide, tall = each(0.22, 0.28), each(0.18, 0.24)
    organ = _outside(x - organ_x, y - organ_y, wide, tall)
    turn, away = each(0, 2 * np.pi), _FARTHEST * np.sqrt(each(0, 1))
    lesion_x, lesion_y = organ_x + away * wide * np.cos(turn), organ_y + away * tall * np.sin(turn)
    low, high = np.array(_RADII)[classes].T[..., None, None]
    radius = each(low, high)
    lesion = _outside(x - lesion_x, y - lesion_y, radius, radius)
    shade = np.zeros((len(classes), size, size))
    for outside, grey in ((body, each(70, 100)), (organ, each(120, 150)), (lesion, each(195, 235))):
        shade += (grey - shade) * (0.5 - outside * size).clip(0, 1)  # an edge is a pixel wide
    shade += rng.normal(0, _NOISE, shade.shape)
    return np.rint(shade.clip(0, 255)).astype(np.uint8), (lesion <= 0).astype(np.uint8) * 255


def _outside(x: Floats, y: Floats, wide: Floats, tall: Floats) -> Floats:
    """How far pixels are outside an ellipse with these half axes, negative within; in sides of the image, about."""
    return (np.sqrt((x / wide) ** 2 + (y / tall) ** 2) - 1) * np.minimum(wide, tall)
