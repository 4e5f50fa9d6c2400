"""Wavelet scattering of images: fixed features that a critic looks at in place of pixels.

Moduli of wavelet coefficients, averaged over a neighbourhood, of first and second order (Bruna and Mallat, 2013; of
images by Oyallon and Mallat, 2015). They hold still where strokes or tissue move a little, and a linear classifier of
them learns under noise what networks of pixels do not (Tramèr and Boneh, 2021). The filters are public constants.

Privacy:
    Nothing is learnt, kept, or shared between images: the features of an image depend on that image alone.
"""

import functools
import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

ANGLES = 8
"""L: orientations of wavelets."""

GRID = 8
"""Features are told at up to so many places in each direction."""

_LARGE = 16  # pixels: smaller images are looked at on one scale alone
_SHARPEST = 0.8  # pixels, the standard deviation of the smallest envelope
_FREQUENCY = 0.75 * math.pi  # of the finest wavelet; that of each coarser one is half as large
_REACH = 2.5  # standard deviations at which filters end
_LEAST = 1e-8  # under a square root, whose slope would be endless at 0


class Scattering(nn.Module):
    """Features float32[B, d] of images float32[B, C, S, S], with slopes.

    Args:
        channels: C, each of which is looked at by itself.
        size: S, at least 8.

    Attributes:
        scales: J, 2, and 1 for images of less than 16 pixels.
        dimensions: d = C · (1 + J·L + L²·J(J-1)/2) · places².
    """

    def __init__(self, channels: int, size: int) -> None:
        super().__init__()
        self.scales = 2 if size >= _LARGE else 1
        stride = 2**self.scales
        self._pool = max(1, size // stride // GRID)
        places = -(-size // stride) // self._pool
        orders = 1 + self.scales * ANGLES + (self.scales - 1) * ANGLES**2
        self.dimensions = channels * orders * places**2

    def forward(self, images: Tensor) -> Tensor:
        """See the class."""
        count, size = len(images), images.shape[-1]
        images = images.flatten(0, 1).unsqueeze(1)
        found = [images]
        for scale in range(self.scales):
            moduli = _moduli(images, scale)
            found.append(moduli)
            for coarser in range(scale + 1, self.scales):
                again = _moduli(moduli.flatten(0, 1).unsqueeze(1), coarser)
                found.append(again.unflatten(0, moduli.shape[:2]).flatten(1, 2))
        averages = [self._average(maps, size // maps.shape[-1]) for maps in found]
        return torch.cat(averages, dim=1).reshape(count, self.dimensions)

    def _average(self, maps: Tensor, stride: int) -> Tensor:
        """Maps of every `stride`-th pixel as averages at the places that are told."""
        smooth = _lowpass(self.scales, stride).to(maps)
        left = 2**self.scales // stride
        averages = F.conv2d(_mirrored(maps.flatten(0, 1).unsqueeze(1), smooth), smooth, stride=left)
        return F.avg_pool2d(averages, self._pool).unflatten(0, maps.shape[:2]).flatten(2)


def _moduli(images: Tensor, scale: int) -> Tensor:
    """Moduli [N, L, S', S'] of wavelet coefficients of images [N, 1, S, S]: every 2ʲ-th pixel of the scale j."""
    filters = _wavelets(scale).to(images)
    parts = F.conv2d(_mirrored(images, filters), filters, stride=2**scale)
    return (parts.square().unflatten(1, (2, ANGLES)).sum(dim=1) + _LEAST).sqrt()


def _mirrored(images: Tensor, filters: Tensor) -> Tensor:
    return F.pad(images, (filters.shape[-1] // 2,) * 4, mode="reflect")


@functools.cache
def _wavelets(scale: int) -> Tensor:
    """Morlet wavelets float32[2L, 1, K, K] of a scale j: the real parts of all orientations, then the imaginary ones.

    ψ(u) = exp(-|A u|²/2) (exp(i ξ·u) - β): β lets it sum to 0, σ = 0.8·2ʲ, |ξ| = 3π/4·2⁻ʲ, and the envelope
    is longer by L/4 along the crests (Andreux et al., 2020, Kymatio).
    """
    with torch.device("cpu"):
        sigma = _SHARPEST * 2**scale
        slant = 4 / ANGLES
        x, y = _places(_REACH * sigma / slant)
        found: list[Tensor] = []
        for angle in torch.arange(ANGLES, dtype=torch.float64) * math.pi / ANGLES:
            along, across = x * angle.cos() + y * angle.sin(), y * angle.cos() - x * angle.sin()
            envelope = torch.exp(-(along.square() + (slant * across).square()) / (2 * sigma**2))
            wave = envelope * torch.polar(torch.ones_like(along), along * _FREQUENCY / 2**scale)
            wavelet = wave - envelope * wave.sum() / envelope.sum()
            found.append(wavelet * slant / (2 * math.pi * sigma**2))
        waves = torch.stack(found)
        return torch.cat((waves.real, waves.imag)).unsqueeze(1).float()


@functools.cache
def _lowpass(scales: int, stride: int) -> Tensor:
    """A Gaussian float32[1, 1, K, K] of σ = 0.8·2ᴶ⁻¹ pixels that sums to 1, for maps of every `stride`-th pixel."""
    with torch.device("cpu"):
        sigma = _SHARPEST * 2 ** (scales - 1) / stride
        x, y = _places(_REACH * sigma)
        filters = torch.exp(-(x.square() + y.square()) / (2 * sigma**2))
        return (filters / filters.sum()).float().expand(1, 1, -1, -1).clone()


def _places(reach: float) -> tuple[Tensor, Tensor]:
    """Coordinates float64[K, K] of a filter's entries, in pixels from its middle."""
    radius = math.ceil(reach)
    one = torch.arange(-radius, radius + 1, dtype=torch.float64)
    return one.expand(len(one), -1), one.unsqueeze(1).expand(-1, len(one))
