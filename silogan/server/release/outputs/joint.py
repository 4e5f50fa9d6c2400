"""Synthetic images with rows: folders of PNG by class and a CSV file that names them, or one NPZ; a contact sheet."""

from collections.abc import Iterable
from pathlib import Path
from typing import cast

import numpy as np

from silogan.common.modality import Stored
from silogan.common.modality.joint import FILE, JointSchema
from silogan.common.modality.table import Category
from silogan.common.models.networks import Drawn
from silogan.server.release.about import About
from silogan.server.release.contact_sheet import UNCONDITIONAL_COLUMNS
from silogan.server.release.croissant import columns, field, file_object, record_set
from silogan.server.release.outputs import image, image_npz
from silogan.server.release.outputs.base import Output
from silogan.server.release.outputs.image_folder import ROWS, require_folders, save_by_class
from silogan.server.release.outputs.image_png import PNG, saver
from silogan.server.release.outputs.table_text import RowText, quoted
from silogan.server.release.outputs.written import ABOUT, Described, write_folder

LOADING = f"""
import pandas
rows = pandas.read_csv("{ROWS}")  # column `{FILE}` names the image of each row
"""


def write_png(out: Path, drawn: Iterable[Drawn], about: About) -> None:
    """`out/CLASS/000000.png`, and `out/rows.csv` with a line for each and a note beside it that says what they are."""
    schema = cast(JointSchema, about.schema)
    require_folders(about, PNG.file_format)
    text = RowText(schema.row)

    def fill(folder: Path) -> Described:
        with (folder / ROWS).open("wb") as file:
            file.write(FILE.encode() + b"," + text.header)
            for part, names in save_by_class(folder, drawn, about, PNG.ending, saver(about)):
                lines = b"".join(text.lines(part)).splitlines(keepends=True)
                file.writelines(quoted(name) + b"," + line for name, line in zip(names, lines, strict=True))
        (folder / (ROWS + ABOUT)).write_bytes(about.to_json())
        fields = [field(FILE, "sc:Text", ROWS, {"column": FILE}), *columns(schema.row, ROWS)]
        files, records = PNG.images
        return [file_object(folder / ROWS, ROWS, "text/csv"), *files], [record_set("records", fields), *records]

    write_folder(out, about, LOADING, fill)


def write_npz(out: Path, drawn: Iterable[Drawn], about: About) -> None:
    """The file of `image_npz.write_npz`, and `row_NAME` of each column, in the order of train, val and test.

    Names of values, or numbers and NaN if missing.
    """

    def rows(records: Stored) -> image_npz.Arrays:
        arrays: dict[str, np.ndarray] = {}
        for column in cast(JointSchema, about.schema).row.columns:
            values = records[column.name].numpy()
            if isinstance(column, Category):
                names = np.array([*column.values, ""])  # of a missing value
                values = names[np.nan_to_num(values, nan=len(column.values)).astype(np.int64)]
            arrays[f"row_{column.name}"] = values
        return arrays

    image_npz.write_arrays(out, drawn, about, rows)


OUTPUT = Output({"png": write_png, "npz": write_npz}, image.preview, UNCONDITIONAL_COLUMNS)
