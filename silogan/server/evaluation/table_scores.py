"""Scores of a classifier of table rows on real test rows."""

from dataclasses import dataclass

import numpy as np
from sklearn.metrics import roc_auc_score

from silogan.server.evaluation.table_rows import Floats, Ints


@dataclass(frozen=True)
class Scores:
    """How well a classifier labels rows; every number is from 0 to 1, or None for the reason that is given.

    Attributes:
        accuracy: share of rows labelled correctly.
        balanced_accuracy: mean over the classes that the rows hold of the share labelled correctly.
        auroc: area under the ROC curve of class 1 of two; of more classes the mean over those that the rows hold, each
            against all others.
        reason: why a number is None; None if all are there.
    """

    accuracy: float | None = None
    balanced_accuracy: float | None = None
    auroc: float | None = None
    reason: str | None = None


def scores_of(chances: Floats, labels: Ints) -> Scores:
    """Scores of chances float64[N, classes], or of anything that is larger where a class is likelier.

    Args:
        chances: N at least 1.
        labels: int64[N] in [0, classes).
    """
    correct = chances.argmax(axis=1) == labels
    held = [labels == label for label in np.unique(labels)]
    balanced = float(np.mean([correct[rows].mean() for rows in held]))
    found = auroc(chances, labels)
    return Scores(float(correct.mean()), balanced, found, "the rows are all of one class" if found is None else None)


def auroc(chances: Floats, labels: Ints) -> float | None:
    """See `Scores.auroc`; None if the rows are all of one class."""
    held = np.unique(labels)
    if len(held) < 2:
        return None
    if chances.shape[1] == 2:
        held = np.array([1])
    return float(np.mean([roc_auc_score(labels == label, chances[:, label]) for label in held]))
