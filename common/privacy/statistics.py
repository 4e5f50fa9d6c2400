"""First and second moments of each class's images, as one vector in which a record's part has a norm of at most 1.

An image is seen through its lowest spatial frequencies (the orthonormal cosine transform, DCT-II), which hold what is
smooth in it. With f its frequencies, scaled to ‖f‖ ≤ 1, a record of class y adds to that class's part of the vector

    A · 1,   B · f,   Γ · svec(f fᵀ)          A² + B² + Γ² = (63/64)²

and nothing to the others. svec is the upper triangle with its off-diagonal entries times √2, so that
‖svec(f fᵀ)‖ = ‖f‖², and noise that is alike in each entry of the vector is alike in each direction of the matrix.

Privacy:
    ‖part of a record‖² = A² + B²‖f‖² + Γ²‖f‖⁴ ≤ (63/64)² whatever the image is. `client/mechanism` clips it to that all
    the same, and keeps the rest of 1 for rounding.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from common.config.scenario import WarmStart
from common.modality.image import ImageSchema

_LARGEST = 63 / 64
_A, _B = 0.2 * _LARGEST, 0.5 * _LARGEST
_GAMMA = math.sqrt(_LARGEST**2 - _A**2 - _B**2)
_LARGEST_PART = 0.999  # for rounding in float32


@dataclass(frozen=True)
class ClassMoments:
    """What a sum of parts says of one class.

    Attributes:
        count: Σ 1, float; with noise it may be below 0.
        mean_sum: Σ f, float64[d].
        second_sum: Σ f fᵀ, float64[d, d], symmetric.
    """

    count: float
    mean_sum: Tensor
    second_sum: Tensor


class Moments:
    """Where in the vector the moments of which class are.

    Args:
        schema: of the images.
        settings: how many frequencies, and the norm to which images are clipped.

    Attributes:
        dimensions: d, frequencies of an image in all its channels.
        slots, width: how many classes there are, and the length of a class's part.
        size: length of the vector.
    """

    def __init__(self, schema: ImageSchema, settings: WarmStart) -> None:
        kept = min(settings.frequencies, schema.size)
        self._schema, self._kept = schema, kept
        self._norm = settings.largest_norm * schema.size * math.sqrt(schema.channels)
        self._basis = _cosines(schema.size)[:kept]
        self.dimensions = schema.channels * kept**2
        self._pairs = torch.triu_indices(self.dimensions, self.dimensions)
        self.slots, self.width = schema.num_classes, 1 + self.dimensions + self._pairs.shape[1]
        self.size = self.slots * self.width

    def features(self, images: Tensor) -> Tensor:
        """Frequencies of images in [-1, 1], float32[N, C, S, S]: float32[N, d], rows of norm < 1, where black is 0."""
        basis = self._basis.to(images)
        found = (basis @ ((images + 1) / 2) @ basis.T).flatten(1) / self._norm
        norms = found.norm(dim=1, keepdim=True)
        return found * (_LARGEST_PART / norms.clamp(min=_LARGEST_PART))

    def images(self, features: Tensor) -> Tensor:
        """The smooth images float32[N, C, S, S] in [-1, 1] that have these frequencies float[N, d]."""
        basis = self._basis.to(features)
        shape = (len(features), self._schema.channels, self._kept, self._kept)
        blurred = basis.T @ (features * self._norm).view(shape) @ basis
        return blurred.mul(2).sub(1).clamp(-1, 1).float()

    def rows(self, images: Tensor, labels: Tensor) -> Tensor:  # noqa: ARG002  (a row is put where its label is)
        """What each record adds to its class, float64[N, width].

        Args:
            images: float32[N, C, S, S] in [-1, 1].
            labels: int64[N].
        """
        f = self.features(images).double()
        row, column = self._pairs.to(images.device)
        scale = torch.where(row == column, 1.0, math.sqrt(2.0)).double() * _GAMMA
        return torch.cat((torch.full_like(f[:, :1], _A), _B * f, scale * f[:, row] * f[:, column]), dim=1)

    def of_classes(self, total: Tensor) -> list[ClassMoments]:
        """What a sum of parts, float[size], says of each class."""
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


def _cosines(size: int) -> Tensor:
    """The orthonormal DCT-II matrix float32[S, S], lowest frequency first (Ahmed, Natarajan and Rao, 1974)."""
    position = torch.arange(size, dtype=torch.float64)
    rows = torch.cos(math.pi / size * (position + 0.5) * position.unsqueeze(1)) * math.sqrt(2 / size)
    rows[0] /= math.sqrt(2)
    return rows.float()
