"""Evaluation of synthetic images with rows."""

from typing import Any

from server.evaluation.base import Comparison


def evaluate(asked: Comparison) -> dict[str, Any]:
    """See `server.evaluation.joint_evaluation.evaluate`."""
    from server.evaluation.joint_evaluation import evaluate as measure  # noqa: PLC0415  (seconds, of scikit-learn)

    return measure(asked)
