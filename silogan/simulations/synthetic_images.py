"""Reads synthetic images: a folder of PNG by class, or an NPZ file, as `silogan generate` writes them."""

import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from silogan.client.data.arrays import SIZES
from silogan.client.data.folder import read_with_files
from silogan.common.errors import DataError
from silogan.common.modality.image import PIXELS
from silogan.common.modality.image_options import Folder
from silogan.server.release.about import SPLITS
from silogan.server.release.outputs.image_folder import UNLABELLED

DAMAGE = (
    *(OSError, KeyError, ValueError, TypeError, EOFError, NotImplementedError),
    *(zipfile.BadZipFile, zlib.error),
)
"""What reading a damaged NPZ file may raise."""


class Images(NamedTuple):
    """Synthetic images.

    Attributes:
        pixels: uint8[N, C, S, S].
        labels: int64[N], positions in `classes`; None of images without a class.
        classes: names.
        files: of each image, relative to the folder; empty of an NPZ file.
    """

    pixels: Tensor
    labels: Tensor | None
    classes: tuple[str, ...]
    files: tuple[PurePosixPath, ...] = ()

    def labels_in(self, classes: tuple[str, ...]) -> Tensor | None:
        """The labels as positions in `classes` of the real images: they are the same where their names are.

        Raises:
            DataError: the real images lack a class, or a label has no name.
        """
        if self.labels is None:
            return None
        for name in self.classes:
            if name not in classes:
                hint = f"give the real data of the same study, with {', '.join(classes)}"
                raise DataError("synthetic images", f"have a class '{name}' that the real images do not have", hint)
        if not bool(((self.labels >= 0) & (self.labels < len(self.classes))).all()):
            raise DataError("synthetic images", "have a label without a class name", "generate the images again")
        return torch.tensor([classes.index(name) for name in self.classes])[self.labels]


def read_images(path: Path) -> Images:
    """The images of a file or folder.

    Raises:
        DataError: `silogan generate` cannot have written it.
    """
    return _of_npz(path) if path.is_file() else _of_folder(path)


def unknown(path: Path) -> DataError:
    """The error of a file that `silogan generate` did not write."""
    return DataError(f"'{path}'", "is not a file written by silogan generate", "generate the file again")


def _of_npz(path: Path) -> Images:
    """All images of a file; labels are positions in the class names, which are in the file as well."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            classes = tuple(str(name) for name in archive["classes"])
            pixels, labels = _of_splits(archive, "images"), None
            if "train_labels" in archive.files:
                labels = _of_splits(archive, "labels")
        # reshape refuses colour that is not RGB
        images = torch.from_numpy(pixels.reshape(*pixels.shape[:3], {3: 1, 4: 3}[pixels.ndim])).permute(0, 3, 1, 2)
        _, _, height, width = images.shape
        if pixels.dtype != np.uint8 or not len(images) or height != width or height not in SIZES:
            raise ValueError
        if labels is not None and (labels.dtype.kind not in "iu" or labels.size != len(images)):
            raise ValueError
        codes = None if labels is None else torch.from_numpy(labels.astype(np.int64).flatten())
        return Images(images.contiguous(), codes, classes)
    except DAMAGE:
        raise unknown(path) from None


def _of_splits(archive: Mapping[str, NDArray[Any]], what: str) -> NDArray[Any]:
    """What all splits have of images or labels, in their order; only the first needs to be there."""
    return np.concatenate([archive[f"{split}_{what}"] for split in SPLITS if f"{split}_{what}" in archive])


def _of_folder(path: Path) -> Images:
    """All images of a folder by class; the class names are the folders' own, since synthetic images are public.

    Without labels where the only folder is that of images without a class.
    """
    classes = tuple(sorted(entry.name for entry in path.iterdir() if entry.is_dir()))
    if not classes:
        raise DataError(f"'{path}'", "holds no class folders", "give the output of silogan generate")
    data, train, test = read_with_files(Folder(root=path, classes=classes))
    pixels = torch.cat((data.train.stored[PIXELS], data.test.stored[PIXELS]))
    labels = None if classes == (UNLABELLED,) else torch.cat((data.train.labels, data.test.labels))
    return Images(pixels, labels, classes, tuple(entry.file for entry in (*train, *test)))
