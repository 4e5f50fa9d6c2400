"""Whether classifiers serve everybody: their AUROC within groups of the real test rows."""

from collections.abc import Mapping
from typing import Any

from silogan.common.modality.table import TableSchema
from silogan.server.evaluation.table_groups import by_mass
from silogan.server.evaluation.table_rows import Floats, Rows
from silogan.server.evaluation.table_scores import auroc

MOST_GROUPS = 4
"""Into which a sensitive column of numbers is cut, at most; about as many real training rows are in each."""


def subgroups(schema: TableSchema, train: Rows, test: Rows, chances: Mapping[str, Floats]) -> list[dict[str, Any]]:
    """AUROC within each group of each sensitive column that test rows belong to.

    Args:
        schema: of the rows.
        train: real training rows, which say how numbers are cut.
        test: real test rows with labels.
        chances: float64[N, classes] of the test rows by each classifier, by its name.

    Returns:
        Of each group `column`, `group`, `records`, `auroc` by classifier, and the `reason` if there is none.
    """
    found: list[dict[str, Any]] = []
    for grouping in by_mass(schema, train, MOST_GROUPS):
        if grouping.name not in schema.sensitive or test.labels is None:
            continue
        groups = grouping.of(test)
        for code, group in enumerate(grouping.groups):
            inside = groups == code
            if not inside.any():
                continue
            scores = {name: auroc(of[inside], test.labels[inside]) for name, of in chances.items()}
            reason = "the group's test rows are all of one class" if None in scores.values() else None
            about = {"column": grouping.name, "group": group, "records": int(inside.sum())}
            found.append({**about, "auroc": scores, "reason": reason})
    return found
