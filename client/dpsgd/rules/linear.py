"""Linear layers: the gradient of a unit is Σₜ bₜ aₜᵀ over its positions t."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from client.dpsgd.rules.base import Contribution, Factors, formed


def linear(layer: nn.Linear, inputs: Tensor, b: Tensor, views: int) -> Iterator[Contribution]:
    """‖Σₜ bₜ aₜᵀ‖² = Σₜₛ (aₜ·aₛ)(bₜ·bₛ) (Goodfellow, 2015; Li et al., 2021, eq. 4), or by forming the gradient."""
    a, gradient = inputs.flatten(0, -2), b.flatten(0, -2)
    positions = len(a) // max(1, len(inputs)) * views
    by_bag_a, by_bag_b = (part.view(-1, positions, part.shape[-1]) for part in (a, gradient))
    size = a.shape[1] * gradient.shape[1]
    if positions == 1:
        squared = a.square().sum(dim=1) * gradient.square().sum(dim=1)
    elif positions * (a.shape[1] + gradient.shape[1]) <= size:
        squared = inner_product_of_grams(by_bag_a, by_bag_b)
    else:
        squared = None

    def weighted_sum(factors: Factors) -> Tensor:
        return factors.scale(gradient, positions).T @ factors.keep(a, positions)

    if squared is None:
        yield formed(layer.weight, by_bag_b.mT @ by_bag_a)
    else:
        yield Contribution(layer.weight, squared, weighted_sum)
    if layer.bias is not None:  # pyright: ignore[reportUnnecessaryComparison]  (torch types it as always there)
        yield formed(layer.bias, by_bag_b.sum(dim=1))


def inner_product_of_grams(a: Tensor, b: Tensor) -> Tensor:
    """Σₜₛ (aₜ·aₛ)(bₜ·bₛ): float[N] of a [N, T, I] and b [N, T, O]."""
    return torch.linalg.vecdot((a @ a.mT).flatten(1), (b @ b.mT).flatten(1))
