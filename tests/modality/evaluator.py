"""What synthetic rows are worth: a linear classifier that learnt from them, on real rows."""

from typing import Any

import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from common.config.scenario import Evaluation
from common.modality import Schema, Stored
from server.evaluation import Labelled


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
    assert labels is not None

    def accuracy(records: Stored, known: Tensor) -> float:
        model = LogisticRegression().fit(schema.encode(records).numpy(), known.numpy())
        return float(model.score(schema.encode(test.records).numpy(), test.labels.numpy()))

    return {
        "utility": {"accuracy_synthetic": accuracy(synthetic, labels), "accuracy_real": accuracy(*train)},
        "fidelity": None,
        "fidelity_reason": "rows have no measure of it",
    }
