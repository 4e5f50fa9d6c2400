"""Clipping: how much one unit can add to a sum, by a bound that holds for any finite weights.

A norm that is computed in float32 can be far too small: where the weights make large terms cancel, rounding is all that
is left. So each layer gives two numbers for unit i, whose gradient is gᵢ = Σₜ bₜ pₜᵀ over its positions t:

* an upper bound of ‖gᵢ‖², which contains the rounding of what it was computed from;
* its *reach* Xᵢ ≥ Σₜ ‖bₜ‖‖pₜ‖, which no cancellation makes smaller. All rounding errors are small multiples of it.

Honest gradients have a reach of about 3 to 8 times their norm. A unit is scaled down until its norm is at most
(1 - SLACK)·C and its reach at most REACH times that; so rounding in the sum is bounded too (`noisy_sum.py`).

The standard model of floating point (Higham, 2002, chapter 3) is assumed: a sum of n products, in any order, is off by
at most γₙ·Σ|aᵢbᵢ|, with γₙ = n·u / (1 - n·u) and u = 2⁻²⁴; and a value below 2⁻¹²⁶ may be taken for 0.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

SLACK = 2.0**-6
"""The part of C that is kept free for every rounding together."""

REACH = 32.0

UNIT_ROUNDOFF = 2.0**-24
FLOOR = 2.0**-84
"""Added to a squared norm for each value in it: 2⁻²⁴ of it is far more than what underflow can hide."""


def gamma(operations: int) -> float:
    """γₙ of float32.

    Raises:
        ValueError: so many operations have no bound.
    """
    error = operations * UNIT_ROUNDOFF
    if error >= 0.5:
        raise ValueError(f"{operations} operations in float32 have no useful bound")
    return error / (1 - error)


def squared_norms(values: Tensor) -> Tensor:
    """Upper bounds of ‖row‖², float64[N], of float32[N, ..., L]; infinite or NaN where a row is or overflows.

    The last dimension is added up in float32, which is off by γ of its length, the others in float64.
    """
    parts = torch.linalg.vector_norm(values, dim=-1).double().square_()
    rounding = 1 + 2 * gamma(values.shape[-1] + 4)
    return parts.view(len(values), -1).sum(dim=1).mul_(rounding).add_(values[0].numel() * FLOOR)


@dataclass(frozen=True)
class Factors:
    """What each unit's gradient is multiplied by before the sum.

    Attributes:
        values: float[N], from 0 to 1; 0 for a unit that does not count.
        dropped: bool[N], the units that do not count: places without a unit, gradients that are not finite or too long.
        all_count: whether it is known that none is dropped.
    """

    values: Tensor
    dropped: Tensor
    all_count: bool = False

    def keep(self, values: Tensor, each: int) -> Tensor:
        """`values` [N·each, ...] with zeros for units that do not count: 0 times infinity would corrupt the sum."""
        if self.all_count:
            return values
        return values.masked_fill(_rows(self.dropped, values, each), 0.0)

    def scale(self, values: Tensor, each: int) -> Tensor:
        """`values` [N·each, ...], each row times the factor of its unit."""
        return self.keep(values, each) * _rows(self.values, values, each).to(values.dtype)


def clip_factors(squared: Tensor, reach: Tensor, clip_norm: float, counts: Tensor) -> Factors:
    """The factors with which no unit's norm is above (1 - SLACK)·C, and no reach above REACH times that.

    Args:
        squared: float64[N], upper bounds of squared norms.
        reach: float64[N], squared reaches.
        clip_norm: C > 0.
        counts: bool[N], False for places without a unit.
    """
    limit = (1 - SLACK) * clip_norm
    values = torch.minimum(limit / squared.sqrt(), REACH * limit / reach.sqrt()).clamp(max=1)
    # below float32's normal numbers a factor could be rounded up; above, 1 - 2⁻²² sees to it that none is
    dropped = ~(squared.isfinite() & reach.isfinite() & (values >= 2.0**-126) & counts)
    # On a GPU asking whether a unit is dropped would wait for the queue; there the mask is always paid for.
    all_count = dropped.device.type == "cpu" and not bool(dropped.any())
    return Factors((values * (1 - 2.0**-22)).float().masked_fill(dropped, 0.0), dropped, all_count)


def clipped_rows(rows: Tensor, clip_norm: float, counts: Tensor) -> Tensor:
    """Rows float64[N, K] scaled to norms of at most (1 - SLACK)·C; zero where they are not finite or do not count."""
    limit = (1 - SLACK) * clip_norm
    norms = torch.linalg.vector_norm(rows, dim=1, keepdim=True) + FLOOR
    dropped = ~(norms.isfinite() & counts.unsqueeze(1))
    return (rows * (limit / norms).clamp(max=1)).masked_fill(dropped, 0.0)


def _rows(of_units: Tensor, values: Tensor, each: int) -> Tensor:
    """One value a unit [N] as one value a row of `values` [N·each, ...], ready to broadcast."""
    repeated = of_units if each == 1 else of_units.repeat_interleave(each)
    return repeated.view(-1, *(1,) * (values.dim() - 1))
