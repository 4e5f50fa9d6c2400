"""Whether synthetic rows hold what is rare: the share of groups seen in real test rows that they contain."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from silogan.server.evaluation.table_groups import Grouping, offsets
from silogan.server.evaluation.table_rows import Floats

RARE = 0.01
"""A group with at most this share of the real test rows is rare."""


def coverage(
    shares: dict[str, Floats], test: Floats, groupings: Sequence[Grouping], sensitive: Sequence[str]
) -> dict[str, Any]:
    """Shares (0 to 1) of the groups in real test rows that other rows contain.

    Args:
        shares: float64[G, G] of other rows, by their name; see `table_distances.joint`.
        test: float64[G, G] of real test rows.
        groupings: of the columns.
        sensitive: the names of the columns whose pairs count.

    Returns:
        For `groups`, `rare_groups` and `sensitive_pairs`: `present`, how many there are in test rows, and the share of
        them in the rows of each name, None if there is none.
    """
    single = np.diag(test)
    asked = {
        "groups": np.diag(single > 0),
        "rare_groups": np.diag((single > 0) & (single <= RARE)),
        "sensitive_pairs": (test > 0) & _pairs_of(groupings, sensitive),
    }
    return {what: _covered(shares, present) for what, present in asked.items()}


def _covered(shares: dict[str, Floats], present: NDArray[np.bool_]) -> dict[str, Any]:
    count = int(present.sum())
    found = {name: float((own[present] > 0).mean()) if count else None for name, own in shares.items()}
    return {"present": count, **found}


def _pairs_of(groupings: Sequence[Grouping], sensitive: Sequence[str]) -> NDArray[np.bool_]:
    """Which entries bool[G, G] are pairs of two sensitive columns."""
    starts = offsets(groupings)
    sizes = [len(grouping.groups) for grouping in groupings]
    counted = np.array([grouping.name in sensitive for grouping in groupings])
    column = np.repeat(np.arange(len(starts)), sizes)
    return (column[:, None] < column) & np.outer(counted[column], counted[column])
