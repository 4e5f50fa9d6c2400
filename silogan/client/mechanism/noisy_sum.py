"""From a clipped sum to what leaves: rounded to a public grid, with noise on that grid.

Theorem. Let S and S' be the sums that are computed for neighbouring data sets: one unit more or less, sampled and
ordered together (`units.py`). Then ‖grid(S) - grid(S')‖ ≤ C.

Proof. The extra unit adds a vector of norm at most (1 - 2⁻⁶)·C (`clip.py`). All else that differs is rounding:

* float32 in the products of matrices. A group of m units with T positions each is added up in one product (at most 2¹⁰
  positions at a time), and 8 products then in float32. Two places differ, so two groups do, in at most two such eights.
  With reaches of at most 2⁵·C, a group's error is at most γ of m·T terms times m·2⁵·C, and that of adding eight up γ₈
  times 8·m·2⁵·C. Before and after, twice: 4·2⁻²⁴·2⁵·(m²·T + 2⁶·m)·C, and m is chosen such that the bracket is at most
  1536: 0.0118·C. Forming the terms adds 2⁻²⁴·2⁵·C. The other products have the same members at the same places of
  blocks of the same shape, and come out the same. The unit that moved has the same gradient at its new place.
* float64 in adding the eights up: fewer than 2¹⁹ of them and at most 2¹⁹ units, so 2·2⁻⁵³·2¹⁹·2¹⁹·2⁵·C = 2⁻⁹·C.
* the grid. Its step is at most 2⁻¹²·C/√d, and each of d entries is rounded by half a step, twice: 2⁻¹²·C.

Together 0.0140·C, less than 2⁻⁶·C. ∎

Privacy:
    With R = round(N(0, σ²C²/step²)) in each entry (`noise.py`), grid(S) + step·R is N(0, σ²C²) added to a vector of the
    grid and then rounded to the grid. Rounding after the noise is post-processing, so a release is the Gaussian
    mechanism with sensitivity C and standard deviation σC: with Poisson sampling at rate q exactly what the accountants
    charge for. Every output is a point of the grid and possible under every data set.
"""

import math

import torch
from torch import Tensor

from silogan.client.mechanism.noise import rounded_gaussian
from silogan.client.mechanism.randomness import Randomness

PRODUCTS = 8
"""Products of matrices that are added up in float32."""

POSITIONS = 2**10
"""Most positions in one product."""

_BRACKET = 1536

_AT_ONCE = 2**18  # values whose noise is drawn at one time: what a cache holds


def group_size(positions: int, units: int) -> int:
    """m: the largest power of two that divides `units` and keeps m²·T + 2⁶·m ≤ 1536 for T positions; else 1."""
    size = 1
    while units % (2 * size) == 0 and (2 * size) ** 2 * positions + PRODUCTS**2 * 2 * size <= _BRACKET:
        size *= 2
    return size


def grid_step(clip_norm: float, size: int) -> float:
    """The largest power of two that is at most 2⁻¹²·C/√size: scaling by it is exact."""
    return 2.0 ** math.floor(math.log2(2.0**-12 * clip_norm / math.sqrt(size)))


def release(total: Tensor, clip_norm: float, noise_multiplier: float, randomness: Randomness) -> Tensor:
    """The sum with its noise; the one value of the hospital that may leave.

    Args:
        total: float64[d], a sum of clipped units as the theorem has it.
        clip_norm: C > 0.
        noise_multiplier: σ > 0.
        randomness: of the noise.

    Returns:
        float64[d] on the device of `total`, multiples of `grid_step`; zeros have no sign.

    Privacy:
        Unit, neighbours and sensitivity: see above. Whatever is computed from the result alone may leave.
    """
    step = grid_step(clip_norm, len(total))
    scale, parts = noise_multiplier * clip_norm / step, total.split(_AT_ONCE)
    noise = torch.cat([rounded_gaussian(randomness, len(part), scale).long() for part in parts])
    return (torch.round(total / step).long() + noise.to(total.device)).double() * step
