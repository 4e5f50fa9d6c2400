"""What the report draws of synthetic and real test rows: single columns, distances of pairs, ROC curves."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from sklearn.metrics import roc_curve

from silogan.server.evaluation.table_groups import Grouping
from silogan.server.evaluation.table_rows import Floats, Ints, Rows

MOST_MARGINALS = 12
"""Columns whose marginals are drawn, at most: those that are furthest apart beyond the noise floor."""

MOST_BARS = 8
"""Values of a category that are drawn, at most: the most frequent ones; the others are one more bar."""

MOST_CELLS = 16
"""Into which a number is cut, at most, in equal parts of its cells."""

MOST_IN_PAIRS = 30
"""Columns in the picture of pairs, at most: those that are furthest apart."""

_CURVE = np.linspace(0, 1, 101)


def furthest(distances: Floats, most: int) -> list[int]:
    """The places of the largest distances, at most so many, the largest first."""
    return [int(place) for place in np.argsort(-distances, kind="stable")[:most]]


def marginals(
    groupings: Sequence[Grouping], synthetic: Rows, test: Rows, distances: Floats, floor: Floats
) -> list[dict[str, Any]]:
    """The marginals of the columns that are furthest apart, the furthest first.

    Args:
        groupings: of the columns, numbers by width.
        synthetic: rows.
        test: real ones.
        distances: float64[columns] of the columns' marginals.
        floor: the same of real training rows.

    Returns:
        Of each column `name`, `groups`, whether they are `ordered`, its `ends` in words, the shares `synthetic` and
        `real` in the groups, `distance` and `floor`.
    """
    found: list[dict[str, Any]] = []
    for place in furthest(distances - floor, MOST_MARGINALS):
        grouping = groupings[place]
        drawn, real = grouping.shares(synthetic), grouping.shares(test)
        groups, (drawn, real) = list(grouping.groups), _folded(grouping, drawn, real)
        if len(real) < len(groups):
            kept = _most_frequent(grouping.shares(test))
            groups = [*(groups[code] for code in kept), f"{len(groups) - len(kept)} others"]
        about = {"name": grouping.name, "groups": groups, "ordered": grouping.ordered, "ends": grouping.ends}
        shares = {"synthetic": drawn.tolist(), "real": real.tolist()}
        found.append({**about, **shares, "distance": float(distances[place]), "floor": float(floor[place])})
    return found


def pairs(groupings: Sequence[Grouping], distances: Floats) -> dict[str, Any]:
    """Distances of pairs of columns: `columns` and a `matrix`, with the columns' own distances at [c, c]."""
    kept = sorted(furthest(distances.max(axis=1), MOST_IN_PAIRS))
    matrix = distances[np.ix_(kept, kept)].round(4).tolist()
    return {"columns": [groupings[place].name for place in kept], "matrix": matrix}


def roc(chances: Mapping[str, Floats], labels: Ints) -> dict[str, list[float]] | None:
    """Share of class 1 found at 0 %, 1 %, ... 100 % of false alarms, by each classifier; None without two classes.

    Args:
        chances: float64[N, classes] by each classifier.
        labels: int64[N].
    """
    if len(np.unique(labels)) < 2 or any(found.shape[1] != 2 for found in chances.values()):
        return None
    curves = {name: roc_curve(labels, found[:, 1])[:2] for name, found in chances.items()}
    return {name: np.interp(_CURVE, false, true).round(4).tolist() for name, (false, true) in curves.items()}


def _most_frequent(shares: Floats) -> Ints:
    return np.argsort(-shares, kind="stable")[:MOST_BARS]


def _folded(grouping: Grouping, drawn: Floats, real: Floats) -> tuple[Floats, Floats]:
    """The shares of the most frequent values in the real rows, and those of all others together."""
    if grouping.ordered or len(real) <= MOST_BARS + 1:
        return drawn, real
    kept = _most_frequent(real)
    folded = [np.append(shares[kept], 1 - shares[kept].sum()) for shares in (drawn, real)]
    return folded[0], folded[1]
