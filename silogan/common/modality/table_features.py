"""A row of a table as its cells, all columns alike."""

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from silogan.common.modality.table import TableSchema

_LARGEST_NORM = 0.999  # below 1, for rounding in float32


class Cells:
    """One number for each cell of each column; see `silogan.common.modality.base.Features`."""

    def __init__(self, schema: "TableSchema") -> None:
        self._schema, self.dimensions = schema, schema.cells
        self.scale = _LARGEST_NORM / math.sqrt(len(schema.columns))

    def of(self, batch: Tensor) -> Tensor:
        """Cells float32[N, d] of encoded rows float32[N, *shape]: one of each column, rows of norm below 1."""
        return batch[:, : self.dimensions].clamp(0, 1) * self.scale

    def back(self, features: Tensor) -> Tensor:
        """Encoded rows float32[N, *shape] with these cells, in the middle of them."""
        found = features.float().new_full((len(features), *self._schema.shape), 0.5)
        found[:, : self.dimensions] = features.float() / self.scale
        return self._schema.encode(self._schema.decode(found))


def cells_of(schema: "TableSchema", records: Tensor) -> Tensor:
    """The cell of each column int64[N, m] that encoded rows are in, counted over all columns."""
    return torch.stack([records[:, block].argmax(dim=1) + block.start for block in schema.blocks], dim=1)
