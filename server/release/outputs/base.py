"""What is made of the records of one kind."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from common.config.scenario import Evaluation
from common.modality import Schema, Stored
from server.release.generator import ReleasedGenerator

Writer = Callable[[Path, Stored, Tensor | None, ReleasedGenerator], None]
"""Writes synthetic records and their labels int64[N] to a path, with the generator's marks.

Raises:
    UsageError: the format cannot hold them.
    OSError: the path cannot be written.
"""

Preview = Callable[[Stored, Tensor | None, ReleasedGenerator], bytes]
"""A PNG of a few synthetic records, with the generator's marks."""


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


@dataclass(frozen=True)
class Output:
    """What is made of the records of one kind.

    Attributes:
        formats: of `silogan generate`; the first is its default.
        preview: what a person looks at first.
        columns: records side by side in a preview that has no classes.
        evaluate: measures them.
    """

    formats: Mapping[str, Writer]
    preview: Preview
    columns: int
    evaluate: Evaluate
