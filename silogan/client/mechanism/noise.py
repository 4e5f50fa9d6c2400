"""Gaussian noise on the integers: a continuous Gaussian, rounded exactly.

Privacy:
    Noise that is computed in floating point has gaps, and what is possible under one data set may be impossible under
    its neighbour (Mironov, 2012). Here the noise is round(s·Z), where Z is a standard normal of infinitely many random
    bits by the method of Box and Muller (1958): Z = √(-2 ln U)·cos 2πV and √(-2 ln U)·sin 2πV. Of U and V the first 52
    bits are drawn, which tell the rounded value for all but about one draw in millions; there further bits are drawn
    until they do. The result has the distribution of the rounded real number, with no error to account for. It rests
    on torch's log, sqrt, cos and sin in float64 being right to 2⁻⁵⁰, where their makers claim about 2⁻⁵².
"""

import math
from typing import Any, cast

import torch
from mpmath.ctx_mp import MPContext
from torch import Tensor

from silogan.client.mechanism.randomness import Randomness

BITS = 52
"""Of each uniform at first: the middle of such an interval is a float64."""

_FINER = 60
_ERROR = 2.0**-50


def rounded_gaussian(randomness: Randomness, size: int, scale: float) -> Tensor:
    """round(N(0, scale²)) for each of `size` places.

    Args:
        randomness: where the bits come from.
        size: how many values.
        scale: s, from 0 to 2⁴⁰.

    Returns:
        float64[size], whole numbers.
    """
    pairs = (size + 1) // 2
    first, second = randomness.bits(pairs, BITS), randomness.bits(pairs, BITS)
    u, turn = (bits.double().add_(0.5).mul_(2.0**-BITS) for bits in (first, second))
    half = 2.0 ** -(BITS + 1)
    radius = u.log().mul_(-2).sqrt_()
    # √(-2 ln u) over [u - half, u + half]: its square changes by less than 4·half/u; near u = 1 the root is steep.
    change = 4 * half / u
    spread = torch.minimum(change / radius, change.sqrt()).add_(radius * _ERROR)
    angle = turn * (2 * math.pi)
    error = scale * (1 + 1e-12) * (spread + radius * (2 * math.pi * half + 4 * _ERROR))
    values = torch.stack((radius * angle.cos(), radius * angle.sin())).mul_(scale)
    error.add_(values.abs().amax(0) * _ERROR)
    low, high = (values - error).round_(), (values + error).round_()
    undecided = (low != high).any(dim=0) | (first == 0)  # below the first interval the logarithm has no bound
    for place in undecided.nonzero().flatten().tolist():
        pair = _decided(randomness, int(first[place]), int(second[place]), scale)
        low[:, place] = torch.tensor(pair, dtype=torch.float64)
    return low.flatten()[:size]


def _decided(randomness: Randomness, first: int, second: int, scale: float) -> tuple[int, int]:
    """The rounded pair whose uniforms begin with these bits, to as many more bits as it takes."""
    exact, width = cast(Any, MPContext()), BITS  # one of its own, since sites share a process
    while True:
        first, second = ((bits << _FINER) + int(randomness.bits(1, _FINER)) for bits in (first, second))
        width += _FINER
        if first == 0:
            continue
        exact.prec = 4 * width
        longest, shortest = (exact.sqrt(-2 * exact.log(exact.ldexp(bits, -width))) for bits in (first, first + 1))
        angle = 2 * exact.pi * exact.ldexp(second, -width)
        error = scale * (longest - shortest + longest * exact.ldexp(8, -width))
        pair = [scale * longest * exact.cos(angle), scale * longest * exact.sin(angle)]
        ends = [[int(exact.nint(value + side * error)) for side in (-1, 1)] for value in pair]
        if all(low == high for low, high in ends):
            return ends[0][0], ends[1][0]
