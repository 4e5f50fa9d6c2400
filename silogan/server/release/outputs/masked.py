"""Synthetic images with masks: pairs of PNG with a table of their names, or one NPZ; a contact sheet with outlines."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from torch import Tensor
from torch.nn import functional as F

from silogan.common.modality import Stored
from silogan.common.modality.image import PIXELS
from silogan.common.modality.masked import MASK
from silogan.common.models.networks import Drawn
from silogan.server.release.about import SPLITS, About
from silogan.server.release.contact_sheet import LARGEST_TILE, UNCONDITIONAL_COLUMNS
from silogan.server.release.generator import ReleasedGenerator
from silogan.server.release.outputs import image, image_npz
from silogan.server.release.outputs.base import Output
from silogan.server.release.outputs.image_folder import (
    FILE_NAME,
    LABEL,
    METADATA,
    require_folders,
    save_by_class,
    with_labels,
    write_metadata,
)
from silogan.server.release.outputs.image_png import PNG, described, marked, png_of, saver
from silogan.server.release.outputs.written import Described, write_folder

IMAGES, MASKS = "images", "masks"
"""Folders of a data set, each with folders by class."""

MASK_NAME = "mask_file_name"
"""Column of `metadata.csv` beside `file_name`."""

OUTLINE = (255, 64, 64)
"""Red, green and blue of a mask's outline in a picture."""

LOADING = f"""
import pandas
from PIL import Image
pairs = pandas.read_csv("{METADATA}")
image, mask = (Image.open(pairs[name][0]) for name in ("{FILE_NAME}", "{MASK_NAME}"))  # a mask is 0 or 255
"""


def write_png(out: Path, drawn: Iterable[Drawn], about: About) -> None:
    """`out/images/CLASS/000000.png`, its mask under the same name in `out/masks`, and `metadata.csv` with all pairs."""
    require_folders(about, PNG.file_format)
    labelled, parts = with_labels(drawn)
    columns = (FILE_NAME, MASK_NAME, LABEL) if labelled else (FILE_NAME, MASK_NAME)

    def fill(folder: Path) -> Described:
        (folder / IMAGES).mkdir()

        def pairs() -> Iterable[tuple[str, str, str]]:
            info = marked(about)
            for part, names in save_by_class(folder / IMAGES, parts, about, PNG.ending, saver(about)):
                for name, mask in zip(names, part.records[MASK].squeeze(1).numpy(), strict=True):
                    path = folder / MASKS / name
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_bytes(png_of(mask, info))
                    yield f"{IMAGES}/{name}", f"{MASKS}/{name}", name.rpartition("/")[0]

        files, records = write_metadata(folder, pairs(), columns)
        for kind in (IMAGES, MASKS):
            of_kind, by_file = described(kind, f"{kind}/*/*.png")
            files, records = [*files, *of_kind], [*records, *by_file]
        return files, records

    write_folder(out, about, LOADING, fill)


def write_npz(out: Path, drawn: Iterable[Drawn], about: About) -> None:
    """The file of `image_npz.write_npz`, and `SPLIT_masks` uint8[N, S, S] of each split, 0 or 255."""

    def masks(records: Stored) -> image_npz.Arrays:
        parts = np.split(records[MASK].squeeze(1).numpy(), np.cumsum(about.splits)[:-1])
        return {f"{split}_masks": part for split, part in zip(SPLITS, parts, strict=True)}

    image_npz.write_arrays(out, drawn, about, masks)


def preview(records: Stored, labels: Tensor | None, generator: ReleasedGenerator) -> bytes:
    """The contact sheet of images, with their masks outlined."""
    return image.preview({PIXELS: outlined(records)}, labels, generator)


def outlined(records: Stored) -> Tensor:
    """Images uint8[N, 3, T, T] with the outlines of their masks; small ones are enlarged, so that the line is thin."""
    size = records[PIXELS].shape[-1]
    scale = max(1, LARGEST_TILE // size)
    large = F.interpolate(records[PIXELS].float(), scale_factor=scale, mode="bicubic") if scale > 1 else records[PIXELS]
    mask = F.interpolate(records[MASK].float() / 255, scale_factor=scale)
    inner = 1 - F.max_pool2d(1 - mask, 3, stride=1, padding=1)
    colour = mask.new_tensor(OUTLINE).view(1, 3, 1, 1)
    shown = large.float().expand(-1, 3, -1, -1).where(mask == inner, colour)
    return shown.round().clamp(0, 255).byte()


OUTPUT = Output({"png": write_png, "npz": write_npz}, preview, UNCONDITIONAL_COLUMNS)
