"""Columns cut into few groups, so that rows can be counted: cells of numbers are joined, and the label is a column too.

Which cells are joined follows from real training rows: each group of a number holds about as many of them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from silogan.common.modality.table import Category, Column, Number, TableSchema, day_of
from silogan.server.evaluation.table_rows import Floats, Ints, Rows

MISSING = "missing"


@dataclass(frozen=True)
class Grouping:
    """How one column is cut.

    Attributes:
        name: of the column.
        groups: the names of the groups.
        ends: the lowest and the highest value, in words.
        ordered: whether the groups but that of missing values rise.
        of: the group int64[N] of each row.
    """

    name: str
    groups: tuple[str, ...]
    ends: tuple[str, str]
    ordered: bool
    of: Callable[[Rows], Ints]

    def shares(self, rows: Rows) -> Floats:
        """Of the rows in each group, float64[groups]."""
        return np.bincount(self.of(rows), minlength=len(self.groups)) / len(rows)


def by_mass(schema: TableSchema, reference: Rows, most: int) -> list[Grouping]:
    """Every column, numbers in at most so many groups of about as many `reference` rows, and then the label."""

    def cut(column: Number, cells: Ints) -> Ints:
        counts = np.bincount(cells, minlength=column.known_cells)
        middles = (counts.cumsum() - counts / 2) / max(1, counts.sum())
        return np.minimum((middles * most).astype(np.int64), most - 1)

    return _grouped(schema, reference, cut)


def by_width(schema: TableSchema, reference: Rows, most: int) -> list[Grouping]:
    """Every column, numbers in at most so many groups of about as many cells, and then the label."""

    def cut(column: Number, _cells: Ints) -> Ints:
        return np.arange(column.known_cells) * min(most, column.known_cells) // column.known_cells

    return _grouped(schema, reference, cut)


def by_cell(schema: TableSchema, reference: Rows) -> list[Grouping]:
    """Every column in the cells of the schema, and then the label."""
    return _grouped(schema, reference, lambda column, _cells: np.arange(column.known_cells))


def _grouped(schema: TableSchema, reference: Rows, cut: Callable[[Number, Ints], Ints]) -> list[Grouping]:
    found = [_of_column(column, place, reference, cut) for place, column in enumerate(schema.columns)]
    if schema.num_classes > 1 and reference.labels is not None:
        found.append(
            Grouping(
                label_name(schema),
                schema.classes,
                (schema.classes[0], schema.classes[-1]),
                False,
                lambda rows: rows.known_labels,
            )
        )
    return found


def label_name(schema: TableSchema) -> str:
    """What the column of the label is called."""
    return schema.label or "class"


def _of_column(column: Column, place: int, reference: Rows, cut: Callable[[Number, Ints], Ints]) -> Grouping:
    joined = np.arange(column.known_cells)
    if isinstance(column, Number):
        known = reference.values[:, place]
        joined = np.unique(cut(column, _cells(column, known[~np.isnan(known)])), return_inverse=True)[1]
    names = _names(column, joined)
    if column.optional:
        joined, names = np.append(joined, joined.max() + 1), (*names, MISSING)

    def of(rows: Rows) -> Ints:
        values = rows.values[:, place]
        cells = _cells(column, np.nan_to_num(values))
        # of a column that must not have them, missing values count as its last cell, as the schema encodes them
        return joined[np.where(np.isnan(values), len(joined) - 1, cells)]

    return Grouping(column.name, names, _ends(column), isinstance(column, Number) or column.ordered, of)


def _cells(column: Column, values: Floats) -> Ints:
    """The cell int64[N] of values float64[N] that are not missing."""
    return column.located(torch.from_numpy(values))[0].numpy()


def _names(column: Column, joined: Ints) -> tuple[str, ...]:
    """Of the groups without that of missing values; both ends of a number's group belong to it."""
    if isinstance(column, Category):
        return column.values
    names: list[str] = []
    for group in range(max(joined) + 1):
        cells = np.flatnonzero(joined == group)
        first, last = _written(column, column.ends[cells[0]]), _written(column, _end(column, cells[-1]))
        names.append(first if first == last else f"{first} to {last}")
    return tuple(names)


def _ends(column: Column) -> tuple[str, str]:
    if isinstance(column, Category):
        return column.values[0], column.values[-1]
    return _written(column, column.low), _written(column, column.high)


def _end(column: Number, cell: int) -> float:
    """The last value of a cell; where the next one begins if values are not multiples."""
    return min(column.high, column.ends[cell + 1] - column.resolution)


def _written(column: Number, value: float) -> str:
    if column.date:
        return day_of(value)
    return f"{value:,.0f}" if value.is_integer() else f"{value:,.6g}"


def offsets(groupings: Sequence[Grouping]) -> Ints:
    """Where the groups of each column begin if those of all columns stand side by side: int64[columns]."""
    return np.cumsum([0, *(len(grouping.groups) for grouping in groupings[:-1])])
