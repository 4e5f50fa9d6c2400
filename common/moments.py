"""First and second moments of each class's images, as one vector in which a record's part has a norm of at most 1.

An image is seen through its lowest spatial frequencies (the orthonormal cosine transform, DCT-II), which hold what is
smooth in it. With f its frequencies, scaled to ‖f‖ ≤ 1, a record of class y adds to that class's part of the vector

    A · 1,   B · f,   Γ · svec(f fᵀ)          A² + B² + Γ² = 1

and nothing to the others. svec is the upper triangle with its off-diagonal entries times √2, so that
‖svec(f fᵀ)‖ = ‖f‖², and noise that is alike in each entry of the vector is alike in each direction of the matrix.

Privacy:
    ‖part of a record‖² = A² + B²‖f‖² + Γ²‖f‖⁴ ≤ 1 whatever the image is; a mean over a patient's records is no longer.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from common.config import WarmStart
from common.schema import ImageSchema

_A, _B = 0.2, 0.5
_GAMMA = math.sqrt(1 - _A**2 - _B**2)
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
        size: length of the vector.
    """

    def __init__(self, schema: ImageSchema, settings: WarmStart) -> None:
        kept = min(settings.frequencies, schema.size)
        self._schema, self._kept = schema, kept
        self._norm = settings.largest_norm * schema.size * math.sqrt(schema.channels)
        self._basis = _cosines(schema.size)[:kept]
        self.dimensions = schema.channels * kept**2
        self._pairs = torch.triu_indices(self.dimensions, self.dimensions)
        self._of_class = 1 + self.dimensions + self._pairs.shape[1]
        self.size = schema.num_classes * self._of_class

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

    def total(self, images: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
        """Σ wᵣ · part of record r, float64[size].

        Args:
            images: float32[N, C, S, S] in [-1, 1].
            labels: int64[N].
            weights: float64[N]; those of a unit's records must not add up to more than 1.
        """
        found = torch.zeros(self._schema.num_classes, self._of_class, dtype=torch.float64, device=images.device)
        features = self.features(images).double()
        row, column = self._pairs.to(images.device)
        scale = torch.where(row == column, 1.0, math.sqrt(2.0))
        for label in labels.unique().tolist():
            f, w = features[labels == label], weights[labels == label]
            second = f.T @ (f * w.unsqueeze(1))
            parts = (_A * w.sum().view(1), _B * (w @ f), _GAMMA * scale * second[row, column])
            found[label] = torch.cat(parts)
        return found.flatten()

    def of_classes(self, total: Tensor) -> list[ClassMoments]:
        """What a sum of parts, float[size], says of each class."""
        row, column = self._pairs
        scale = torch.where(row == column, 1.0, math.sqrt(2.0)).double()
        found: list[ClassMoments] = []
        for part in total.double().view(self._schema.num_classes, self._of_class):
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
