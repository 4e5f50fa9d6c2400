"""Embeddings: the gradient of row i is the sum of b over the positions that looked row i up."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from silogan.client.mechanism.clip import Factors
from silogan.client.mechanism.dpsgd.rules.base import Contribution
from silogan.client.mechanism.dpsgd.rules.linear import bounds_by_grams


def embedding(layer: nn.Embedding, indices: Tensor, b: Tensor, views: int) -> Iterator[Contribution]:
    """The rule of a linear layer whose inputs are one-hot: aₜ·aₛ is 1 where t and s looked up the same row.

    The sum is formed in float64.
    """
    positions = indices[0].numel() * views
    ids, gradient = indices.reshape(-1), b.flatten(0, -2)
    if layer.padding_idx is not None:
        gradient = gradient.masked_fill((ids == layer.padding_idx).unsqueeze(1), 0.0)
    by_bag = gradient.view(-1, positions, gradient.shape[1])
    same = ids.view(-1, positions, 1) == ids.view(-1, 1, positions)
    squared, reach = bounds_by_grams(same.to(b.dtype), by_bag @ by_bag.mT, gradient.shape[1])

    def weighted_sum(factors: Factors) -> Tensor:
        total = torch.zeros(layer.weight.shape, dtype=torch.float64, device=b.device)
        return total.index_add_(0, ids, factors.scale(gradient.double(), positions))

    yield Contribution(layer.weight, squared, reach, weighted_sum)
