"""Bayesian classifiers from noisy counts alone, for `common/models/networks/bayes.py`.

They cost nothing more and need no synthetic row. So they are what rows drawn from the release must beat; and where
noise is strong they are better, since a classifier of them asks less of the counts than a fit of everything.

Naive Bayes needs a class's counts of single columns. The tree (Chow and Liu, 1968) joins those columns that say most
of each other within the classes. With the noise s of a pair of groups and e rows expected in it if its columns were
independent, a count n differs from e by √(s² + e) or so for no reason. So it is taken for

    e (1 + (n - e) / (e + 8 √(s² + e))),

and columns are joined only where χ² of their pairs is more than noise explains.
"""

import torch
from torch import Tensor

from silogan.common.modality.table import TableSchema
from silogan.common.models.networks.bayes import bayes
from silogan.common.models.weights import Weights, under
from silogan.server.fitting.mixture import LEAST_NOISE, Found, counts_of_groups

_CLEAR = 3.0
"""Standard deviations by which χ² of two columns' pairs is above its mean under noise alone where they are joined."""

_DOUBT = 8.0  # see above
_LEAST = 0.02  # of the rows that are expected in a pair, those that are taken to be there at least


def bayes_weights(schema: TableSchema, found: Found, bins: int) -> Weights:
    """What the generator holds of both classifiers.

    Args:
        schema: of the rows, of two classes or more.
        found: the release; there is a tree if its pairs are those of each class.
        bins: most groups of a number.
    """
    counts, variance = label_counts(schema, found)
    sizes, shares = _sizes(schema, found, counts, variance), torch.empty_like(counts)
    blocks = found.tables.blocks[: len(schema.columns)]
    for block in blocks:
        # less than half of its noise, or than half a row, is no count
        positive = torch.maximum(counts[:, block], variance[block].sqrt().clamp(min=1) / 2)
        shares[:, block] = positive / positive.sum(dim=1, keepdim=True)
    weights: Weights = dict(bayes(schema, bins, tree=found.by_class).state_dict())
    weights["groups"] = found.groups
    weights["offsets"] = (sizes / sizes.sum()).log().float()
    weights["alone"][:, : shares.shape[1]] = shares.log()
    if found.by_class:
        tree = _Tree(found, blocks, sizes, shares)
        weights["parents"] = tree.parents()
        for column, parent in enumerate(weights["parents"].tolist()):
            if parent != column:
                block, other = blocks[column], blocks[parent]
                weights["given"][:, block, : other.stop - other.start] = tree.given(column, parent)
    return under("generator", under("bayes", weights))


def label_counts(schema: TableSchema, found: Found) -> tuple[Tensor, Tensor]:
    """Rows of each class in each group float64[classes, groups], and the variance float64[groups] of their noise.

    Whatever the release says of them, weighted by how well it is known: counts of single columns, and sums of those
    of pairs. Codes are left out.
    """
    tables, groups = found.tables, found.tables.blocks[len(schema.columns) - 1].stop
    of_single = tables.singles.new_full((groups,), max(tables.singles_noise**2, LEAST_NOISE))
    of_pair = torch.full_like(of_single, max(tables.pairs_noise**2, LEAST_NOISE))
    told: list[tuple[Tensor, Tensor]] = []
    if found.singles is not None:
        counts, variance = counts_of_groups(found, found.singles)
        told.append((counts[:, :groups], variance[:groups]))
    if found.by_class:
        told.append((tables.singles[:, :groups], of_single))
        pairs = (tables.pairs + tables.pairs.mT)[:, :groups]
        for block in tables.blocks:
            variance = of_pair * (block.stop - block.start)
            variance[block] = torch.inf  # a column has no pairs with itself
            told.append((pairs[:, :, block].sum(dim=2), variance))
    else:
        told.append((tables.pairs[0, :groups, tables.blocks[-1]].T, of_pair))
    precision = torch.stack([1 / variance for _, variance in told]).sum(dim=0)
    return torch.stack([counts / variance for counts, variance in told]).sum(dim=0) / precision, 1 / precision


def _sizes(schema: TableSchema, found: Found, counts: Tensor, variance: Tensor) -> Tensor:
    """Rows of each class float64[classes], at least 1: what the columns say of it, weighted as above."""
    blocks = found.tables.blocks[: len(schema.columns)]
    precision = torch.stack([1 / variance[block].sum() for block in blocks])
    sums = torch.stack([counts[:, block].sum(dim=1) for block in blocks])
    return ((precision @ sums) / precision.sum()).clamp(min=1)


class _Tree:
    """What pairs of columns say of each other in each class.

    Args:
        found: the release, whose pairs are those of each class.
        blocks: the groups of each column.
        sizes: float64[classes], rows of each class.
        shares: float64[classes, groups], of each group of a column.
    """

    def __init__(self, found: Found, blocks: tuple[slice, ...], sizes: Tensor, shares: Tensor) -> None:
        self._pairs = found.tables.pairs + found.tables.pairs.mT
        self._noise = max(found.tables.pairs_noise**2, LEAST_NOISE)
        self._blocks, self._sizes, self._shares = blocks, sizes.view(-1, 1, 1), shares

    def parents(self) -> Tensor:
        """The column int64[columns] that each one depends on, itself where it depends on none.

        Prim's way to the tree of the largest sum (1957): the next column is that which says most of those before it.
        """
        count = len(self._blocks)
        said = torch.zeros(count, count, dtype=torch.float64)
        for one in range(count):
            for other in range(one + 1, count):
                said[one, other] = said[other, one] = self._information(one, other)
        parents, most, left = torch.arange(count), torch.zeros(count, dtype=torch.float64), set(range(count))
        while left:
            column = max(left, key=lambda one: float(most[one]))
            left.remove(column)
            for other in left:
                if said[column, other] > most[other]:
                    most[other], parents[other] = said[column, other], column
        return parents

    def given(self, column: int, parent: int) -> Tensor:
        """Log of how much likelier each group of a column is for each of its parent's, float64[classes, own, other]."""
        _, _, rows = self._rows(column, parent)
        return (rows / rows.sum(dim=1, keepdim=True)).log() - self._shares[:, self._blocks[column], None].log()

    def _information(self, one: int, other: int) -> float:
        """Mutual information of two columns within the classes, in nats; 0 where it may be nothing but noise."""
        excess, spread, rows = self._rows(one, other)
        chi_squared, cells = float((excess / spread).square().sum()), excess.numel()
        if chi_squared < cells + _CLEAR * (2 * cells) ** 0.5:
            return 0.0
        shares = rows / rows.sum(dim=(1, 2), keepdim=True)
        alone = shares.sum(dim=2, keepdim=True) * shares.sum(dim=1, keepdim=True)
        return float((self._sizes / self._sizes.sum() * shares * (shares / alone).log()).sum())

    def _rows(self, one: int, other: int) -> tuple[Tensor, Tensor, Tensor]:
        """Of pairs float64[classes, own, other], the rows beyond those expected, their spread, and those believed."""
        first, second = self._blocks[one], self._blocks[other]
        expected = self._sizes * self._shares[:, first, None] * self._shares[:, None, second]
        excess, spread = self._pairs[:, first, second] - expected, (self._noise + expected).sqrt()
        return excess, spread, expected * (1 + excess / (expected + _DOUBT * spread)).clamp(min=_LEAST)
