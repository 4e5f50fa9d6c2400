"""Which size images keep."""

from silogan.client.data.arrays import SIZES

_MOST = 64
"""Larger images are resized, if the user does not say otherwise: a release has few frequencies of them."""


def kept(sizes: set[tuple[int, ...]]) -> tuple[int | None, str]:
    """Height and width that images of these sizes keep, None if they must be resized; and their size in words."""
    if len(sizes) > 1:
        return None, "of several sizes"
    ((height, width),) = sizes
    keeps = height == width and height in SIZES and height <= _MOST
    return height if keeps else None, f"of {height}x{width} pixels"
