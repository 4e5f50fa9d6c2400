"""The rows of a table as text, columnwise: texts are padded with zeros to one width, which are taken out at last."""

import csv
import io
from collections.abc import Iterator
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from silogan.common.modality.code_set import CodeSet
from silogan.common.modality.table import Category, TableSchema
from silogan.common.modality.table_grid import TABLED, Floats, Grid, Integers, grid_of
from silogan.common.models.networks import Drawn

_AT_ONCE = 2**24
"""Bytes of padded text that are held at once."""

_MOST_TEXTS = 2**25
"""Texts in the tables of all columns together."""

Texts = NDArray[np.bytes_]


class RowText:
    """Rows as lines of CSV (RFC 4180, UTF-8, line feeds): a missing value is empty, code sets and label come last.

    Args:
        schema: of the rows.
    """

    def __init__(self, schema: TableSchema) -> None:
        self._schema = schema
        names = [column.name for column in (*schema.columns, *schema.code_sets)]
        last = len(names) - (not schema.label)
        ends = iter([b"\n" if place == last else b"," for place in range(last + 1)])
        most = _MOST_TEXTS // len(schema.columns)
        self._columns = [_ColumnText(column.name, grid_of(column), next(ends), most) for column in schema.columns]
        self._code_sets = [_CodesText(one, next(ends)) for one in schema.code_sets]
        self._labels = np.array([quoted(name) + b"\n" for name in schema.classes])
        self.header = b",".join(map(quoted, [*names, schema.label] if schema.label else names)) + b"\n"

    def lines(self, drawn: Drawn) -> Iterator[bytes]:
        """The rows, some lines at a time."""
        columns = [(column, drawn.records[column.name].numpy()) for column in self._columns]
        code_sets = [(one, drawn.records[one.name].numpy()) for one in self._code_sets]
        widths = (one.width for one in (*self._columns, *self._code_sets))
        count, width = len(columns[0][1]), sum(widths) + self._labels.itemsize
        at_once = max(1, _AT_ONCE // width)
        for start in range(0, count, at_once):
            part = slice(start, start + at_once)
            texts = [column.of(values[part]) for column, values in columns]
            texts += [text for one, present in code_sets for text in one.of(present[part])]
            if self._schema.label and drawn.labels is not None:
                texts.append(self._labels.take(drawn.labels.numpy()[part]))
            yield _joined(texts)


class _ColumnText:
    """The texts of a column's values, each with the sign that follows it.

    Once as many texts were made one by one as there are values, all are made, and looked up from then on.
    """

    def __init__(self, name: str, grid: Grid, end: bytes, most: int) -> None:
        self.name, self._grid, self._end, self._most = name, grid, end, most
        self._missing = b'""' if end == b"\n" else b""  # a line of one empty value would be none
        self._made, self._table = 0, None if grid.count > TABLED else self._all()
        self.width = self._texts(np.array([0, grid.count - 1])).itemsize

    def of(self, values: Floats) -> Texts:
        """Texts of values float64[N]."""
        steps = self._grid.steps(values)
        self._made += len(steps)
        if self._table is None and self._made >= self._grid.count <= self._most:
            self._table = self._all()
        return self._texts(steps) if self._table is None else self._table.take(steps)

    def _all(self) -> Texts:
        """The texts of all values, and of a missing one."""
        ends = [*range(0, self._grid.count, TABLED), self._grid.count + 1]
        return np.concatenate([self._texts(np.arange(a, b)) for a, b in pairwise(ends)])

    def _texts(self, steps: Integers) -> Texts:
        known = text_of(self._grid, np.minimum(steps, self._grid.count - 1))
        is_missing = (steps == self._grid.count).tolist()
        texts = (self._missing if none else text for text, none in zip(known, is_missing, strict=True))
        return np.array([text + self._end for text in texts])


class _CodesText:
    """The texts of sets of codes: of each code nothing, itself, or itself after a separator."""

    def __init__(self, codes: CodeSet, end: bytes) -> None:
        self.name = codes.name
        quote = quoted(codes.separator.join(codes.values))[:1] == b'"'  # all rows alike, if any code needs it
        texts = [(code.replace('"', '""') if quote else code).encode() for code in codes.values]
        separator = (codes.separator * (2 if quote and codes.separator == '"' else 1)).encode()
        self._texts = [np.array([b"", text, separator + text]) for text in texts]
        self._first, self._last = (b'"', b'"' + end) if quote else (b"", end)
        self.width = sum(text.itemsize for text in self._texts) + len(self._first) + len(self._last)

    def of(self, present: NDArray[np.bool_]) -> list[Texts]:
        """Texts of sets bool[N, codes], in parts that stand side by side."""
        which = present * present.cumsum(axis=1).clip(max=2)
        parts = [text.take(which[:, code]) for code, text in enumerate(self._texts)]
        return [np.full(len(present), self._first), *parts, np.full(len(present), self._last)]


def text_of(grid: Grid, steps: Integers) -> list[bytes]:
    """Each of these values in a few letters: numbers with their decimals, dates as 2026-03-09, categories by name."""
    column = grid.column
    if isinstance(column, Category):
        names = [quoted(name) for name in column.values]
        return [names[step] for step in steps.tolist()]
    values = grid.values(steps)
    if column.date:
        return [str(day).encode() for day in values.astype("datetime64[D]")]
    return list(map((b"%%.%df" % grid.decimals).__mod__, values.tolist()))


def quoted(name: str) -> bytes:
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
