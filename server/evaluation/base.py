"""The evaluator of one kind of record."""

from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from common.config.scenario import Evaluation
from common.modality import Schema, Stored


class Labelled(NamedTuple):
    """Real records and their labels int64[N]."""

    records: Stored
    labels: Tensor


class Evaluate(Protocol):
    """Measures synthetic records against real ones; the same arguments give the same result on a CPU."""

    def __call__(
        self,
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
        """`utility`, `fidelity` and `fidelity_reason` of `report.json`.

        Raises:
            DataError: records or labels are missing, malformed or do not match each other.
        """
        ...
