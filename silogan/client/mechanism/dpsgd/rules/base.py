"""What a rule computes for one layer: bounds of each unit's gradient, and the sum of the gradients times given factors.

A unit of privacy (a patient) is a *bag* of V views: several images of one patient, or several augmentations of one
image. Its gradient is the sum over its views, cross terms included. Rules see the views of a bag as further positions,
beside those that a convolution slides over, so that one formula serves both. A group of units that is added up in
float32 is a bag once more: its views are those of all its units.

Notation: N bags of V views, M = N·V images; `b` is the gradient of the loss with respect to the layer's output.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from silogan.client.mechanism.clip import Factors, squared_norms


class Contribution(NamedTuple):
    """One parameter's part of the gradients of the units.

    Attributes:
        parameter: the parameter.
        squared: float64[N], upper bounds of ‖gᵢ‖² of its part of each unit's gradient.
        reach: float64[N], squared reaches (`client/mechanism/clip.py`).
        weighted_sum: Σᵢ factorᵢ·gᵢ, float64, shaped like the parameter; within the errors of `noisy_sum.py`.
        public_sum: the same as the library adds it up: quicker, without a bound on its errors; None if there is
            no such way.
    """

    parameter: Tensor
    squared: Tensor
    reach: Tensor
    weighted_sum: Callable[[Factors], Tensor]
    public_sum: Callable[[Factors], Tensor] | None = None


Rule = Callable[[Any, Tensor, Tensor, int], Iterator[Contribution]]
"""Takes a layer, its input [M, ...], the gradient at its output [M, ...] and V; yields one contribution a parameter.

A rule is exact: it yields what a loop over the bags would give, up to rounding that its bounds contain.
"""

_AT_ONCE = {"cpu": 1 << 22, "cuda": 1 << 26}
"""Values that are made at one time, by type of device: a CPU keeps them in its cache."""


def at_once(values: Tensor, each: int) -> int:
    """Rows that are processed at once if each makes `each` values."""
    return max(1, _AT_ONCE.get(values.device.type, _AT_ONCE["cpu"]) // each)


def per_bag(values: Tensor, views: int) -> Tensor:
    """The sum over the views of each bag: [M, ...] to [N, ...]."""
    return values if views == 1 else values.unflatten(0, (-1, views)).sum(dim=1)


def formed(
    parameter: Tensor, gradients: Tensor, arrange: Callable[[Tensor], Tensor] = lambda total: total
) -> Contribution:
    """The contribution of gradients that were formed unit by unit: float32[N, ..., K], each of the parameter's size.

    What was formed is what is added, in float64: its own norm is its reach. `arrange` puts the sum of rows into the
    order of the parameter.
    """
    rows = gradients.flatten(1)

    def weighted_sum(factors: Factors) -> Tensor:
        total = torch.zeros(rows.shape[1], dtype=torch.float64, device=rows.device)
        kept, weights = factors.keep(rows, 1), factors.values.double()
        for some, their_weights in zip(kept.split(32), weights.split(32), strict=True):
            total += their_weights @ some.double()
        return arrange(total).reshape(parameter.shape)

    squared = squared_norms(gradients)
    return Contribution(parameter, squared, squared, weighted_sum)
