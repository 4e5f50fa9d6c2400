"""An image as its lowest spatial frequencies (the orthonormal cosine transform, DCT-II), which hold what is smooth."""

import math

import torch
from torch import Tensor

MOST_DIMENSIONS = 1024
"""Of a spectrum: second moments take the square of it for each record."""

_LARGEST_NORM = 0.999  # below 1, for rounding in float32


class Frequencies:
    """Frequencies of images in [-1, 1], where black is 0; see `silogan.common.modality.base.Features`.

    Args:
        shape: channels, height and width.
        kept: lowest frequencies in each direction.
        largest_norm: at which an image's frequencies are clipped, as a share of an all-white image's norm.
    """

    def __init__(self, shape: tuple[int, ...], kept: int, largest_norm: float) -> None:
        channels, size, _ = shape
        self._basis = _cosines(size)[:kept]
        self._shape = channels, len(self._basis), len(self._basis)
        self._norm = largest_norm * size * math.sqrt(channels)
        self.dimensions = math.prod(self._shape)

    def of(self, batch: Tensor) -> Tensor:
        """Frequencies float32[N, d] of images float32[N, C, S, S], rows of norm < 1."""
        basis = self._basis.to(batch)
        found = (basis @ ((batch + 1) / 2) @ basis.T).flatten(1) / self._norm
        norms = found.norm(dim=1, keepdim=True)
        return found * (_LARGEST_NORM / norms.clamp(min=_LARGEST_NORM))

    def back(self, features: Tensor) -> Tensor:
        """The smooth images float32[N, C, S, S] in [-1, 1] that have these frequencies float[N, d]."""
        basis = self._basis.to(features)
        blurred = basis.T @ (features * self._norm).view(len(features), *self._shape) @ basis
        return blurred.mul(2).sub(1).clamp(-1, 1).float()


class Spectrum:
    """Frequencies of images in [-1, 1], where mid-grey is 0: no image has a norm above 1, so that none is clipped.

    Args:
        shape: channels, height and width.
        kept: lowest frequencies in each direction.

    Attributes:
        shape: of the frequencies, [C, kept, kept].
        dimensions: d, how many that are.
        weights: float64[d], what evens out that natural images have less of the high frequencies: (1 + r)^½ for the
            radial frequency r, the fourth root of the usual power law.

    Raises:
        ValueError: images have fewer frequencies, or d is above `MOST_DIMENSIONS`.
    """

    def __init__(self, shape: tuple[int, ...], kept: int) -> None:
        channels, size, _ = shape
        if kept > size:
            raise ValueError(f"images of {size} pixels have no more than {size}")
        if channels * kept**2 > MOST_DIMENSIONS:
            raise ValueError(f"the {channels * kept**2} of all colours are above {MOST_DIMENSIONS}")
        self._basis = _cosines(size)[:kept]
        self.shape, self._norm = (channels, kept, kept), size * math.sqrt(channels)
        self.dimensions = math.prod(self.shape)
        one = torch.arange(kept, dtype=torch.float64)
        radius = (one.square() + one.square().unsqueeze(1)).sqrt()
        self.weights = (1 + radius).sqrt().expand(self.shape).flatten()

    def of(self, batch: Tensor) -> Tensor:
        """Frequencies float32[N, d] of images float32[N, C, S, S], rows of norm at most 1 but for rounding."""
        basis = self._basis.to(batch)
        return (basis @ batch @ basis.T).flatten(1) / self._norm

    def back(self, features: Tensor) -> Tensor:
        """The smooth images float32[N, C, S, S] in [-1, 1] that have these frequencies float[N, d]."""
        return self.smooth(features).clamp(-1, 1).float()

    def smooth(self, features: Tensor) -> Tensor:
        """The same float[N, C, S, S] before it is clamped: the inverse of `of`, linear like it."""
        basis = self._basis.to(features)
        return basis.T @ (features * self._norm).view(len(features), *self.shape) @ basis


def _cosines(size: int) -> Tensor:
    """The orthonormal DCT-II matrix float32[S, S], lowest frequency first (Ahmed, Natarajan and Rao, 1974)."""
    position = torch.arange(size, dtype=torch.float64)
    rows = torch.cos(math.pi / size * (position + 0.5) * position.unsqueeze(1)) * math.sqrt(2 / size)
    rows[0] /= math.sqrt(2)
    return rows.float()
