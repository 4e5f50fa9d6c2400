"""Normalisation within one image: y = γ·x̂ + β, so that ∂γ = Σ b·x̂ and ∂β = Σ b over the positions of a channel."""

from collections.abc import Iterator

from torch import Tensor, nn
from torch.nn import functional as F

from silogan.client.mechanism.dpsgd.rules.base import Contribution, formed, per_bag


def group_norm(layer: nn.GroupNorm, inputs: Tensor, b: Tensor, views: int) -> Iterator[Contribution]:
    """γ and β of each channel."""
    yield from _per_channel(layer, F.group_norm(inputs, layer.num_groups, eps=layer.eps), b, views)


def instance_norm(layer: nn.InstanceNorm2d, inputs: Tensor, b: Tensor, views: int) -> Iterator[Contribution]:
    """γ and β of each channel, where the layer has them (`affine=True`)."""
    yield from _per_channel(layer, F.instance_norm(inputs, eps=layer.eps), b, views)


def layer_norm(layer: nn.LayerNorm, inputs: Tensor, b: Tensor, views: int) -> Iterator[Contribution]:
    """γ and β of each place of the normalised shape."""
    normalised = F.layer_norm(inputs, layer.normalized_shape, eps=layer.eps)
    between = tuple(range(1, inputs.dim() - len(layer.normalized_shape)))
    yield from _affine(layer, normalised * b, b, between, views)


def _per_channel(
    layer: nn.GroupNorm | nn.InstanceNorm2d, normalised: Tensor, b: Tensor, views: int
) -> Iterator[Contribution]:
    yield from _affine(layer, normalised * b, b, tuple(range(2, b.dim())), views)


def _affine(
    layer: nn.GroupNorm | nn.InstanceNorm2d | nn.LayerNorm,
    of_scale: Tensor,
    of_shift: Tensor,
    positions: tuple[int, ...],
    views: int,
) -> Iterator[Contribution]:
    """Contributions of γ and β, given their gradients at every position [M, ...] and which dimensions to sum."""
    for parameter, gradient in ((layer.weight, of_scale), (layer.bias, of_shift)):
        if parameter is not None:  # pyright: ignore[reportUnnecessaryComparison]  (torch types it as always there)
            yield formed(parameter, per_bag(gradient.sum(dim=positions) if positions else gradient, views))
