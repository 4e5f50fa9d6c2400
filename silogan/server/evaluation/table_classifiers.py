"""The classifiers that say how useful synthetic rows are: they learn from some rows and are tested on real ones.

Logistic regression draws flat borders between classes, boosted trees crooked ones (Friedman, 2001).
"""

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from silogan.common.modality.table import Category, TableSchema
from silogan.server.evaluation.table_rows import Floats, Rows

MOST_TAUGHT = 20_000
"""Rows, at most, that a classifier learns from: drawn at random."""

_MOST_CODES = 255  # of a category whose values trees tell apart without an order
_TREES = 200  # of all classes together, but at least ten of each; of two classes one does for both


def logistic(schema: TableSchema, taught: Rows, test: Rows, seed: int) -> Floats:
    """Chances float64[M, classes] of `test` rows, by logistic regression; see `chances_by`."""
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000, random_state=seed))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # where it stopped is as good a classifier
        model.fit(_flat(schema, taught), taught.labels)
    return _by_class(model, _flat(schema, test), schema.num_classes)


def boosting(schema: TableSchema, taught: Rows, test: Rows, seed: int) -> Floats:
    """Chances float64[M, classes] of `test` rows, by boosted trees; see `chances_by`.

    Columns without a known value in the taught rows are left out: scikit-learn cannot bin them.
    """
    values = taught.with_codes
    kept = ~np.isnan(values).all(axis=0)
    if not kept.any():
        return np.tile(np.bincount(taught.known_labels, minlength=schema.num_classes) / len(taught), (len(test), 1))
    unordered = [
        isinstance(column, Category) and not column.ordered and 2 < len(column.values) <= _MOST_CODES
        for column in schema.columns
    ] + [False] * schema.codes
    options: dict[str, Any] = {"early_stopping": False, "categorical_features": np.array(unordered)[kept]}
    trees = max(10, _TREES // schema.num_classes)
    model = HistGradientBoostingClassifier(max_iter=trees, random_state=seed, **options)
    model.fit(values[:, kept], taught.labels)
    return _by_class(model, test.with_codes[:, kept], schema.num_classes)


CLASSIFIERS: dict[str, Callable[[TableSchema, Rows, Rows, int], Floats]] = {
    "logistic": logistic,
    "boosting": boosting,
}
"""Each kind of classifier, by its name in `report.json`."""


def chances_by(name: str, schema: TableSchema, taught: Rows, test: Rows, seed: int) -> Floats | str:
    """Chances float64[M, classes] that each test row is of each class; 0 for a class that was not taught.

    Args:
        name: one of `CLASSIFIERS`.
        schema: of all rows.
        taught: rows with labels to learn from; if there are more than `MOST_TAUGHT`, some are drawn.
        test: M rows.
        seed: of the rows that are drawn, and of the classifier.

    Returns:
        The chances, or why there are none.
    """
    if taught.labels is None:
        return "the rows have no labels"
    taught = taught.drawn(MOST_TAUGHT, seed)
    if len(np.unique(taught.known_labels)) < 2:
        return "all rows to learn from are of one class"
    return CLASSIFIERS[name](schema, taught, test, seed)


def _flat(schema: TableSchema, rows: Rows) -> Floats:
    """Rows as numbers float64[N, inputs]: one for each value of a category, a number in [0, 1], what is missing, codes.

    A missing number stands in the middle of its range; an input of its own says that it is missing.
    """
    parts: list[Floats] = []
    for place, column in enumerate(schema.columns):
        values = rows.values[:, place]
        if isinstance(column, Category):
            parts.append((values[:, None] == np.arange(len(column.values))).astype(np.float64))
        else:
            parts.append(np.nan_to_num((values - column.low) / (column.high - column.low), nan=0.5)[:, None])
        if column.optional:
            parts.append(np.isnan(values).astype(np.float64)[:, None])
    return np.concatenate((*parts, rows.codes.astype(np.float64)), axis=1)


def _by_class(model: Any, inputs: Floats, classes: int) -> Floats:
    found = np.zeros((len(inputs), classes))
    found[:, model.classes_] = model.predict_proba(inputs)
    return found
