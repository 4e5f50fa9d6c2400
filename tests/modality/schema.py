"""A second kind of record, as small as it can be: three numbers of a patient."""

import math
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field
from pydantic.dataclasses import dataclass

from silogan.common.bounds import STRICT, Name
from silogan.common.modality import Data, Kind, Model, Schema, Stored

if TYPE_CHECKING:
    from torch import Tensor

RANGES = {"age": (0.0, 100.0), "glucose": (2.0, 30.0), "pressure": (40.0, 260.0)}
"""Of each column: public constants."""


@dataclass(frozen=True, config=STRICT)
class TableSchema(Schema):
    """The columns of `RANGES`, each a float32[N]."""

    kind: ClassVar[str] = "ward"
    noun: ClassVar[str] = "table rows"

    classes: Annotated[tuple[Name, ...], Field(min_length=1, strict=False)]

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(RANGES),)

    def encode(self, stored: Stored) -> "Tensor":
        import torch  # noqa: PLC0415

        return torch.stack([(stored[name] - low) / (high - low) * 2 - 1 for name, (low, high) in RANGES.items()], dim=1)

    def decode(self, batch: "Tensor") -> Stored:
        scaled = (batch.clamp(-1, 1) + 1) / 2
        return {
            name: low + column * (high - low)
            for column, (name, (low, high)) in zip(scaled.unbind(1), RANGES.items(), strict=True)
        }

    def features(self, *, frequencies: int, largest_norm: float) -> "Columns":
        return Columns()

    def describe(self) -> str:
        return f"table rows of {', '.join(RANGES)}"


class Columns:
    """The columns themselves, with norms below 1."""

    dimensions = len(RANGES)
    _norm = 1.001 * math.sqrt(len(RANGES))

    def of(self, batch: "Tensor") -> "Tensor":
        return batch.clamp(-1, 1) / self._norm

    def back(self, features: "Tensor") -> "Tensor":
        return (features * self._norm).clamp(-1, 1).float()


class Ward(Data):
    """A made-up ward."""

    source: str = "ward"
    rows: Annotated[int, Field(ge=10, le=10_000)] = 400

    def declared_schema(self) -> TableSchema:
        return TableSchema(self.classes or ("well", "ill"))


class Perceptron(Model):
    """Two layers each."""

    family: str = "perceptron"
    hidden: Annotated[int, Field(ge=1, le=1024)] = 16


TABLE = Kind(TableSchema, {"ward": Ward}, {"perceptron": Perceptron})
