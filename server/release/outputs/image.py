"""Synthetic images: folders of PNG by class or one NPZ, and a contact sheet."""

import io
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

from common.errors import UsageError
from common.files import write_bytes_atomically
from common.modality import Stored
from common.modality.image import PIXELS
from server.release.contact_sheet import UNCONDITIONAL_COLUMNS, class_grid, png_bytes, png_info
from server.release.generator import ReleasedGenerator
from server.release.outputs.base import Output, whole

UNLABELLED = "images"


def preview(records: Stored, labels: Tensor | None, generator: ReleasedGenerator) -> bytes:
    """A contact sheet with a column for each class."""
    rows = -(-len(records[PIXELS]) // (UNCONDITIONAL_COLUMNS if labels is None else generator.schema.num_classes))
    sheet = class_grid(records[PIXELS], labels, generator.schema.classes, rows=rows)
    return png_bytes(sheet, generator.png_text())


def write_png(out: Path, records: Stored, labels: Tensor | None, generator: ReleasedGenerator) -> None:
    """`out/CLASS/000000.png`, every file marked as synthetic."""
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
        for number, image in enumerate(members.permute(0, 2, 3, 1).numpy()):
            picture = Image.fromarray(image.squeeze(2) if image.shape[2] == 1 else image)
            picture.save(out / folder / f"{number:06d}.png", pnginfo=info)


def write_npz(out: Path, records: Stored, labels: Tensor | None, generator: ReleasedGenerator) -> None:
    """One file in the layout of MedMNIST: `train_images` [N, S, S] or [N, S, S, 3], `train_labels` [N, 1]."""
    pixels = records[PIXELS].permute(0, 2, 3, 1).numpy()
    arrays = {
        "train_images": pixels.squeeze(3) if pixels.shape[3] == 1 else pixels,
        "classes": np.array(generator.schema.classes),
        "marks": np.array(("synthetic", *generator.marks)),
        "study": np.array(generator.study_id),
    }
    if labels is not None:
        arrays["train_labels"] = labels.numpy()[:, None]
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # pyright: ignore[reportArgumentType]
    write_bytes_atomically(out, buffer.getvalue())


OUTPUT = Output({"png": whole(write_png), "npz": whole(write_npz)}, preview, UNCONDITIONAL_COLUMNS)
