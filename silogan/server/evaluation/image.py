"""Evaluation of synthetic images by a classifier."""

from typing import Any

from silogan.server.evaluation.base import Comparison


def evaluate(asked: Comparison) -> dict[str, Any]:
    """See `silogan.server.evaluation.evaluation.evaluate`."""
    from silogan.server.evaluation.evaluation import evaluate as measure  # noqa: PLC0415  (seconds, of scikit-learn)

    return measure(asked).to_json()
