"""Bayesian classifiers of table rows, which a release of counts gives without any synthetic row.

Naive Bayes takes the columns of a class for independent. Its tree-augmented form (Friedman, Geiger and Goldszmidt,
1997) lets each column depend on one other. The server fits both (`server/fitting/bayes.py`).
"""

import torch
from torch import Tensor, nn

from silogan.common.modality.table import TableSchema
from silogan.common.modality.table_features import cells_of


class NaiveBayes(nn.Module):
    """Log chances of the classes, which columns change independently of each other.

    Args:
        schema: of the rows.
        bins: most groups of a number, a group for missing values not counted.

    Attributes:
        groups: int64[cells], the group of each cell, counted over all columns.
        offsets: float32[classes], log chance of each class.
        alone: float32[classes, groups], log chance of each group of a column within a class.
    """

    groups: Tensor
    offsets: Tensor
    alone: Tensor

    def __init__(self, schema: TableSchema, bins: int) -> None:
        super().__init__()
        self._schema = schema
        self.register_buffer("groups", torch.zeros(schema.cells, dtype=torch.int64))
        self.register_buffer("offsets", torch.zeros(schema.num_classes))
        self.register_buffer("alone", torch.zeros(schema.num_classes, sum(_widths(schema, bins))))

    def naive(self, records: Tensor) -> Tensor:
        """Logits float[B, classes] of encoded rows, by naive Bayes."""
        return self.offsets + self.alone[:, self.groups_of(records)].sum(dim=2).T

    def forward(self, records: Tensor) -> Tensor:
        """Logits float[B, classes] of encoded rows."""
        return self.naive(records)

    def groups_of(self, records: Tensor) -> Tensor:
        """The group of each column int64[B, columns]."""
        return self.groups[cells_of(self._schema, records)]


class TreeBayes(NaiveBayes):
    """The same, where a column may depend on one other.

    Args:
        schema, bins: see `NaiveBayes`.

    Attributes:
        parents: int64[columns], the column that each one depends on; itself where there is none.
        given: float32[classes, groups, widest], what is added to `alone` where the group of the parent is known.
    """

    parents: Tensor
    given: Tensor

    def __init__(self, schema: TableSchema, bins: int) -> None:
        super().__init__(schema, bins)
        widths = _widths(schema, bins)
        self.register_buffer("parents", torch.arange(len(widths)))
        self.register_buffer("given", torch.zeros(schema.num_classes, sum(widths), max(widths)))

    def forward(self, records: Tensor) -> Tensor:
        """Logits float[B, classes] of encoded rows."""
        groups = self.groups_of(records)
        within = groups - self.groups[[block.start for block in self._schema.blocks]]
        return self.naive(records) + self.given[:, groups, within[:, self.parents]].sum(dim=2).T


def bayes(schema: TableSchema, bins: int, *, tree: bool) -> NaiveBayes:
    """A classifier that is to be fitted; `tree` says whether columns may depend on each other."""
    return TreeBayes(schema, bins) if tree else NaiveBayes(schema, bins)


def _widths(schema: TableSchema, bins: int) -> list[int]:
    """Most groups of each column."""
    known = (min(column.known_cells, bins) if column.positions else column.known_cells for column in schema.columns)
    return [groups + column.optional for groups, column in zip(known, schema.columns, strict=True)]
