"""How many rows are in each cell of each column, class by class: released first, it says how to cut numbers for pairs.

A row of class y adds 63/64 · 1/√m to its cell of each of the m columns, in that class's part of the vector.

Privacy:
    ‖part of a row‖² = m · (63/64)²/m = (63/64)²: a row is in exactly one cell of each column, whatever it holds.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from common.modality.table import TableSchema
from common.modality.table_features import cells_of
from common.privacy.statistics.base import LARGEST, Statistic


@dataclass(frozen=True)
class Counts:
    """Noisy counts of single cells.

    Attributes:
        counts: float64[classes, cells].
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
        self.slots, self.width = schema.num_classes, schema.cells
        self._schema, self._each = schema, LARGEST / math.sqrt(len(schema.columns))

    def rows(self, records: Tensor, labels: Tensor) -> Tensor:  # noqa: ARG002  (a row is put where its label is)
        """See `Statistic.rows`."""
        rows = torch.zeros(len(records), self.width, dtype=torch.float64, device=records.device)
        return rows.scatter_(1, cells_of(self._schema, records), self._each)

    def counts(self, total: Tensor, noise: float) -> Counts:
        """What the sum over the sites says.

        Args:
            total: float64[size].
            noise: standard deviation of the noise in each of its entries.
        """
        return Counts(total.double().view(self.slots, self.width) / self._each, noise / self._each)


def noise_of_singles(noise: float, columns: int) -> float:
    """Standard deviation of the noise in a count, of so many columns, where each entry has `noise`."""
    return noise * math.sqrt(columns) / LARGEST
