"""The wavelet scattering of images: how much of each scale and direction there is where, and how it varies.

    S₀ = x * φ,   S₁ = |x * ψ₀ or ψ₁| * φ,   S₂ = ||x * ψ₀| * ψ₁| * φ        (Bruna and Mallat, 2013)

with Morlet wavelets ψ of two scales and eight directions, and a Gaussian φ that averages over 4 pixels. Nothing in it
is learned, so that it is the same for everybody and costs no privacy. A linear classifier on it is hard to beat under
differential privacy (Tramèr and Boneh, 2021). Filters are those of Kymatio (Andreux and others, 2020).
"""

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

SCALES, DIRECTIONS = 2, 8
POOL = 2**SCALES
"""Pixels in each direction that one value averages over; an image's size must be a multiple."""

CHANNELS = 1 + SCALES * DIRECTIONS + DIRECTIONS**2
"""Of one colour."""

_SIGMA, _FREQUENCY = 0.8, 3 * math.pi / 4  # of the finest wavelet: its width in pixels, and its radians per pixel
_PERIODS = 2  # to each side, over which a filter is summed up to be periodic
_TINY = 1e-12  # under a root whose gradient must stay finite


class Scattering(nn.Module):
    """The scattering of square images.

    Args:
        size: pixels in each direction, a multiple of `POOL`.
    """

    low_pass: Tensor
    wavelets: Tensor

    def __init__(self, size: int) -> None:
        super().__init__()
        padded = size + 2 * POOL
        filters = [_wavelet(padded, scale, step) for scale in range(SCALES) for step in range(DIRECTIONS)]
        low_pass = _gabor(padded, _SIGMA * 2 ** (SCALES - 1), frequency=0.0, angle=0.0, slant=1.0)
        self.register_buffer("low_pass", _transform(low_pass))
        self.register_buffer("wavelets", torch.stack(filters).view(SCALES, DIRECTIONS, padded, padded))
        self.shape = CHANNELS, size // POOL, size // POOL

    def forward(self, images: Tensor) -> Tensor:
        """What is where.

        Args:
            images: float[N, C, S, S].

        Returns:
            float[N, F, s, s] with F = C · `CHANNELS` and s = S / `POOL`.
        """
        seen = torch.fft.fft2(pad(images, [POOL] * 4, mode="reflect"))
        found = [self._averaged(seen)]
        fine, coarse = (self._modulus(seen, self.wavelets[scale], 2**scale) for scale in range(SCALES))
        found += [self._averaged(fine), self._averaged(coarse)]
        found.append(self._averaged(self._modulus(fine, self.wavelets[1], 2)))
        return torch.cat(found, dim=1)

    def _modulus(self, seen: Tensor, filters: Tensor, step: int) -> Tensor:
        """Transform of |x * ψ| at every `step`-th place, for all filters: [N, C, ...] to [N, C·directions, ...]."""
        waves = torch.fft.ifft2(_folded(seen.unsqueeze(2) * filters, step))
        modulus = (waves.real.square() + waves.imag.square() + _TINY).sqrt()
        return torch.fft.fft2(modulus).flatten(1, 2)

    def _averaged(self, seen: Tensor) -> Tensor:
        """The average x * φ at one place a pool, without the places that are padding."""
        left = self.low_pass.shape[-1] // seen.shape[-1]
        means = torch.fft.ifft2(_folded(seen * _folded(self.low_pass, left) * left**2, POOL // left)).real
        return means[..., 1:-1, 1:-1]


def _wavelet(size: int, scale: int, step: int) -> Tensor:
    """Transform of a Morlet wavelet: a Gabor wave less as much of its envelope as it takes to have the mean 0."""
    sigma, angle, slant = _SIGMA * 2**scale, math.pi * step / DIRECTIONS, 4 / DIRECTIONS
    wave = _gabor(size, sigma, _FREQUENCY / 2**scale, angle, slant)
    envelope = _gabor(size, sigma, 0.0, angle, slant)
    return _transform(wave - wave.sum() / envelope.sum() * envelope)


def _gabor(size: int, sigma: float, frequency: float, angle: float, slant: float) -> Tensor:
    """A wave under a Gaussian, complex128[size, size], summed over its periods; `slant` is width over length."""
    places = torch.arange(-_PERIODS * size, (_PERIODS + 1) * size, dtype=torch.float64)
    down, right = torch.meshgrid(places, places, indexing="ij")
    along = down * math.cos(angle) + right * math.sin(angle)
    across = right * math.cos(angle) - down * math.sin(angle)
    envelope = torch.exp(-(along.square() + (slant * across).square()) / (2 * sigma**2))
    wave = torch.polar(envelope * slant / (2 * math.pi * sigma**2), frequency * along)
    periods = 2 * _PERIODS + 1
    return wave.view(periods, size, periods, size).sum(dim=(0, 2))


def _transform(kernel: Tensor) -> Tensor:
    """The Fourier transform float32[P, P] of a kernel that is the conjugate of its mirror image, and so real."""
    return torch.fft.fft2(kernel).real.float()


def _folded(transform: Tensor, step: int) -> Tensor:
    """The transform of what has every `step`-th place of the original in each direction."""
    *others, size, _ = transform.shape
    return transform.view(*others, step, size // step, step, size // step).mean(dim=(-4, -2))
