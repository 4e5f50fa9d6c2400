"""Synthetic images, by a classifier's view of them."""

from typing import Any

from common.modality.image import PIXELS
from server.evaluation.base import Comparison


def evaluate(asked: Comparison) -> dict[str, Any]:
    """See `server.evaluation.evaluation.evaluate`."""
    from server.evaluation.evaluation import evaluate as measure  # noqa: PLC0415  (seconds, of scikit-learn)

    return measure(
        asked.synthetic[PIXELS],
        asked.labels,
        *((part.records[PIXELS], part.labels) for part in (asked.train, asked.test)),
        num_classes=asked.schema.num_classes,
        settings=asked.settings,
        seed=asked.seed,
        device=asked.device,
    ).to_json()
