"""The rows of a table as text, columnwise: texts are padded with zeros to one width, which are taken out at last."""

import csv
import io
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from common.modality.table import Category, TableSchema
from common.modality.table_grid import TABLED, Floats, Grid, Integers, grid_of
from common.models.networks import Drawn

_AT_ONCE = 2**24
"""Bytes of padded text that are held at once."""

Texts = NDArray[np.bytes_]


class RowText:
    """Rows as lines of CSV (RFC 4180, UTF-8, line feeds): a missing value is empty, the label is the last column.

    Args:
        schema: of the rows.
    """

    def __init__(self, schema: TableSchema) -> None:
        self._schema = schema
        names = [column.name for column in schema.columns]
        last = len(names) - (not schema.label)
        ends = [b"\n" if place == last else b"," for place in range(last + 1)]
        each = zip(schema.columns, ends, strict=False)
        self._columns = [_ColumnText(column.name, grid_of(column), end) for column, end in each]
        self._labels = np.array([_quoted(name) + b"\n" for name in schema.classes])
        self.header = b",".join(map(_quoted, [*names, schema.label] if schema.label else names)) + b"\n"

    def lines(self, drawn: Drawn) -> Iterator[bytes]:
        """The rows, some lines at a time."""
        columns = [(column, drawn.records[column.name].numpy()) for column in self._columns]
        count, width = len(columns[0][1]), sum(column.width for column in self._columns) + self._labels.itemsize
        at_once = max(1, _AT_ONCE // width)
        for start in range(0, count, at_once):
            part = slice(start, start + at_once)
            texts = [column.of(values[part]) for column, values in columns]
            if self._schema.label and drawn.labels is not None:
                texts.append(self._labels.take(drawn.labels.numpy()[part]))
            yield _joined(texts)


class _ColumnText:
    """The texts of a column's values, each with the sign that follows it."""

    def __init__(self, name: str, grid: Grid, end: bytes) -> None:
        self.name, self._grid, self._end = name, grid, end
        self._missing = b'""' if end == b"\n" else b""  # a line of one empty value would be none
        ends = np.array([0, grid.count - 1])
        self._table = self._of(np.arange(grid.count + 1)) if grid.count <= TABLED else None
        self.width = (self._of(ends) if self._table is None else self._table).itemsize

    def of(self, values: Floats) -> Texts:
        """Texts of values float64[N]."""
        steps = self._grid.steps(values)
        return self._of(steps) if self._table is None else self._table.take(steps)

    def _of(self, steps: Integers) -> Texts:
        known = text_of(self._grid, np.minimum(steps, self._grid.count - 1))
        lasting = (
            self._missing if step == self._grid.count else text
            for step, text in zip(steps.tolist(), known, strict=True)
        )
        return np.array([text + self._end for text in lasting])


def text_of(grid: Grid, steps: Integers) -> list[bytes]:
    """Each of these values in a few letters: numbers with their decimals, dates as 2026-03-09, categories by name."""
    column = grid.column
    if isinstance(column, Category):
        names = [_quoted(name) for name in column.values]
        return [names[step] for step in steps.tolist()]
    values = grid.values(steps)
    if column.date:
        return [str(day).encode() for day in values.astype("datetime64[D]")]
    return list(map((b"%%.%df" % grid.decimals).__mod__, values.tolist()))


def _quoted(name: str) -> bytes:
    """A name as a field of CSV."""
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow([name])
    return text.getvalue().encode()


def _joined(texts: list[Texts]) -> bytes:
    """Columns of texts side by side, without their padding: no text holds a zero."""
    rows = np.empty(len(texts[0]), np.dtype([(str(place), column.dtype) for place, column in enumerate(texts)]))
    for place, column in enumerate(texts):
        rows[str(place)] = column
    return rows.tobytes().translate(None, b"\0")
