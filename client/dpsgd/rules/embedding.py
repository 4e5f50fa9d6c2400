"""Embeddings: the gradient of row i is the sum of b over the positions that looked row i up."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from client.dpsgd.rules.base import Contribution, Factors


def embedding(layer: nn.Embedding, indices: Tensor, b: Tensor, views: int) -> Iterator[Contribution]:
    """The rule of a linear layer whose inputs are one-hot: aₜ·aₛ is 1 where t and s looked up the same row."""
    positions = indices[0].numel() * views if len(indices) else 1
    ids, gradient = indices.reshape(-1), b.flatten(0, -2)
    if layer.padding_idx is not None:
        gradient = gradient * (ids != layer.padding_idx).unsqueeze(1)
    if positions == 1:
        squared = gradient.square().sum(dim=1)
    else:
        same = ids.view(-1, positions, 1) == ids.view(-1, 1, positions)
        by_bag = gradient.view(-1, positions, gradient.shape[1])
        squared = torch.linalg.vecdot(same.to(b.dtype).flatten(1), (by_bag @ by_bag.mT).flatten(1))

    def weighted_sum(factors: Factors) -> Tensor:
        total = torch.zeros(layer.weight.shape, dtype=b.dtype, device=b.device)
        return total.index_add_(0, ids, factors.scale(gradient, positions))

    yield Contribution(layer.weight, squared, weighted_sum)
