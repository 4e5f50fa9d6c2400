"""The values that a column of synthetic rows can have, as whole steps of a grid.

Step i stands for the value `origin + i · step`. So values are written without rounding, and a condition as "age > 60"
is a range of steps. Numbers without a resolution get a decimal one here, far finer than their cells.
"""

import math
from bisect import bisect_left
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray

from silogan.common.modality.table import Category, Column, Number

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

TABLED = 2**16
"""Most steps for which a table of something is made."""

_FINE, _FINER = 10_000, 10
"""Least number of steps in the range and in the narrowest cell of a number without a resolution."""

_MOST_DECIMALS = 15


@dataclass(frozen=True)
class Grid:
    """The values of a column.

    Attributes:
        column: whose values they are.
        origin: the value of step 0.
        step: the difference of two neighbours.
        count: number of values; step `count` stands for a missing one.
        decimals: that tell all values apart.
    """

    column: Column
    origin: float
    step: float
    count: int
    decimals: int

    def values(self, steps: Integers) -> Floats:
        """The values float64[N] of steps int64[N] in [0, count]; NaN where they are missing."""
        return self._computed(steps) if self._table is None else self._table.take(steps)

    def steps(self, values: Floats) -> Integers:
        """The nearest steps int64[N] of values float64[N]; `count` where a value is NaN."""
        steps = np.rint((values - self.origin) / self.step)
        np.clip(steps, 0, self.count - 1, out=steps)
        return np.where(np.isnan(values), self.count, steps).astype(np.int64)

    def first(self, value: float, *, above: bool = False) -> int:
        """The first step whose value is at least `value`, or above it; `count` if there is none."""

        def reached(step: int) -> bool:
            found = float(self._computed(np.array([step]))[0])
            return found > value if above else found >= value

        return bisect_left(range(self.count), True, key=reached)

    @cached_property
    def cells(self) -> tuple[Integers, Integers]:
        """The first step int64[cells] of each cell, and how many steps int64[cells] it has, at least 1.

        A last cell of one step stands for missing values.
        """
        known = np.arange(self.column.known_cells)
        low, high = np.zeros(len(known), np.int64), np.full(len(known), self.count, np.int64)
        while (low < high).any():
            middle = (low + high) // 2
            reached = self._cell_of(np.minimum(middle, self.count - 1)) >= known
            low, high = np.where(reached | (low >= high), low, middle + 1), np.where(reached, middle, high)
        firsts = np.minimum(low, self.count - 1)
        counts = np.maximum(np.append(low[1:], self.count) - low, 1)
        return np.append(firsts, self.count), np.append(counts, 1)

    @cached_property
    def _table(self) -> Floats | None:
        """All values, and NaN; None if they are too many."""
        return self._computed(np.arange(self.count + 1)) if self.count <= TABLED else None

    def _computed(self, steps: Integers) -> Floats:
        values = np.round(self.origin + steps * self.step, self.decimals) + 0.0  # there is no -0.0
        return np.where(steps == self.count, np.nan, values)

    def _cell_of(self, steps: Integers) -> Integers:
        cells, _ = self.column.located(torch.from_numpy(self._computed(steps)))
        return cells.numpy()


def grid_of(column: Column) -> Grid:
    """The grid of a column: the positions of a category's values, or the multiples of a number's resolution."""
    if isinstance(column, Category):
        return Grid(column, 0.0, 1.0, len(column.values), 0)
    if column.resolution:
        return _grid(column, column.low, column.resolution)
    step = _fine_step(column)
    return _grid(column, math.ceil(column.low / step - 1e-9) * step, step)


def _grid(column: Number, origin: float, step: float) -> Grid:
    count = max(1, math.floor((column.high - origin) / step + 1e-9) + 1)
    return Grid(column, origin, step, count, _decimals(origin, step))


def _fine_step(column: Number) -> float:
    """A power of ten of which there are many in the range and some in each cell."""
    cells = torch.arange(column.known_cells)
    low, high = (column.placed(cells, torch.full(cells.shape, end, dtype=torch.float64)) for end in (0.0, 1.0))
    narrowest = float((high - low).min()) or 1.0
    return 10.0 ** math.floor(math.log10(min((column.high - column.low) / _FINE, narrowest / _FINER)))


def _decimals(origin: float, step: float) -> int:
    """The fewest decimals by which origin and step are written exactly; as many as there can be if none are."""
    for decimals in range(_MOST_DECIMALS):
        if all(abs(round(number, decimals) - number) <= 1e-9 * step for number in (origin, step)):
            return decimals
    return _MOST_DECIMALS
