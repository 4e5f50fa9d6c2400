"""What a rule says of one layer: how long each unit's gradient is, and the sum of the gradients under given weights.

A unit of privacy (a patient) is a *bag* of V views: several images of one patient, or several augmentations of one
image. Its gradient is the sum over its views, cross terms included. Rules see the views of a bag as further positions,
beside those that a convolution slides over, so that one formula serves both.

Notation: N bags of V views, M = N·V images; `b` is the gradient of the loss with respect to the layer's output.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor


@dataclass(frozen=True)
class Factors:
    """What each unit's gradient is multiplied by before the sum.

    Attributes:
        values: float[N]; 0 for a unit whose gradient is not finite.
        spoilt: bool[N], which units those are; None where it is known that there are none.
    """

    values: Tensor
    spoilt: Tensor | None = None

    def keep(self, values: Tensor, each: int) -> Tensor:
        """`values` [N·each, ...] with zeros for spoilt units: 0 times infinity would spoil the sum."""
        if self.spoilt is None:
            return values
        return values.masked_fill(_rows(self.spoilt, values, each), 0.0)

    def scale(self, values: Tensor, each: int) -> Tensor:
        """`values` [N·each, ...], each row times the factor of its unit."""
        return self.keep(values, each) * _rows(self.values, values, each).to(values.dtype)


class Contribution(NamedTuple):
    """What one parameter adds to the gradients of the units.

    Attributes:
        parameter: the parameter.
        squared_norms: float[N], ‖gᵢ‖² of its part of each unit's gradient.
        weighted_sum: Σᵢ factorᵢ·gᵢ, shaped like the parameter.
    """

    parameter: Tensor
    squared_norms: Tensor
    weighted_sum: Callable[[Factors], Tensor]


Rule = Callable[[Any, Tensor, Tensor, int], Iterator[Contribution]]
"""Takes a layer, its input [M, ...], the gradient at its output [M, ...] and V; yields one contribution a parameter.

A rule is exact: it yields what a loop over the bags would give, up to rounding.
"""


def per_bag(values: Tensor, views: int) -> Tensor:
    """The sum over the views of each bag: [M, ...] to [N, ...]."""
    return values if views == 1 else values.unflatten(0, (-1, views)).sum(dim=1)


def formed(parameter: Tensor, gradients: Tensor) -> Contribution:
    """The contribution of gradients that were formed unit by unit: [N, ..., K], each of the parameter's size."""
    rows = gradients.flatten(1)

    def weighted_sum(factors: Factors) -> Tensor:
        return (factors.values.to(rows.dtype) @ factors.keep(rows, 1)).view_as(parameter)

    # Twenty times faster than the sum of squares, which it does not write out; in two stages, since one long float32
    # sum would lose digits.
    parts = torch.linalg.vector_norm(gradients, dim=-1)
    return Contribution(parameter, torch.linalg.vector_norm(parts.view(len(rows), -1), dim=1).square(), weighted_sum)


def _rows(of_units: Tensor, values: Tensor, each: int) -> Tensor:
    """One value a unit [N] as one value a row of `values` [N·each, ...], ready to broadcast."""
    repeated = of_units if each == 1 else of_units.repeat_interleave(each)
    return repeated.view(-1, *(1,) * (values.dim() - 1))
