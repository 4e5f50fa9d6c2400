"""Synthetic images: folders of PNG by class or one NPZ, and a contact sheet."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from silogan.common.errors import UsageError
from silogan.common.files import write_bytes_atomically
from silogan.common.modality import Stored
from silogan.common.modality.image import PIXELS
from silogan.server.release.arrays import images_of
from silogan.server.release.contact_sheet import UNCONDITIONAL_COLUMNS, class_grid, png_bytes, png_info
from silogan.server.release.generator import ReleasedGenerator
from silogan.server.release.outputs.base import Output, whole

UNLABELLED = "images"


def preview(records: Stored, labels: Tensor | None, generator: ReleasedGenerator) -> bytes:
    """A contact sheet with a column for each class."""
    rows = -(-len(records[PIXELS]) // (UNCONDITIONAL_COLUMNS if labels is None else generator.schema.num_classes))
    sheet = class_grid(records[PIXELS], labels, generator.schema.classes, rows=rows)
    return png_bytes(sheet, generator.png_text())


def write_png(out: Path, records: Stored, labels: Tensor | None, generator: ReleasedGenerator) -> None:
    """`out/CLASS/000000.png`, every file marked as synthetic; `file_names` says which record is where."""
    info = png_info(generator.png_text())
    folders = [UNLABELLED] if labels is None else list(generator.schema.classes)
    for folder in folders:
        if folder in ("", "..") or "\0" in folder or Path(folder).name != folder:
            raise UsageError("--format png", f"class {folder!r} cannot be the name of a folder", "use npz")
    for code, folder in enumerate(folders):
        members = records[PIXELS] if labels is None else records[PIXELS][labels == code]
        if not len(members):
            continue
        (out / folder).mkdir(parents=True, exist_ok=True)
        for number, image in enumerate(images_of({PIXELS: members})):
            Image.fromarray(image).save(out / folder / f"{number:06d}.png", pnginfo=info)


def file_names(labels: Tensor, classes: Sequence[str]) -> list[str]:
    """Where `write_png` puts each of the records with these labels int64[N], relative to `out`."""
    numbers = [0] * len(classes)
    found: list[str] = []
    for label in labels.tolist():
        found.append(f"{classes[label]}/{numbers[label]:06d}.png")
        numbers[label] += 1
    return found


def write_npz(out: Path, records: Stored, labels: Tensor | None, generator: ReleasedGenerator) -> None:
    """One file in the layout of MedMNIST: `train_images` [N, S, S] or [N, S, S, 3], `train_labels` [N, 1]."""
    write_arrays(out, arrays_of(records, labels, generator))


def arrays_of(records: Stored, labels: Tensor | None, generator: ReleasedGenerator) -> dict[str, NDArray[Any]]:
    """The arrays of such a file, by name."""
    arrays: dict[str, NDArray[Any]] = {
        "train_images": images_of(records),
        "classes": np.array(generator.schema.classes),
        "marks": np.array(("synthetic", *generator.marks)),
        "study": np.array(generator.study_id),
    }
    if labels is not None:
        arrays["train_labels"] = labels.numpy()[:, None]
    return arrays


def write_arrays(out: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Writes arrays as one `.npz` file."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # pyright: ignore[reportArgumentType]
    write_bytes_atomically(out, buffer.getvalue())


OUTPUT = Output({"png": whole(write_png), "npz": whole(write_npz)}, preview, UNCONDITIONAL_COLUMNS)
