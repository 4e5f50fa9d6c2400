"""Evaluation of synthetic images with masks."""

from typing import Any

from silogan.server.evaluation.base import Comparison


def evaluate(asked: Comparison) -> dict[str, Any]:
    """See `silogan.server.evaluation.masked_evaluation.evaluate`."""
    from silogan.server.evaluation.masked_evaluation import evaluate as measure  # noqa: PLC0415  (seconds, of scikit-learn)

    return measure(asked)
