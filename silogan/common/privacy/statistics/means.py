"""Count, mean and spread of each class, released first: around them second moments can be taken without waste.

With f the spectrum of a record, ‖f‖ ≤ 1, and w its weights, a record of class y adds to that class's part of the vector

    A · 1,   B · f,   Γ · ‖w∘f‖² / max w²          A² + B² + Γ² = (63/64)²

Privacy:
    ‖part of a record‖² = A² + B²‖f‖² + Γ²(‖w∘f‖²/max w²)² ≤ A² + B² + Γ², as ‖w∘f‖ ≤ max w · ‖f‖ ≤ max w.
    Of an image with a row f = [a · f_image, b · f_row] with a² + b² = 1 and ‖f_image‖, ‖f_row‖ ≤ 1, since a row is in
    one cell of each column: ‖f‖ ≤ 1 again, and image and row are one record in one sum.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from silogan.common.modality import Schema
from silogan.common.modality.image_features import Spectrum
from silogan.common.modality.joint_features import JointSpectrum
from silogan.common.privacy.statistics.base import LARGEST, Statistic

_A, _GAMMA = 0.2 * LARGEST, 0.4 * LARGEST
_B = math.sqrt(LARGEST**2 - _A**2 - _GAMMA**2)
_FEWEST = 3.0  # of a class, in standard deviations of the noise in its count: nothing is divided by noise
_SMALLEST_SPREAD = 1e-4  # of records that are all alike


@dataclass(frozen=True)
class Centres:
    """What second moments are taken around, and up to what norm.

    Attributes:
        counts: float64[slots], with noise; at least a few standard deviations of it.
        centres: float64[slots, d].
        radius: root of the mean square of ‖w∘(f - centre)‖ over everybody; at least a standard deviation of its noise.
    """

    counts: Tensor
    centres: Tensor
    radius: float


class Means(Statistic):
    """The statistic.

    Args:
        schema: of the records.
        spectrum: what is seen of a record.
    """

    def __init__(self, schema: Schema, spectrum: Spectrum | JointSpectrum) -> None:
        self.spectrum = spectrum
        self.slots, self.width = schema.num_classes, spectrum.dimensions + 2

    def rows(self, records: Tensor, labels: Tensor) -> Tensor:  # noqa: ARG002  (a row is put where its label is)
        """See `Statistic.rows`."""
        f, weights = self.spectrum.of(records).double(), self.spectrum.weights.to(records.device)
        energy = (weights * f).square().sum(dim=1, keepdim=True) / weights.max() ** 2
        return torch.cat((torch.full_like(energy, _A), _B * f, _GAMMA * energy), dim=1)

    def centres(self, total: Tensor, noise: float) -> Centres:
        """Where the classes lie, and how far their records are from there.

        A class's centre is drawn to everybody's by as much of its distance as noise explains (James and Stein, 1961):
        small classes stay where noise cannot carry them off.

        The spread is a difference of noisy numbers, and can come out at almost nothing. Records are then all shortened
        to that radius, and nothing is left of what tells them apart; a radius that is too large only costs some noise.

        Args:
            total: float[size], the sum over the sites.
            noise: standard deviation of the noise in each of its entries.
        """
        weights, d = self.spectrum.weights, self.spectrum.dimensions
        counted, summed, energy = total.double().view(self.slots, self.width).split([1, d, 1], dim=1)
        counts = (counted.flatten() / _A).clamp(min=max(1.0, _FEWEST * noise / _A))
        means = summed / _B / counts.unsqueeze(1)
        everybody = (counts / counts.sum()) @ means
        apart = means - everybody
        by_noise = d * (noise / _B / counts).square()
        kept = (1 - by_noise / apart.square().sum(dim=1).clamp(min=1e-30)).clamp(0, 1)
        centres = everybody + kept.unsqueeze(1) * apart
        around = counts @ (weights * centres).square().sum(dim=1)
        unit = float(weights.max()) ** 2 / _GAMMA
        spread = (float(energy.sum()) * unit - float(around)) / float(counts.sum())
        noise_in_spread = math.sqrt(self.slots) * noise * unit / float(counts.sum())
        return Centres(counts, centres, math.sqrt(max(spread, noise_in_spread, _SMALLEST_SPREAD)))
