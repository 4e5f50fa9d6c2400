"""How many rows are in each pair of cells of two columns: what depends on what.

The fine cells of a number are put together into groups, which the coordinator sends; a category's stay as they are. A
row is in one group of each of m columns, and has at most k codes, of all code sets together: in M = m + k places at
most. These are P pairs at most: m(m-1)/2 of groups, m·k of a group and a code, and k(k-1)/2 of codes where those are
counted. A row adds

    B / √M   to each of its groups and codes,      Γ / √P   to each of its pairs,

in the part of the vector of its class, B² + Γ² = (63/64)². Where classes are too small for pairs of their own, there is
one part for everybody, and the class is one more column.

Privacy:
    ‖part of a row‖² ≤ M · B²/M + P · Γ²/P = B² + Γ² = (63/64)²: what was sent is checked to put each cell into one
    group of its own column, so that a row is in exactly one group of each column; and `codes_of` names at most k codes,
    none twice, whatever the record claims. All pairs are different entries. Without code sets the norm is 63/64.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate, pairwise

import torch
from torch import Tensor

from silogan.common.modality.table import TableSchema
from silogan.common.modality.table_features import cells_of
from silogan.common.privacy.statistics.base import LARGEST, Statistic
from silogan.common.privacy.statistics.singles import codes_of

_B = math.sqrt(0.4) * LARGEST
_GAMMA = math.sqrt(LARGEST**2 - _B**2)
GROUPS = "groups"


@dataclass(frozen=True)
class Tables:
    """Noisy counts of groups and codes, the codes last, and of pairs of them.

    Attributes:
        singles: float64[slots, groups and codes], with noise of standard deviation `singles_noise` in each.
        pairs: float64[slots, groups and codes, groups and codes], with `pairs_noise` where it is `known`.
        blocks: the groups of each column; where there is one slot for everybody, the last column is the class.
        known: bool[groups and codes, groups and codes], which pairs were counted; each once, above the diagonal.
    """

    singles: Tensor
    pairs: Tensor
    singles_noise: float
    pairs_noise: float
    blocks: tuple[slice, ...]
    known: Tensor


class Pairs(Statistic):
    """The statistic.

    Args:
        schema: of the rows, of two columns or code sets or more, the class counted where it is one.
        sent: `groups` float32[cells], of each cell the number of its group within its column: from 0, none left out.
        by_class: whether each class has a part of its own.
        code_pairs: whether pairs of codes are counted.

    Attributes:
        groups: int64[cells], the group of each cell, counted over all columns.
        blocks: the groups of each column; where there is one part for everybody, the last column is the class.

    Raises:
        ValueError: what was sent is not so, or there is one column.
    """

    def __init__(
        self, schema: TableSchema, sent: Mapping[str, Tensor], *, by_class: bool, code_pairs: bool = False
    ) -> None:
        if set(sent) != {GROUPS} or sent[GROUPS].shape != (schema.cells,) or sent[GROUPS].dtype != torch.float32:
            raise ValueError(f"are not {GROUPS}")
        groups = sent[GROUPS]
        sizes = [_groups(groups[block]) for block in schema.blocks]
        if not by_class:
            sizes.append(schema.num_classes)
        places = pairs_of_row(len(sizes), schema.most_codes, code_pairs=code_pairs)
        if not places:
            raise ValueError("are for one column, of which there are no pairs")
        self._schema, self._by_class = schema, by_class
        self.slots = schema.num_classes if by_class else 1
        starts = torch.tensor([0, *sizes]).cumsum(0)
        self.blocks = tuple(slice(a, b) for a, b in pairwise(starts.tolist()))
        own = [groups[block].long() + start.start for block, start in zip(schema.blocks, self.blocks, strict=False)]
        self.groups, self._sizes = torch.cat(own), torch.tensor(sizes)
        self._firsts, self._seconds = torch.triu_indices(len(sizes), len(sizes), offset=1)
        areas = self._sizes[self._firsts] * self._sizes[self._seconds]
        self._starts = int(starts[-1]) + areas.cumsum(0) - areas
        of_columns, codes = int(starts[-1] + areas.sum()), schema.codes
        with_codes = (codes, codes * int(starts[-1]), codes * (codes - 1) // 2 if code_pairs else 0)
        self._of_codes = tuple(slice(a, b) for a, b in pairwise(accumulate((of_columns, *with_codes))))
        self.width = of_columns + sum(with_codes)
        self._single, self._pair = _B / math.sqrt(len(sizes) + schema.most_codes), _GAMMA / math.sqrt(places)

    def rows(self, records: Tensor, labels: Tensor) -> Tensor:
        """See `Statistic.rows`."""
        device = records.device
        groups = self.groups.to(device)[cells_of(self._schema, records)]
        if not self._by_class:
            groups = torch.cat((groups, labels.unsqueeze(1) + self.blocks[-1].start), dim=1)
        within = groups - torch.tensor([block.start for block in self.blocks], device=device)
        firsts, seconds = self._firsts.to(device), self._seconds.to(device)
        pairs = self._starts.to(device) + within[:, firsts] * self._sizes.to(device)[seconds] + within[:, seconds]
        codes, code_pairs = self._places_of_codes(groups, codes_of(self._schema, records))
        rows = torch.zeros(len(records), self.width + 1, dtype=torch.float64, device=device)
        rows.scatter_(1, torch.cat((groups, codes), dim=1), self._single)
        return rows.scatter_(1, torch.cat((pairs, code_pairs), dim=1), self._pair)[:, : self.width]

    def _places_of_codes(self, groups: Tensor, codes: Tensor) -> tuple[Tensor, Tensor]:
        """Where codes int64[N, k], and their pairs with groups int64[N, m] and with each other, are counted.

        What stands for no code, and its pairs, have the place behind the last one.
        """
        singles, with_groups, with_codes = self._of_codes
        known = codes < self._schema.codes
        single = torch.where(known, singles.start + codes, self.width)
        crossed = with_groups.start + codes.unsqueeze(2) * self.blocks[-1].stop + groups.unsqueeze(1)
        pairs = torch.where(known.unsqueeze(2), crossed, self.width).flatten(1)
        if with_codes.start == with_codes.stop:
            return single, pairs
        one, other = torch.triu_indices(codes.shape[1], codes.shape[1], offset=1, device=codes.device)
        a, b = codes[:, one], codes[:, other]
        both = with_codes.start + a * self._schema.codes - a * (a + 1) // 2 + b - a - 1  # by rows of the upper triangle
        return single, torch.cat((pairs, torch.where(known[:, one] & known[:, other], both, self.width)), dim=1)

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
        of_singles, with_groups, with_codes = self._of_codes
        every = groups + self._schema.codes
        pairs = torch.zeros(self.slots, every, every, dtype=torch.float64)
        known = torch.zeros(every, every, dtype=torch.bool)
        for first, second, start in zip(self._firsts.tolist(), self._seconds.tolist(), self._starts, strict=True):
            a, b = self.blocks[first], self.blocks[second]
            area = (a.stop - a.start, b.stop - b.start)
            pairs[:, a, b] = parts[:, start : start + math.prod(area)].reshape(-1, *area) / self._pair
            known[a, b] = True
        pairs[:, :groups, groups:] = parts[:, with_groups].reshape(self.slots, -1, groups).mT / self._pair
        known[:groups, groups:] = True
        if with_codes.start < with_codes.stop:
            one, other = groups + torch.triu_indices(self._schema.codes, self._schema.codes, offset=1)
            pairs[:, one, other] = parts[:, with_codes] / self._pair
            known[one, other] = True
        singles = torch.cat((parts[:, :groups], parts[:, of_singles]), dim=1) / self._single
        return Tables(singles, pairs, noise / self._single, noise / self._pair, self.blocks, known)


def noise_of_pairs(noise: float, columns: int, codes: int = 0, *, code_pairs: bool = False) -> float:
    """Standard deviation of the noise in a count of a pair where each entry has `noise`; see `pairs_of_row`."""
    return noise * math.sqrt(pairs_of_row(columns, codes, code_pairs=code_pairs)) / _GAMMA


def pairs_of_row(columns: int, codes: int, *, code_pairs: bool) -> int:
    """P: the most pairs that a row of so many columns and at most so many codes is in."""
    return math.comb(columns, 2) + columns * codes + (math.comb(codes, 2) if code_pairs else 0)


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
