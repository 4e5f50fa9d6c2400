"""Second moments of each class, or of each cell of it, around a centre that was released before, weighted by frequency.

With f the spectrum of a record of class y, w its weights, c_y the centre and r the radius that were sent,

    g = w∘(f - c_y) / r, shortened to a norm of at most 1,   and   A · 1,   B · g,   Γ · svec(g gᵀ)

is added to that class's part of the vector, A² + B² + Γ² = (63/64)². Uncentred moments spend most of their sensitivity
on the mean, and unweighted ones on the few frequencies that every image has.

Of an image with a row, f holds both (`common/modality/joint_features.py`), and so does g gᵀ: the block that says how
they depend on each other comes with the others.

With cuts, a class falls into 2ᵇ cells, each with a part of its own. The cell of a record is the signs of u_j · g - t_j,
for the b directions u_j and levels t_j that were sent for its class.

Privacy:
    ‖part of a record‖² = A² + B²‖g‖² + Γ²‖g‖⁴ ≤ (63/64)², since ‖g‖ ≤ 1 whatever was sent: it must be finite and the
    radius positive, so that no quotient here overflows float64. It is the norm of all of g that is shortened: an image
    and its row add one vector to one sum, whatever f is, and count as one record. A record is in one cell, whichever
    that is. The signs must come out the same wherever a record stands in a batch, so that they are sums of products and
    no products of matrices, and `client/training/isolation.py` tries them on the machine that works.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from silogan.common.modality import Schema
from silogan.common.modality.image_features import Spectrum
from silogan.common.modality.joint_features import JointSpectrum
from silogan.common.privacy.statistics.base import LARGEST, Statistic

_A, _B = 0.1 * LARGEST, 0.5 * LARGEST
_GAMMA = math.sqrt(LARGEST**2 - _A**2 - _B**2)
CENTRES, RADIUS, CUTS, LEVELS = "centres", "radius", "cuts", "levels"


@dataclass(frozen=True)
class Covariances:
    """What noisy moments say of each class or cell, in the units of the spectrum times its weights.

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
        sent: `centres` float32[classes, d] and `radius` float32[], finite, the radius above 0; and where there are 2ᵇ
            cells `cuts` float32[classes, b, d] and `levels` float32[classes, b], finite.
        cells: of a class: 1, 2, 4 or 8; those of a class are slots one after the other.

    Raises:
        ValueError: what was sent is not so.
    """

    def __init__(
        self, schema: Schema, spectrum: Spectrum | JointSpectrum, sent: Mapping[str, Tensor], cells: int = 1
    ) -> None:
        self.spectrum, self.slots, self._cells = spectrum, schema.num_classes * cells, cells
        d, cuts = spectrum.dimensions, cells.bit_length() - 1
        wanted: dict[str, tuple[int, ...]] = {CENTRES: (schema.num_classes, d), RADIUS: ()}
        if cuts:
            wanted |= {CUTS: (schema.num_classes, cuts, d), LEVELS: (schema.num_classes, cuts)}
        if {name: tuple(tensor.shape) for name, tensor in sent.items()} != wanted:
            raise ValueError(f"are not {', '.join(wanted)}")
        if any(tensor.dtype != torch.float32 or not tensor.isfinite().all() for tensor in sent.values()):
            raise ValueError("are not finite")
        if not float(sent[RADIUS]) > 0:
            raise ValueError("have no radius")
        self._centres, self._radius = sent[CENTRES].double(), float(sent[RADIUS])
        self._cuts = (sent[CUTS].double(), sent[LEVELS].double()) if cuts else None
        self._pairs = torch.triu_indices(d, d)
        self.width = 1 + d + self._pairs.shape[1]

    def rows(self, records: Tensor, labels: Tensor) -> Tensor:
        """See `Statistic.rows`."""
        return self._rows(self._seen(records, labels))

    def placed(self, records: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """See `Statistic.placed`: the slot is that of the record's cell."""
        g, places = self._seen(records, labels), labels
        if self._cuts is not None:
            directions, levels = (part.to(labels.device)[labels] for part in self._cuts)
            above = (directions * g.unsqueeze(1)).sum(dim=2) > levels
            places = labels * self._cells + sum(above[:, cut].long() << cut for cut in range(above.shape[1]))
        return places, self._rows(g)

    def _seen(self, records: Tensor, labels: Tensor) -> Tensor:
        f, weights = self.spectrum.of(records).double(), self.spectrum.weights.to(records.device)
        g = weights * (f - self._centres.to(records.device)[labels]) / self._radius
        return g / g.norm(dim=1, keepdim=True).clamp(min=1)

    def _rows(self, g: Tensor) -> Tensor:
        row, column = self._pairs.to(g.device)
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
        means = self._centres.repeat_interleave(self._cells, dim=0) + means * self._radius / self.spectrum.weights
        matrices, noise = matrices * self._radius**2, noise * self._radius**2
        return Covariances(counts, means, matrices, self.noise_of_second_moments(noise) / counts)

    @staticmethod
    def noise_of_second_moments(noise: float) -> float:
        """Standard deviation of an off-diagonal entry of Σ g gᵀ where each entry of the vector has `noise`."""
        return noise / (_GAMMA * math.sqrt(2))

    @staticmethod
    def _scale(row: Tensor, column: Tensor) -> Tensor:
        return torch.where(row == column, 1.0, math.sqrt(2.0)).double() * _GAMMA
