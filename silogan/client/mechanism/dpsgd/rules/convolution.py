"""Convolutions: the gradient of a unit is Σₜ bₜ pₜᵀ over its positions t, pₜ being the patch of the image under t.

A norm needs the inner products of all patches with each other (their Gram matrix). Overlapping patches share their
pixels, so no patch is written out: with stride s the taps of a kernel fall into s·s phases, and the product of two
patches is a sum of products of two pixels of one phase, shifted. A 4x4 kernel of stride 2 has four phases of 2x2 taps:
its Gram matrix costs a quarter of what written-out patches would, that of a 3x3 kernel of stride 1 a ninth.
"""

import functools
import math
from collections import defaultdict
from collections.abc import Iterator
from itertools import product
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.grad import conv2d_weight

from silogan.client.mechanism.clip import Factors
from silogan.client.mechanism.dpsgd.rules.base import Contribution, at_once, formed, per_bag
from silogan.client.mechanism.dpsgd.rules.linear import bounds_by_grams, sum_of_products
from silogan.client.mechanism.noisy_sum import group_size
from silogan.common.models.networks.standardised import StandardisedConv2d

_TRAFFIC = 16
"""Multiplications that take about as long as moving one value to or from memory."""

Pair = tuple[int, int]


class _Window(NamedTuple):
    """How a kernel moves over an image: (height, width) of everything."""

    kernel: Pair
    stride: Pair
    dilation: Pair
    padding: Pair
    positions: Pair

    @classmethod
    def of(cls, layer: nn.Conv2d | nn.ConvTranspose2d, padding: Pair, positions: torch.Size) -> "_Window":
        kernel, stride, dilation = (cast(Pair, sizes) for sizes in (layer.kernel_size, layer.stride, layer.dilation))
        return cls(kernel, stride, dilation, padding, (positions[0], positions[1]))

    def extent(self, axis: int) -> int:
        """Pixels, padding included, that the positions reach."""
        return (self.positions[axis] - 1) * self.stride[axis] + self.dilation[axis] * (self.kernel[axis] - 1) + 1

    def shifts_by_phase(self, axis: int) -> dict[int, tuple[int, ...]]:
        """Tap j lies in phase (d·j mod s), shifted by (d·j div s)."""
        found: defaultdict[int, tuple[int, ...]] = defaultdict(tuple)
        for tap in range(self.kernel[axis]):
            shift, phase = divmod(self.dilation[axis] * tap, self.stride[axis])
            found[phase] += (shift,)
        return found


def conv2d(layer: nn.Conv2d, inputs: Tensor, b: Tensor, views: int) -> Iterator[Contribution]:
    """Weight and bias of a convolution; any stride, padding, dilation and groups."""
    yield _kernel(layer, *_image(layer, inputs, b), b, views)
    yield from _bias(layer, b, views)


