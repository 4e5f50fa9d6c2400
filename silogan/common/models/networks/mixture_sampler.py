"""Exact draws from a mixture of products of distributions, a million rows a second, also under conditions.

In a component columns are independent. So of the rows that meet a condition, a component's share is its own times the
probability of what is wanted in each column; and within it only the columns that are named change, to what is wanted
of them. Classes are one more column, and so is each code: there or not. Sets of too many codes are drawn as well, for
whoever draws to leave out (`Schema.possible`).
"""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from silogan.common.errors import UsageError
from silogan.common.modality.table import TableSchema
from silogan.common.modality.table_grid import Grid, grid_of
from silogan.common.modality.table_where import Pieces, Where, pieces_of
from silogan.common.models.networks.alias import AliasTables
from silogan.common.models.networks.base import Drawn, Sampler

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


class Numbers(NamedTuple):
    """The probabilities of a mixture.

    Attributes:
        chances: float64[K], of the components.
        classes: float64[K, classes], of each class in each component.
        cells: float64[K, cells], of each cell of each column in each component.
        codes: float64[K, codes], of each code in each component; None of a table without code sets.
    """

    chances: Floats
    classes: Floats
    cells: Floats
    codes: Floats | None


class MixtureSampler(Sampler):
    """Chooses a class, a component that has it, and in this a value of each column, and each code or not.

    Args:
        numbers: of the mixture.
        schema: of the rows.
        where: a condition on them.

    Raises:
        UsageError: no row meets the condition.
    """

    chunk = 65_536

    def __init__(self, numbers: Numbers, schema: TableSchema, where: Where) -> None:
        classes, cells = numbers.classes, numbers.cells
        self._code_sets = _code_sets(numbers, schema, where)
        parts: list[tuple[str, Floats, Grid, Pieces]] = []
        with np.errstate(divide="ignore"):
            logs = np.log(numbers.chances)  # of many columns' product there might be nothing left
            for column, block in zip(schema.columns, schema.blocks, strict=True):
                grid, own = grid_of(column), cells[:, block]
                pieces = pieces_of(grid, where.columns.get(column.name))
                weights = own[:, pieces.cells] * pieces.shares
                logs += np.log(weights.sum(axis=1) / own.sum(axis=1))
                parts.append((column.name, weights, grid, pieces))
            for codes in self._code_sets:
                logs += np.log(codes.chances[:, codes.wanted]).sum(axis=1)
        if where.classes is not None:
            classes = np.where(np.isin(np.arange(classes.shape[1]), where.classes), classes, 0.0)
        joint = (np.exp(logs - logs.max()) if logs.max() > -np.inf else np.zeros_like(logs))[:, None] * classes
        if not joint.any():
            raise UsageError("--where", "is met by no row of this generator", "ask for less")
        self._columns = [_Column(*part) for part in parts]
        self._classes, self._components = AliasTables(joint.sum(axis=0)[None]), AliasTables(joint.T)

    def draw(self, count: int, rng: torch.Generator, labels: Tensor | None = None) -> Drawn:
        """See `Sampler.draw`; where nobody asks, classes are as frequent as the condition makes them."""
        numbers = _numbers(rng)
        chosen = self._classes.draw(np.zeros(count, np.int64), numbers) if labels is None else labels.numpy()
        components = self._components.draw(chosen, numbers)
        drawn = (*self._columns, *self._code_sets)
        records = {column.name: torch.from_numpy(column.draw(components, numbers)) for column in drawn}
        return Drawn(records, torch.from_numpy(chosen))


class _Column:
    """Draws the values of a column, one of each component that is named."""

    def __init__(self, name: str, weights: Floats, grid: Grid, pieces: Pieces) -> None:
        self.name = name
        self._pieces, self._grid = AliasTables(weights), grid
        self._firsts, self._counts = pieces.firsts, pieces.counts
        self._is_one_each = bool((pieces.counts == 1).all())

    def draw(self, components: Integers, rng: np.random.Generator) -> Floats:
        """Values float64[N], NaN where they are missing, in components int64[N]."""
        piece = self._pieces.draw(components, rng)
        steps = self._firsts.take(piece)
        if not self._is_one_each:
            steps += (rng.random(len(steps)) * self._counts.take(piece)).astype(np.int64)
        return self._grid.values(steps)


class _CodeSet:
    """Draws sets of codes, each code by itself; those that are wanted are in each.

    Attributes:
        name: of the code set.
        chances: float64[K, codes], of the codes.
        wanted: positions of the codes that are wanted.
    """

    def __init__(self, name: str, chances: Floats, wanted: tuple[int, ...]) -> None:
        self.name, self.chances, self.wanted = name, chances, list(wanted)
        self._drawn = chances.astype(np.float32)
        self._drawn[:, self.wanted] = 1

    def draw(self, components: Integers, rng: np.random.Generator) -> NDArray[np.bool_]:
        """Which codes there are, bool[N, codes], in components int64[N]."""
        return rng.random((len(components), self._drawn.shape[1]), np.float32) < self._drawn.take(components, axis=0)


def _code_sets(numbers: Numbers, schema: TableSchema, where: Where) -> list[_CodeSet]:
    if numbers.codes is None:
        return []
    named = zip(schema.code_sets, schema.code_places, strict=True)
    return [_CodeSet(one.name, numbers.codes[:, places], where.codes.get(one.name, ())) for one, places in named]


def _numbers(rng: torch.Generator) -> np.random.Generator:
    """A faster generator of random numbers, seeded by torch's."""
    return np.random.Generator(np.random.SFC64(torch.randint(2**63 - 1, (2,), generator=rng).tolist()))
