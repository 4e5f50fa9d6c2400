"""What synthetic rows are worth: a linear classifier that learnt from them, on real rows."""

from typing import Any

from sklearn.linear_model import LogisticRegression
from torch import Tensor

from silogan.common.modality import Stored
from silogan.server.evaluation import Comparison


def evaluate(asked: Comparison) -> dict[str, Any]:
    assert asked.labels is not None
    schema, test = asked.schema, asked.test

    def accuracy(records: Stored, known: Tensor) -> float:
        model = LogisticRegression().fit(schema.encode(records).numpy(), known.numpy())
        return float(model.score(schema.encode(test.records).numpy(), test.labels.numpy()))

    return {
        "utility": {
            "accuracy_synthetic": accuracy(asked.synthetic, asked.labels),
            "accuracy_real": accuracy(asked.train.records, asked.train.labels),
        },
        "fidelity": None,
        "fidelity_reason": "rows have no measure of it",
    }
