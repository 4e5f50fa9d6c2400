"""Synthetic records as arrays of NumPy, with a picture for notebooks."""

from base64 import b64encode
from dataclasses import dataclass
from html import escape
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from silogan.common.errors import UsageError
from silogan.common.modality import Stored
from silogan.common.modality.image import PIXELS
from silogan.common.modality.joint import JointSchema
from silogan.common.modality.masked import MASK
from silogan.common.modality.table import Category, Column, TableSchema
from silogan.common.modality.table_grid import grid_of
from silogan.common.models.networks import Drawn
from silogan.server.release.contact_sheet import class_grid, png_bytes
from silogan.server.release.generator import ReleasedGenerator

_ROWS_SHOWN = 10


@dataclass(frozen=True)
class Samples:
    """N synthetic records; no one of them is a patient's.

    Attributes:
        images: uint8[N, S, S], or [N, S, S, 3] in colour; None of rows alone.
        columns: of each column of the rows its N values: names of a category, None where missing; `datetime64[D]`, NaT
            where missing; int64 of whole numbers, unless some are missing; else float64, NaN where missing; tuples of
            a set of codes. Empty of images alone.
        labels: the N names of the records' classes; None of records without.
        label_name: of the labels' column.
        classes: the names of all classes.
        marks: what is to be said of these records wherever they go.
        masks: uint8[N, S, S] of images with masks, 255 within the mask and 0 elsewhere; else None.
    """

    images: NDArray[np.uint8] | None
    columns: dict[str, NDArray[Any]]
    labels: NDArray[np.str_] | None
    label_name: str
    classes: tuple[str, ...]
    marks: tuple[str, ...]
    masks: NDArray[np.uint8] | None = None

    def __len__(self) -> int:
        first = self.images if self.images is not None else next(iter(self.columns.values()))
        return len(first)

    def __repr__(self) -> str:
        images = [] if self.images is None else [f"images {list(self.images.shape)}"]
        return f"<{len(self)} synthetic records: {', '.join([*images, *self._table()])}>"

    def frame(self) -> Any:
        """Columns and labels as a `pandas.DataFrame`.

        Raises:
            UsageError: pandas is not installed.
        """
        try:
            pandas = import_module("pandas")
        except ImportError:
            raise UsageError("Samples.frame", "needs pandas", "pip install pandas, or use .columns") from None
        return pandas.DataFrame(self._table())

    def _table(self) -> dict[str, NDArray[Any]]:
        return self.columns if self.labels is None else {**self.columns, self.label_name: self.labels}

    def _repr_html_(self) -> str:
        """A contact sheet of the first images of each class, or the first rows."""
        if self.images is None:
            return self._rows_html()
        pixels = self.images[:, None] if self.images.ndim == 3 else self.images.transpose(0, 3, 1, 2)
        codes, shown = None, self.classes
        if self.labels is not None:
            shown = tuple(name for name in self.classes if name in set(self.labels))
            codes = np.array([shown.index(label) for label in self.labels])
        sheet = class_grid(np.ascontiguousarray(pixels), codes, shown, rows=4)
        return picture_html(png_bytes(sheet), "synthetic images by class") + (self._rows_html() if self.columns else "")

    def _rows_html(self) -> str:
        table = self._table()
        head = "".join(f"<th>{escape(name)}</th>" for name in table)
        shown = range(min(_ROWS_SHOWN, len(self)))
        rows = ["".join(f"<td>{_cell(column[row])}</td>" for column in table.values()) for row in shown]
        body = "".join(f"<tr>{row}</tr>" for row in rows)
        more = f"<p>{len(self):,} synthetic rows</p>"
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{more}"


def samples_of(drawn: Drawn, generator: ReleasedGenerator) -> Samples:
    """Records that were drawn, as arrays."""
    schema, records = generator.schema, drawn.records
    row = schema.row if isinstance(schema, JointSchema) else schema
    images, columns, label = None, {}, ""
    if PIXELS in records:
        images = images_of(records)
    if isinstance(row, TableSchema):
        columns = {column.name: column_of(column, records[column.name]) for column in row.columns}
        columns |= {one.name: _sets(records[one.name], one.values) for one in row.code_sets}
        label = row.label
    labels = None if drawn.labels is None else np.array(schema.classes)[drawn.labels.numpy()]
    masks = records[MASK].squeeze(1).numpy() if MASK in records else None
    marks = "synthetic", *generator.marks
    return Samples(images, columns, labels, label or "label", schema.classes, marks, masks)


def images_of(records: Stored) -> NDArray[np.uint8]:
    """Images as `Samples.images` has them."""
    pixels = records[PIXELS].permute(0, 2, 3, 1).numpy()
    return pixels.squeeze(3) if pixels.shape[3] == 1 else pixels


def column_of(column: Column, values: Tensor) -> NDArray[Any]:
    """Values float64[N] of a column, NaN where they are missing, as `Samples.columns` has them."""
    found = values.numpy()
    missing = np.isnan(found)
    if isinstance(column, Category):
        names = np.array([*column.values, None], dtype=object)
        named = names[np.where(missing, len(column.values), found).astype(np.int64)]
        return named if missing.any() else named.astype(str)
    if column.date:
        days = np.where(missing, 0, found).astype(np.int64).astype("datetime64[D]")
        return np.where(missing, np.datetime64("NaT"), days)
    return found if missing.any() or grid_of(column).decimals else found.astype(np.int64)


def _sets(present: Tensor, names: tuple[str, ...]) -> NDArray[Any]:
    """Sets bool[N, codes] as tuples of names."""
    found = np.empty(len(present), dtype=object)
    for place, codes in enumerate(present.numpy()):
        found[place] = tuple(names[code] for code in codes.nonzero()[0])
    return found


def _cell(value: Any) -> str:
    """A value as text of HTML; nothing where it is missing."""
    if isinstance(value, tuple):
        return escape(", ".join(value))
    if value is None or (not isinstance(value, str) and np.isnan(value)):  # of a date: NaT
        return ""
    return escape(f"{value:g}" if isinstance(value, float) else str(value))


def picture_html(png: bytes, alt: str) -> str:
    """A picture that needs no file beside the page."""
    return f'<img alt="{escape(alt)}" src="data:image/png;base64,{b64encode(png).decode()}">'
