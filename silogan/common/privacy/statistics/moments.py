"""First and second moments of each class's records, as one vector in which a record's part has a norm of at most 1.

A record is seen through the features of its schema, as an image's lowest spatial frequencies. With f its features,
scaled to ‖f‖ ≤ 1, a record of class y adds to that class's part of the vector

    A · 1,   B · f,   Γ · svec(f fᵀ)          A² + B² + Γ² = (63/64)²

and nothing to the others. svec is the upper triangle with its off-diagonal entries times √2, so that
‖svec(f fᵀ)‖ = ‖f‖², and noise that is alike in each entry of the vector is alike in each direction of the matrix.

Privacy:
    ‖part of a record‖² = A² + B²‖f‖² + Γ²‖f‖⁴ ≤ (63/64)² whatever the record is. `client/mechanism` clips it to that
    all the same, and keeps the rest of 1 for rounding.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from silogan.common.config.scenario import WarmStart
from silogan.common.modality import Schema
from silogan.common.privacy.statistics.base import LARGEST, Statistic

_A, _B = 0.2 * LARGEST, 0.5 * LARGEST
_GAMMA = math.sqrt(LARGEST**2 - _A**2 - _B**2)


@dataclass(frozen=True)
class ClassMoments:
    """The moments of one class, from a sum of parts.

    Attributes:
        count: Σ 1, float; with noise it may be below 0.
        mean_sum: Σ f, float64[d].
        second_sum: Σ f fᵀ, float64[d, d], symmetric.
    """

    count: float
    mean_sum: Tensor
    second_sum: Tensor


class Moments(Statistic):
    """The layout of the moments of all classes in one vector.

    Args:
        schema: of the records.
        settings: what is seen of a record.

    Attributes:
        features: what is seen of a record, in d dimensions.
        dimensions: d.
    """

    def __init__(self, schema: Schema, settings: WarmStart) -> None:
        self.features = schema.features(frequencies=settings.frequencies, largest_norm=settings.largest_norm)
        self.dimensions = self.features.dimensions
        self._pairs = torch.triu_indices(self.dimensions, self.dimensions)
        self.slots, self.width = schema.num_classes, 1 + self.dimensions + self._pairs.shape[1]

    def rows(self, records: Tensor, labels: Tensor) -> Tensor:  # noqa: ARG002  (a row is put where its label is)
        """See `Statistic.rows`."""
        f = self.features.of(records).double()
        row, column = self._pairs.to(records.device)
        scale = torch.where(row == column, 1.0, math.sqrt(2.0)).double() * _GAMMA
        return torch.cat((torch.full_like(f[:, :1], _A), _B * f, scale * f[:, row] * f[:, column]), dim=1)

    def of_classes(self, total: Tensor) -> list[ClassMoments]:
        """The moments of each class, from a sum of parts float[size]."""
        row, column = self._pairs
        scale = torch.where(row == column, 1.0, math.sqrt(2.0)).double()
        found: list[ClassMoments] = []
        for part in total.double().view(self.slots, self.width):
            count, mean, second = part.split([1, self.dimensions, len(row)])
            matrix = torch.zeros(self.dimensions, self.dimensions, dtype=torch.float64)
            matrix[row, column] = matrix[column, row] = second / (_GAMMA * scale)
            found.append(ClassMoments(float(count) / _A, mean / _B, matrix))
        return found

    @staticmethod
    def noise_of_second_moments(noise: float) -> float:
        """Standard deviation of an off-diagonal entry of `second_sum` where each entry of the vector has `noise`."""
        return noise / (_GAMMA * math.sqrt(2))
