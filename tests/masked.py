"""Images with masks as files, for tests."""

from pathlib import Path

import numpy as np
from PIL import Image

from silogan.client.data.phantoms import drawn
from silogan.common.modality.masked_options import CLASSES


def write_pairs(folder: Path, count: int, *, size: int = 16, seed: int = 0) -> dict[str, str]:
    """PNG files of phantoms in `images` and their masks, 0 or 1, in `masks`; returns the options that name them."""
    images, masks = drawn(count, size, seed)
    for place in range(count):
        file = Path(CLASSES[place % 2]) / f"P{place:04d}.png"
        for kind, pixels in (("images", images[place, 0]), ("masks", masks[place, 0] // 255)):
            (folder / kind / file).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(folder / kind / file)
    return {"root": str(folder / "images"), "masks": str(folder / "masks")}


def save(path: Path, values: np.ndarray) -> None:
    """An image file; its folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path)
