"""Synthetic images with rows: folders of PNG by class and a CSV file that names them, or one NPZ; a contact sheet."""

from pathlib import Path
from typing import cast

import numpy as np
from torch import Tensor

from silogan.common.files import write_bytes_atomically
from silogan.common.modality import Stored
from silogan.common.modality.joint import FILE, JointSchema
from silogan.common.modality.table import Category
from silogan.common.models.networks import Drawn
from silogan.server.release.contact_sheet import UNCONDITIONAL_COLUMNS
from silogan.server.release.generator import ReleasedGenerator
from silogan.server.release.outputs import image
from silogan.server.release.outputs.base import Output, whole
from silogan.server.release.outputs.table import ABOUT, write_note
from silogan.server.release.outputs.table_text import RowText, quoted

ROWS = "rows.csv"


def write_png(out: Path, records: Stored, labels: Tensor | None, generator: ReleasedGenerator) -> None:
    """`out/CLASS/000000.png`, and `out/rows.csv` with a line for each and a note beside it that says what they are."""
    schema = cast(JointSchema, generator.schema)
    image.write_png(out, records, labels, generator)
    write_note(out / (ROWS + ABOUT), generator)
    text, files = RowText(schema.row), image.file_names(cast(Tensor, labels), schema.classes)
    lines = b"".join(text.lines(Drawn(records, labels))).split(b"\n")[:-1]
    whole_lines = (quoted(file) + b"," + line for file, line in zip(files, lines, strict=True))
    header = FILE.encode() + b"," + text.header.rstrip(b"\n")
    write_bytes_atomically(out / ROWS, b"\n".join([header, *whole_lines, b""]))


def write_npz(out: Path, records: Stored, labels: Tensor | None, generator: ReleasedGenerator) -> None:
    """The file of `image.write_npz`, and `row_NAME` of each column: names of values, or numbers and NaN if missing."""
    arrays = image.arrays_of(records, labels, generator)
    for column in cast(JointSchema, generator.schema).row.columns:
        values = records[column.name].numpy()
        if isinstance(column, Category):
            names = np.array([*column.values, ""])  # of a missing value
            values = names[np.nan_to_num(values, nan=len(column.values)).astype(np.int64)]
        arrays[f"row_{column.name}"] = values
    image.write_arrays(out, arrays)


OUTPUT = Output({"png": whole(write_png), "npz": whole(write_npz)}, image.preview, UNCONDITIONAL_COLUMNS)