def standardised_conv2d(layer: StandardisedConv2d, inputs: Tensor, b: Tensor, views: int) -> Iterator[Contribution]:
    """A convolution with the weight ŵ(w): each unit's gradient for ŵ is formed and taken back to w."""
    image, window = _image(layer, inputs, b)
    images, gradients = (_by_bag(part, layer.groups, views) for part in (_pixels(image, window.padding), _pixels(b)))
    rows = _arranged(_gradients(images, gradients, window), (len(b) // views, *layer.weight.shape))
    yield formed(layer.weight, layer.weight_gradient(rows))
    yield from _bias(layer, b, views)


def _image(layer: nn.Conv2d, inputs: Tensor, b: Tensor) -> tuple[Tensor, _Window]:
    """What the kernel moves over, and how; padding other than by zeros is done here."""
    if layer.padding_mode == "zeros" and not isinstance(layer.padding, str):
        image, padding = inputs, cast(Pair, layer.padding)
    else:
        mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
        edges: list[int] = layer._reversed_padding_repeated_twice  # pyright: ignore[reportPrivateUsage]
        image, padding = F.pad(inputs, edges, mode=mode), (0, 0)
    return image, _Window.of(layer, padding, b.shape[-2:])


def conv_transpose2d(layer: nn.ConvTranspose2d, inputs: Tensor, b: Tensor, views: int) -> Iterator[Contribution]:
    """A transposed convolution is the convolution from its output to its input: they change places."""
    image, window = b, _Window.of(layer, cast(Pair, layer.padding), inputs.shape[-2:])
    if any(layer.output_padding):  # rows and columns that no tap may have reached
        high, wide = window.padding
        image = F.pad(b, (wide, wide, high, high))[..., : window.extent(0), : window.extent(1)]
        window = window._replace(padding=(0, 0))
    yield _kernel(layer, image, window, inputs, views)
    yield from _bias(layer, b, views)


def _bias(layer: nn.Conv2d | nn.ConvTranspose2d, b: Tensor, views: int) -> Iterator[Contribution]:
    if layer.bias is not None:
        yield formed(layer.bias, per_bag(b.sum(dim=(2, 3)), views))


def _kernel(
    layer: nn.Conv2d | nn.ConvTranspose2d, image: Tensor, window: _Window, b: Tensor, views: int
) -> Contribution:
    """The contribution of the weight: patches of `image` [M, C, H, W] against `b` [M, O, h, w]."""
    groups, shape = layer.groups, layer.weight.shape
    pixels, at_output = _pixels(image, window.padding), _pixels(b)
    images, gradients = (_by_bag(values, groups, views) for values in (pixels, at_output))
    if not _grams_are_cheaper(images, gradients, window):
        rows = _gradients(images, gradients, window).unflatten(0, (-1, groups))
        return formed(layer.weight, rows, lambda total: _arranged(total, shape))

    def weighted_sum(factors: Factors) -> Tensor:
        together = views * group_size(gradients[0, ..., 0].numel(), len(factors.values))
        kept = _by_bag(factors.keep(pixels, views), groups, together)
        weighted = _by_bag(factors.scale(at_output, views), groups, together)
        return _arranged(_sum_of_gradients(kept, weighted, window, groups), shape)

    def public_sum(factors: Factors) -> Tensor:
        kept, weighted = factors.keep(image, views), factors.scale(b, views)
        how: Any = (window.stride, window.padding, window.dilation, groups)  # torch types pairs as int
        return conv2d_weight(kept, shape, weighted, *how)

    squared, reach = (part.view(-1, groups).sum(dim=1) for part in _bounds(images, gradients, window))
    return Contribution(layer.weight, squared, reach, weighted_sum, public_sum)


def _pixels(images: Tensor, padding: Pair = (0, 0)) -> Tensor:
    """[M, C, H, W], padded, as [M, H, W, C], contiguous: the channels of a pixel are read and written in one run."""
    (high, wide), pixels = padding, images.movedim(1, -1)  # F.pad would copy where there is nothing to pad
    return (F.pad(pixels, (0, 0, wide, wide, high, high)) if high or wide else pixels).contiguous()


def _by_bag(pixels: Tensor, groups: int, views: int) -> Tensor:
    """[M, H, W, C] as [N·groups, V, H, W, C/groups]: channel groups never meet, each is a unit by itself."""
    return pixels.unflatten(-1, (groups, -1)).unflatten(0, (-1, views)).movedim(4, 1).flatten(0, 1).contiguous()


def _arranged(gradients: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Gradients with the channels last, [..., O, k·k·C], as a weight is [..., O, C, k, k]."""
    *outer, channels, high, wide = shape
    return gradients.view(*outer, high, wide, channels).movedim(-1, -3)


def _bounds(images: Tensor, b: Tensor, window: _Window) -> tuple[Tensor, Tensor]:
    """`bounds_by_grams` of each unit: its patches against `b` [N, V, h, w, O] (Bu et al., 2022, eq. 2.4)."""
    pixels = images[0, ..., 0].numel()
    size, terms = at_once(images, pixels * pixels), images.shape[-1] * math.prod(window.kernel) + b.shape[-1]
    pairs = zip(images.split(size), b.split(size), strict=True)
    parts = (bounds_by_grams(_patch_gram(some, window), _gram(their_b), terms) for some, their_b in pairs)
    squared, reach = zip(*parts, strict=True)
    return torch.cat(squared), torch.cat(reach)


def _gram(pixels: Tensor) -> Tensor:
    """Inner products of all pixels of a bag: [N, V, H, W, C] to [N, V·H·W, V·H·W]."""
    flat = pixels.flatten(1, 3)
    return flat @ flat.mT


def _patch_gram(images: Tensor, window: _Window) -> Tensor:
    """Inner products of all patches of a bag: [N, V, H, W, C] to [N, V·h·w, V·h·w]."""
    (h, w), (s_h, s_w) = window.positions, window.stride
    phases: defaultdict[tuple[tuple[int, ...], tuple[int, ...]], list[Tensor]] = defaultdict(list)
    for (p_h, down), (p_w, right) in product(window.shifts_by_phase(0).items(), window.shifts_by_phase(1).items()):
        phases[down, right].append(images[:, :, p_h::s_h, p_w::s_w][:, :, : down[-1] + h, : right[-1] + w])
    grams: list[Tensor] = []
    for (down, right), parts in phases.items():
        together = torch.cat(parts, dim=-1)
        gram = _gram(together).unflatten(2, together.shape[1:4]).unflatten(1, together.shape[1:4])
        grams.append(_over_taps(_over_taps(gram, down, h, axis=0), right, w, axis=1))
    return functools.reduce(torch.add, grams).flatten(1, 3).flatten(2)


def _over_taps(gram: Tensor, shifts: tuple[int, ...], positions: int, *, axis: int) -> Tensor:
    """Sums a Gram matrix of pixels over the taps along one axis: a tap shifts both pixels of a product together."""
    row, column = 2 + axis, 5 + axis
    shifted = [gram.narrow(row, shift, positions).narrow(column, shift, positions) for shift in shifts]
    return functools.reduce(torch.add, shifted)


def _gradients(images: Tensor, b: Tensor, window: _Window) -> Tensor:
    """Every bag's own gradient: float[N, O, k·k·C]."""
    size = at_once(images, images.shape[-1] * math.prod(window.kernel) * math.prod(window.positions))
    rows = b.new_empty(len(b), b.shape[-1], images.shape[-1] * math.prod(window.kernel))
    parts = (_patches(images, window), b.flatten(1, 3).mT, rows)
    for some, their_b, their_rows in zip(*(part.split(size) for part in parts), strict=True):
        torch.bmm(their_b, _written_out(some), out=their_rows)
    return rows


def _sum_of_gradients(images: Tensor, b: Tensor, window: _Window, groups: int) -> Tensor:
    """The sum of the bags' gradients: float64[groups, O, k·k·C]."""
    patches, left = (values.unflatten(0, (-1, groups)) for values in (_patches(images, window), b.flatten(1, 3).mT))
    return torch.stack([sum_of_products(left[:, g], patches[:, g], _written_out) for g in range(groups)])


def _patches(images: Tensor, window: _Window) -> Tensor:
    """A view [N, V, h, w, k, k, C] of [N, V, H, W, C] in which every position has its patch."""
    n, views, _, _, channels = images.shape
    (k_h, k_w), (s_h, s_w), (d_h, d_w), (h, w) = window.kernel, window.stride, window.dilation, window.positions
    of_bag, of_view, down, right, of_channel = images.stride()
    return images.as_strided(
        (n, views, h, w, k_h, k_w, channels),
        (of_bag, of_view, s_h * down, s_w * right, d_h * down, d_w * right, of_channel),
    )


def _written_out(patches: Tensor) -> Tensor:
    """[N, V·h·w, k·k·C]."""
    return patches.flatten(1, 3).flatten(2)


def _grams_are_cheaper(images: Tensor, b: Tensor, window: _Window) -> bool:
    """Whether a norm by Gram matrices, and the gradient's share of the sum, costs less than forming the gradient.

    Both in multiplications for a unit, and the traffic of memory in as many as take its time.
    """
    channels, outputs = images.shape[-1], b.shape[-1]
    pixels, positions = (values[0, ..., 0].numel() for values in (images, b))
    taps, phases = math.prod(window.kernel), math.prod(window.stride)
    products = pixels**2 // phases * channels + positions**2 * outputs
    moved = 2 * channels * pixels + 3 * pixels**2 // phases + (taps + 2) * positions**2
    written = (2 * positions + 3 * outputs) * channels * taps
    return products + _TRAFFIC * moved <= _TRAFFIC * written
