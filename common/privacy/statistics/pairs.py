"""How many rows are in each pair of cells of two columns: what depends on what.

The fine cells of a number are put together into groups, which the coordinator sends; a category's stay as they are. Of
m columns, a row adds

    B / √m   to its group of each column,      Γ / √(m(m-1)/2)   to its pair of groups of each two columns,

in the part of the vector of its class, B² + Γ² = (63/64)². Where classes are too small for pairs of their own, there is
one part for everybody, and the class is one more column.

Privacy:
    ‖part of a row‖² = m · B²/m + m(m-1)/2 · Γ²/(m(m-1)/2) = B² + Γ² = (63/64)²: what was sent is checked to put each
    cell into one group of its own column, so that a row is in exactly one group of each column.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations, pairwise

import torch
from torch import Tensor

from common.modality.table import TableSchema
from common.modality.table_features import cells_of
from common.privacy.statistics.base import LARGEST, Statistic

_B = math.sqrt(0.4) * LARGEST
_GAMMA = math.sqrt(LARGEST**2 - _B**2)
GROUPS = "groups"


@dataclass(frozen=True)
class Tables:
    """Noisy counts of groups and of pairs of groups.

    Attributes:
        singles: float64[slots, groups], with noise of standard deviation `singles_noise` in each.
        pairs: float64[slots, groups, groups], the upper triangle of pairs of different columns, with `pairs_noise`.
        blocks: the groups of each column; where there is one slot for everybody, the last column is the class.
    """

    singles: Tensor
    pairs: Tensor
    singles_noise: float
    pairs_noise: float
    blocks: tuple[slice, ...]


class Pairs(Statistic):
    """The statistic.

    Args:
        schema: of the rows, of two columns or more, the class counted where it is one.
        sent: `groups` float32[cells], of each cell the number of its group within its column: from 0, none left out.
        by_class: whether each class has a part of its own.

    Attributes:
        groups: int64[cells], the group of each cell, counted over all columns.
        blocks: the groups of each column; where there is one part for everybody, the last column is the class.

    Raises:
        ValueError: what was sent is not so, or there is one column.
    """

    def __init__(self, schema: TableSchema, sent: Mapping[str, Tensor], *, by_class: bool) -> None:
        if set(sent) != {GROUPS} or sent[GROUPS].shape != (schema.cells,) or sent[GROUPS].dtype != torch.float32:
            raise ValueError(f"are not {GROUPS}")
        groups = sent[GROUPS]
        sizes = [_groups(groups[block]) for block in schema.blocks]
        if not by_class:
            sizes.append(schema.num_classes)
        if len(sizes) < 2:
            raise ValueError("are for one column, of which there are no pairs")
        self._schema, self._by_class = schema, by_class
        self.slots = schema.num_classes if by_class else 1
        starts = torch.tensor([0, *sizes]).cumsum(0)
        self.blocks = tuple(slice(a, b) for a, b in pairwise(starts.tolist()))
        own = [groups[block].long() + start.start for block, start in zip(schema.blocks, self.blocks, strict=False)]
        self.groups, self._sizes = torch.cat(own), torch.tensor(sizes)
        self._firsts, self._seconds = torch.tensor(list(combinations(range(len(sizes)), 2))).T
        areas = self._sizes[self._firsts] * self._sizes[self._seconds]
        self._starts = int(starts[-1]) + areas.cumsum(0) - areas
        self.width = int(starts[-1] + areas.sum())
        self._single, self._pair = _B / math.sqrt(len(sizes)), _GAMMA / math.sqrt(len(areas))

    def rows(self, records: Tensor, labels: Tensor) -> Tensor:
        """See `Statistic.rows`."""
        device = records.device
        groups = self.groups.to(device)[cells_of(self._schema, records)]
        if not self._by_class:
            groups = torch.cat((groups, labels.unsqueeze(1) + self.blocks[-1].start), dim=1)
        within = groups - torch.tensor([block.start for block in self.blocks], device=device)
        firsts, seconds = self._firsts.to(device), self._seconds.to(device)
        pairs = self._starts.to(device) + within[:, firsts] * self._sizes.to(device)[seconds] + within[:, seconds]
        rows = torch.zeros(len(records), self.width, dtype=torch.float64, device=device)
        return rows.scatter_(1, groups, self._single).scatter_(1, pairs, self._pair)

    def placed(self, records: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """See `Statistic.placed`."""
        return labels if self._by_class else torch.zeros_like(labels), self.rows(records, labels)

    def tables(self, total: Tensor, noise: float) -> Tables:
        """What the sum over the sites says.

        Args:
            total: float64[size].
            noise: standard deviation of the noise in each of its entries.
        """
        parts, groups = total.double().view(self.slots, self.width), self.blocks[-1].stop
        pairs = torch.zeros(self.slots, groups, groups, dtype=torch.float64)
        for first, second, start in zip(self._firsts.tolist(), self._seconds.tolist(), self._starts, strict=True):
            a, b = self.blocks[first], self.blocks[second]
            area = (a.stop - a.start, b.stop - b.start)
            pairs[:, a, b] = parts[:, start : start + math.prod(area)].reshape(-1, *area) / self._pair
        singles = parts[:, :groups] / self._single
        return Tables(singles, pairs, noise / self._single, noise / self._pair, self.blocks)


def noise_of_pairs(noise: float, columns: int) -> float:
    """Standard deviation of the noise in a count of a pair, of so many columns, where each entry has `noise`."""
    return noise * math.sqrt(math.comb(columns, 2)) / _GAMMA


def _groups(of_cells: Tensor) -> int:
    """How many groups a column has.

    Raises:
        ValueError: they are not whole numbers from 0, none left out.
    """
    if not of_cells.isfinite().all() or not of_cells.equal(of_cells.round()):
        raise ValueError(f"have {GROUPS} that are not whole")
    found = of_cells.unique()  # sorted
    if not found.equal(torch.arange(len(found), dtype=of_cells.dtype)):
        raise ValueError(f"have {GROUPS} that do not count from 0")
    return len(found)
