"""Which rows of a table are wanted: of each column some of its values, and some of the classes."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from silogan.common.modality.base import Stored
from silogan.common.modality.table import TableSchema
from silogan.common.modality.table_grid import Grid, grid_of

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

Spans = tuple[tuple[int, int], ...]
"""Steps of a grid as disjoint, rising ranges without their ends."""


@dataclass(frozen=True)
class Wanted:
    """Values of one column.

    Attributes:
        spans: the steps that are wanted, of the column's grid.
        missing: whether missing values are wanted.
    """

    spans: Spans
    missing: bool = False

    def __and__(self, other: "Wanted") -> "Wanted":
        """What both want."""
        both = ((max(a, c), min(b, d)) for a, b in self.spans for c, d in other.spans)
        return Wanted(tuple(span for span in both if span[0] < span[1]), self.missing and other.missing)

    def __bool__(self) -> bool:
        """Whether any value is wanted."""
        return self.missing or bool(self.spans)


@dataclass(frozen=True)
class Where:
    """A condition on rows.

    Attributes:
        columns: what is wanted of columns, by their names; anything of the others.
        classes: the classes that are wanted, by their positions; all if None.
        codes: the codes that a row must have, by the names of their code sets, as positions there.
    """

    columns: Mapping[str, Wanted] = field(default_factory=dict[str, Wanted])
    classes: tuple[int, ...] | None = None
    codes: Mapping[str, tuple[int, ...]] = field(default_factory=dict[str, tuple[int, ...]])

    def of_classes(self, classes: tuple[int, ...]) -> "Where":
        """The same condition, of these classes alone."""
        both = classes if self.classes is None else tuple(one for one in self.classes if one in classes)
        return replace(self, classes=both)

    def holds(self, schema: TableSchema, records: Stored, labels: Tensor) -> Tensor:
        """Whether rows meet the condition, bool[N]."""
        met = torch.ones(len(labels), dtype=torch.bool)
        if self.classes is not None:
            met &= torch.isin(labels, torch.tensor(self.classes))
        for name, wanted in self.columns.items():
            grid = grid_of(schema.column(name))
            steps = torch.from_numpy(grid.steps(records[name].numpy()))
            within = [(steps >= first) & (steps < end) for first, end in wanted.spans]
            missing = [steps == grid.count] if wanted.missing else []
            met &= torch.stack([*within, *missing]).any(dim=0)
        for name, wanted in self.codes.items():
            met &= records[name][:, list(wanted)].all(dim=1)
        return met


@dataclass(frozen=True)
class Pieces:
    """Parts of a column's cells, in each of which the steps are equally likely.

    Attributes:
        cells: int64[P], whose parts they are.
        shares: float64[P] in (0, 1], of the steps of their cells.
        firsts: int64[P], first step of each.
        counts: int64[P], its number of steps.
    """

    cells: Integers
    shares: Floats
    firsts: Integers
    counts: Integers


def pieces_of(grid: Grid, wanted: Wanted | None) -> Pieces:
    """The parts of cells that are wanted; whole cells if None. There is none where no value is wanted."""
    firsts, counts = grid.cells if grid.column.optional else tuple(part[:-1] for part in grid.cells)
    every = np.arange(len(firsts))
    if wanted is None:
        return Pieces(every, np.ones(len(firsts)), firsts, counts)
    spans = [*wanted.spans, *([(grid.count, grid.count + 1)] if wanted.missing else [])]
    starts, ends = np.array(spans, np.int64).reshape(-1, 2).T
    low = np.maximum(firsts[:, None], starts)  # [cells, spans]
    size = np.minimum((firsts + counts)[:, None], ends) - low
    at = size > 0
    cells = np.broadcast_to(every[:, None], at.shape)[at]
    return Pieces(cells, size[at] / counts[cells], low[at], size[at])
