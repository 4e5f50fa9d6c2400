"""How far apart two sets of rows are: single columns, pairs of columns, and how strongly columns depend on each other.

One matrix holds the shares of all groups of all columns and of all pairs of them; every figure is a sum over its
blocks.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from silogan.server.evaluation.table_groups import Grouping, offsets
from silogan.server.evaluation.table_rows import Floats, Rows


def joint(rows: Rows, groupings: Sequence[Grouping]) -> Floats:
    """Shares float64[G, G] of rows in each group of one column and each of another, G the groups of all columns."""
    starts = offsets(groupings)
    shown = np.zeros((len(rows), starts[-1] + len(groupings[-1].groups)), np.float32)
    for start, grouping in zip(starts, groupings, strict=True):
        shown[np.arange(len(rows)), start + grouping.of(rows)] = 1
    return (shown.T @ shown).astype(np.float64) / len(rows)  # float32 counts exactly to 2^24


def total_variation(first: Floats, second: Floats, groupings: Sequence[Grouping]) -> Floats:
    """Total variation distances float64[columns, columns] in [0, 1] of pairs of columns; [c, c] is a column's own."""
    return _by_pair(np.abs(first - second), groupings) / 2


def association(shares: Floats, groupings: Sequence[Grouping]) -> Floats:
    """Cramér's V float64[columns, columns] in [0, 1] of each pair; 0 where a column is constant.

    Source: H. Cramér (1946), Mathematical Methods of Statistics, section 21.9.
    """
    single = np.diag(shares)
    expected = np.outer(single, single)
    excess = np.divide((shares - expected) ** 2, expected, out=np.zeros_like(expected), where=expected > 0)
    shown = np.add.reduceat((single > 0).astype(np.int64), offsets(groupings))
    fewest = np.minimum.outer(shown, shown) - 1
    squared = np.divide(_by_pair(excess, groupings), fewest, out=np.zeros(fewest.shape), where=fewest > 0)
    return np.sqrt(np.clip(squared, 0, 1))


def summary(measured: Floats, floor: Floats, names: Sequence[str]) -> dict[str, Any]:
    """Mean and largest of a figure with its noise floor.

    Args:
        measured: float64[columns] or float64[columns, columns], of synthetic against real test rows.
        floor: the same of as many real training rows against the same test rows.
        names: of the columns.

    Returns:
        `mean`, `largest`, `largest_at` (the columns' names), `floor_mean` and `floor_largest`; empty where there is no
        pair.
    """
    places = np.argwhere(np.ones(measured.shape, bool) if measured.ndim == 1 else np.triu(np.ones(measured.shape), 1))
    if not len(places):
        return {}
    found, least = measured[tuple(places.T)], floor[tuple(places.T)]
    return {
        "mean": float(found.mean()),
        "largest": float(found.max()),
        "largest_at": [names[place] for place in places[found.argmax()]],
        "floor_mean": float(least.mean()),
        "floor_largest": float(least.max()),
    }


def _by_pair(matrix: Floats, groupings: Sequence[Grouping]) -> Floats:
    """Sums float64[columns, columns] over the blocks of a matrix float64[G, G]."""
    starts = offsets(groupings)
    return np.add.reduceat(np.add.reduceat(matrix, starts, axis=0), starts, axis=1)
