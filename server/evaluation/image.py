"""Evaluation of synthetic images by a classifier."""

from typing import Any

from server.evaluation.base import Comparison


def evaluate(asked: Comparison) -> dict[str, Any]:
    """See `server.evaluation.evaluation.evaluate`."""
    from server.evaluation.evaluation import evaluate as measure  # noqa: PLC0415  (seconds, of scikit-learn)

    return measure(asked).to_json()
