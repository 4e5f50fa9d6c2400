"""How many rows are in each cell of each column, class by class: released first, it says how to cut numbers for pairs.

A row of class y adds 63/64 · 1/√(m+k) to its cell of each of the m columns, and to each of its codes, of which it has
at most k in all code sets together, in that class's part of the vector.

Privacy:
    ‖part of a row‖² ≤ (m+k) · (63/64)²/(m+k) = (63/64)²: a row is in exactly one cell of each column, whatever it
    holds, and `codes_of` names at most k codes, none twice.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from silogan.common.modality.table import TableSchema
from silogan.common.modality.table_features import cells_of
from silogan.common.privacy.statistics.base import LARGEST, Statistic


@dataclass(frozen=True)
class Counts:
    """Noisy counts of single cells and codes.

    Attributes:
        counts: float64[classes, cells and codes].
        noise: standard deviation of the noise in each.
    """

    counts: Tensor
    noise: float


class Singles(Statistic):
    """The statistic.

    Args:
        schema: of the rows.
    """

    def __init__(self, schema: TableSchema) -> None:
        self.slots, self.width = schema.num_classes, schema.cells + schema.codes
        self._schema, self._each = schema, LARGEST / math.sqrt(places_of(schema))

    def rows(self, records: Tensor, labels: Tensor) -> Tensor:  # noqa: ARG002  (a row is put where its label is)
        """See `Statistic.rows`."""
        rows = torch.zeros(len(records), self.width + 1, dtype=torch.float64, device=records.device)
        rows.scatter_(1, cells_of(self._schema, records), self._each)
        # what stands for no code falls into a last place, which is left out
        return rows.scatter_(1, codes_of(self._schema, records) + self._schema.cells, self._each)[:, : self.width]

    def counts(self, total: Tensor, noise: float) -> Counts:
        """What the sum over the sites says.

        Args:
            total: float64[size].
            noise: standard deviation of the noise in each of its entries.
        """
        return Counts(total.double().view(self.slots, self.width) / self._each, noise / self._each)


def noise_of_singles(noise: float, places: int) -> float:
    """Standard deviation of the noise in a count, where each entry has `noise` and a row is in so many places."""
    return noise * math.sqrt(places) / LARGEST


def places_of(schema: TableSchema) -> int:
    """In how many cells and codes a row is at most: m + k."""
    return len(schema.columns) + schema.most_codes


def codes_of(schema: TableSchema, records: Tensor) -> Tensor:
    """The codes int64[N, k] of encoded rows, rising, counted over all code sets; `schema.codes` where there is none.

    Of a row that claims more codes of a set than it may have the first count, whatever the records are.
    """
    found = [torch.empty(len(records), 0, dtype=torch.int64, device=records.device)]
    for one, block, among in zip(schema.code_sets, schema.code_blocks, schema.code_places, strict=True):
        places = torch.arange(among.start, among.stop, device=records.device)
        present = torch.where(records[:, block] > 0.5, places, schema.codes)
        found.append(present.sort(dim=1).values[:, : one.most])
    return torch.cat(found, dim=1)
