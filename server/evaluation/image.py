"""Evaluation of synthetic images by a classifier."""

from typing import Any

import torch
from torch import Tensor

from common.config.scenario import Evaluation
from common.modality import Schema, Stored
from common.modality.image import PIXELS
from server.evaluation.base import Labelled


def evaluate(
    synthetic: Stored,
    labels: Tensor | None,
    train: Labelled,
    test: Labelled,
    *,
    schema: Schema,
    settings: Evaluation,
    seed: int,
    device: torch.device,
) -> dict[str, Any]:
    """See `server.evaluation.evaluation.evaluate`."""
    from server.evaluation.evaluation import evaluate as measure  # noqa: PLC0415  (seconds, of scikit-learn)

    return measure(
        synthetic[PIXELS],
        labels,
        (train.records[PIXELS], train.labels),
        (test.records[PIXELS], test.labels),
        num_classes=schema.num_classes,
        settings=settings,
        seed=seed,
        device=device,
    ).to_json()
