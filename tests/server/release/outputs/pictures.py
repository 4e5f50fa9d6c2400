"""Images to write, and what a file must say of them."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from silogan.common.modality.image import PIXELS, ImageSchema
from silogan.common.models.networks import Drawn
from silogan.server.release.about import About, Guarantee

GUARANTEE = Guarantee(9.9975, 1e-4, "patient")


def about(
    count: int, classes: tuple[str, ...] = ("a b", "ä"), channels: int = 1, size: int = 7, **changes: Any
) -> About:
    """Of images with an odd number of pixels."""
    given = {
        "schema": ImageSchema(size, channels, classes),
        "count": count,
        "study_id": "ab12" * 16,
        "marks": ("seeded",),
        "guarantee": GUARANTEE,
        "created": "2026-03-09",
        "licence": "CC-BY-4.0",
        "splits": (count, 0, 0),
        **changes,
    }
    return About(**given)


def drawn(of: About, parts: int = 2, *, labelled: bool = True, seed: int = 0) -> Iterator[Drawn]:
    """Random images of classes in turn, in parts."""
    rng = torch.Generator().manual_seed(seed)
    schema = of.schema
    assert isinstance(schema, ImageSchema)
    pixels = torch.randint(0, 256, (of.count, *schema.shape), generator=rng, dtype=torch.uint8)
    labels = torch.arange(of.count) % schema.num_classes
    for part, codes in zip(pixels.tensor_split(parts), labels.tensor_split(parts), strict=True):
        yield Drawn({PIXELS: part}, codes if labelled else None)


def expected(of: About) -> dict[str, list[np.ndarray]]:
    """The images [S, S] or [S, S, 3] of each class, in order."""
    found: dict[str, list[np.ndarray]] = {name: [] for name in of.schema.classes}
    for part in drawn(of):
        assert part.labels is not None
        for image, label in zip(part.records[PIXELS].numpy(), part.labels, strict=True):
            found[of.schema.classes[label]].append(image[0] if len(image) == 1 else image.transpose(1, 2, 0))
    return found
