"""Synthetic images, by a classifier's view of them."""

from typing import Any

from server.evaluation.base import Comparison


def evaluate(asked: Comparison) -> dict[str, Any]:
    """See `server.evaluation.evaluation.evaluate`."""
    from server.evaluation.evaluation import evaluate as measure  # noqa: PLC0415  (seconds, of scikit-learn)

    return measure(asked).to_json()
