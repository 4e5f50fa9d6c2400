"""Linear layers: the gradient of a unit is Σₜ bₜ aₜᵀ over its positions t."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from silogan.client.mechanism.clip import FLOOR, Factors, gamma, squared_norms
from silogan.client.mechanism.dpsgd.rules.base import Contribution, formed
from silogan.client.mechanism.noisy_sum import POSITIONS, PRODUCTS, group_size


def linear(layer: nn.Linear, inputs: Tensor, b: Tensor, views: int) -> Iterator[Contribution]:
    """‖Σₜ bₜ aₜᵀ‖² = Σₜₛ (aₜ·aₛ)(bₜ·bₛ) (Goodfellow, 2015; Li et al., 2021, eq. 4), or by forming the gradient."""
    a, gradient = inputs.flatten(0, -2), b.flatten(0, -2)
    positions = len(a) // len(inputs) * views
    by_bag_a, by_bag_b = (part.view(-1, positions, part.shape[-1]) for part in (a, gradient))

    def weighted_sum(factors: Factors) -> Tensor:
        together = positions * group_size(positions, len(factors.values))
        kept, weighted = factors.keep(a, positions), factors.scale(gradient, positions)
        kept, weighted = (part.view(-1, together, part.shape[1]) for part in (kept, weighted))
        return sum_of_products(weighted.mT, kept)

    if positions == 1:
        squared = squared_norms(by_bag_a) * squared_norms(by_bag_b)
        yield Contribution(layer.weight, squared, squared, weighted_sum)
    elif positions * (a.shape[1] + gradient.shape[1]) <= a.shape[1] * gradient.shape[1]:
        first, second = (part @ part.mT for part in (by_bag_a, by_bag_b))
        squared, reach = bounds_by_grams(first, second, a.shape[1] + gradient.shape[1])
        yield Contribution(layer.weight, squared, reach, weighted_sum)
    else:
        yield formed(layer.weight, by_bag_b.mT @ by_bag_a)
    if layer.bias is not None:  # pyright: ignore[reportUnnecessaryComparison]  (torch types it as always there)
        yield formed(layer.bias, by_bag_b.sum(dim=1))


def bounds_by_grams(first: Tensor, second: Tensor, terms: int) -> tuple[Tensor, Tensor]:
    """Upper bounds of ‖Σₜ bₜ aₜᵀ‖² and of the squared reach (Σₜ ‖bₜ‖‖aₜ‖)², float64[N] each, from Gram matrices.

    Args:
        first: aₜ·aₛ, float[N, T, T].
        second: bₜ·bₛ, float[N, T, T].
        terms: products that were added up for an entry of the one and of the other, together.

    The norm is Σₜₛ (aₜ·aₛ)(bₜ·bₛ), over s in float32. Each of its summands is at most ‖aₜ‖‖bₜ‖‖aₛ‖‖bₛ‖, so its rounding
    is at most γ times the squared reach, which is taken from the diagonals: there nothing cancels. What is below 0 is
    rounding, or has overflown: its absolute value is right, or infinite.
    """
    lengths = [gram.diagonal(dim1=1, dim2=2).double() + terms * FLOOR for gram in (first, second)]
    error = gamma(terms + first.shape[2] + 3)
    reach = (lengths[0] * lengths[1]).sqrt_().sum(dim=1).square_() * (1 + 2 * error)
    squared = torch.linalg.vecdot(first, second).double().sum(dim=1).abs_()
    return squared + error * reach + FLOOR, reach


def sum_of_products(b: Tensor, a: Tensor, written_out: Callable[[Tensor], Tensor] = lambda a: a) -> Tensor:
    """Σ bₜ aₜᵀ over groups and positions: float64[O, I].

    Args:
        b: float[G, O, T], G groups of units.
        a: what `written_out` turns into float32[G, T, I].
        written_out: applied to as many groups as are added up in float32.
    """
    total = torch.zeros(1, 1, dtype=torch.float64, device=b.device)
    for some_b, some_a in zip(b.split(PRODUCTS), a.split(PRODUCTS), strict=True):
        parts = zip(some_b.split(POSITIONS, dim=2), written_out(some_a).split(POSITIONS, dim=1), strict=True)
        for left, right in parts:
            total = total + torch.bmm(left, right).sum(dim=0)
    return total
