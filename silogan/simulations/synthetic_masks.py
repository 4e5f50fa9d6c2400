"""Reads synthetic images with masks, as `silogan generate` writes them."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from silogan.client.data import images_with_masks
from silogan.common.modality import Stored
from silogan.common.modality.image import PIXELS
from silogan.common.modality.masked import MASK, MaskedSchema
from silogan.common.modality.masked_options import ImagesWithMasks
from silogan.server.release.about import SPLITS
from silogan.server.release.outputs.masked import IMAGES, MASKS
from silogan.simulations.synthetic_images import DAMAGE, read_images, unknown


def read_masked(path: Path, schema: MaskedSchema) -> tuple[Stored, Tensor | None]:
    """The records of a folder of pairs of PNG, or of an NPZ file, and their labels int64[N], if they have any.

    Raises:
        DataError: `silogan generate` cannot have written it, or an image has no mask.
    """
    if path.is_dir():
        pairs = ImagesWithMasks(root=path / IMAGES, masks=path / MASKS, classes=schema.classes)
        found = images_with_masks.read(pairs)
        stored = {name: torch.cat((found.train.stored[name], found.test.stored[name])) for name in (PIXELS, MASK)}
        return stored, torch.cat((found.train.labels, found.test.labels))
    images = read_images(path)
    try:
        with np.load(path, allow_pickle=False) as archive:
            names = [f"{split}_masks" for split in SPLITS if f"{split}_images" in archive.files]
            masks = np.concatenate([archive[name] for name in names])
    except DAMAGE:
        raise unknown(path) from None
    _, _, *sides = images.pixels.shape
    if masks.dtype != np.uint8 or masks.shape != (len(images.pixels), *sides):
        raise unknown(path)
    return {PIXELS: images.pixels, MASK: torch.from_numpy(masks).unsqueeze(1)}, images.labels_in(schema.classes)
