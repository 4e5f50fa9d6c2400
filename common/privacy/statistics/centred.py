"""Second moments of each class around a centre that was released before, weighted by frequency.

With f the spectrum of a record of class y, w its weights, c_y the centre and r the radius that were sent,

    g = w∘(f - c_y) / r, shortened to a norm of at most 1,   and   A · 1,   B · g,   Γ · svec(g gᵀ)

is added to that class's part of the vector, A² + B² + Γ² = (63/64)². Uncentred moments spend most of their sensitivity
on the mean, and unweighted ones on the few frequencies that every image has.

Privacy:
    ‖part of a record‖² = A² + B²‖g‖² + Γ²‖g‖⁴ ≤ (63/64)², since ‖g‖ ≤ 1 whatever was sent: it must be finite and the
    radius positive, so that no quotient here overflows float64.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from common.modality import Schema
from common.modality.image_features import Spectrum
from common.privacy.statistics.base import LARGEST, Statistic

_A, _B = 0.1 * LARGEST, 0.5 * LARGEST
_GAMMA = math.sqrt(LARGEST**2 - _A**2 - _B**2)
CENTRES, RADIUS = "centres", "radius"


@dataclass(frozen=True)
class Covariances:
    """What noisy moments say of each class, in the units of the spectrum times its weights.

    Attributes:
        counts: float64[slots], at least a few standard deviations of their noise.
        means: float64[slots, d], in the units of the spectrum.
        matrices: float64[slots, d, d], symmetric; noise may have made eigenvalues negative.
        noise: float64[slots], standard deviation of the noise in an off-diagonal entry of each matrix.
    """

    counts: Tensor
    means: Tensor
    matrices: Tensor
    noise: Tensor


class CentredMoments(Statistic):
    """The statistic.

    Args:
        schema: of the records.
        spectrum: what is seen of a record.
        sent: `centres` float32[slots, d] and `radius` float32[], finite, the radius above 0.

    Raises:
        ValueError: what was sent is not so.
    """

    def __init__(self, schema: Schema, spectrum: Spectrum, sent: Mapping[str, Tensor]) -> None:
        self.spectrum, self.slots = spectrum, schema.num_classes
        d = spectrum.dimensions
        wanted = {CENTRES: (self.slots, d), RADIUS: ()}
        if {name: tuple(tensor.shape) for name, tensor in sent.items()} != wanted:
            raise ValueError("are not centres and a radius")
        if any(tensor.dtype != torch.float32 or not tensor.isfinite().all() for tensor in sent.values()):
            raise ValueError("are not finite")
        if not float(sent[RADIUS]) > 0:
            raise ValueError("have no radius")
        self._centres, self._radius = sent[CENTRES].double(), float(sent[RADIUS])
        self._pairs = torch.triu_indices(d, d)
        self.width = 1 + d + self._pairs.shape[1]

    def rows(self, records: Tensor, labels: Tensor) -> Tensor:
        """See `Statistic.rows`."""
        f, weights = self.spectrum.of(records).double(), self.spectrum.weights.to(records.device)
        g = weights * (f - self._centres.to(records.device)[labels]) / self._radius
        g = g / g.norm(dim=1, keepdim=True).clamp(min=1)
        row, column = self._pairs.to(records.device)
        seconds = self._scale(row, column) * g[:, row] * g[:, column]
        return torch.cat((torch.full_like(g[:, :1], _A), _B * g, seconds), dim=1)

    def covariances(self, total: Tensor, noise: float) -> Covariances:
        """What the sum over the sites says.

        Args:
            total: float64[size].
            noise: standard deviation of the noise in each of its entries.
        """
        (row, column), d = self._pairs, self.spectrum.dimensions
        counted, summed, seconds = total.double().view(self.slots, self.width).split([1, d, len(row)], dim=1)
        counts = (counted.flatten() / _A).clamp(min=max(1.0, noise / _A))
        means = summed / _B / counts.unsqueeze(1)
        matrices = torch.zeros(self.slots, d, d, dtype=torch.float64)
        matrices[:, row, column] = matrices[:, column, row] = seconds / self._scale(row, column) / counts.unsqueeze(1)
        matrices -= means.unsqueeze(2) * means.unsqueeze(1)
        means = self._centres + means * self._radius / self.spectrum.weights
        matrices, noise = matrices * self._radius**2, noise * self._radius**2
        return Covariances(counts, means, matrices, noise / (_GAMMA * math.sqrt(2)) / counts)

    @staticmethod
    def _scale(row: Tensor, column: Tensor) -> Tensor:
        return torch.where(row == column, 1.0, math.sqrt(2.0)).double() * _GAMMA
