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
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from client.mechanism.clip import Factors, gamma, squared_norms
from client.mechanism.dpsgd.rules.base import Contribution, at_once, formed, per_bag
from client.mechanism.dpsgd.rules.linear import inner_product_of_grams, sum_of_products
from client.mechanism.noisy_sum import group_size
from common.standardised import StandardisedConv2d

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

    @property
    def overlap(self) -> int:
        """Most patches that a pixel is in."""
        return math.prod(max(map(len, self.shifts_by_phase(axis).values())) for axis in (0, 1))

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
    gradients = _gradients(_by_bag(image, layer.groups, views, window), _positions(b, layer.groups, views), window)
    yield formed(layer.weight, layer.weight_gradient(_arranged(gradients, (len(b) // views, *layer.weight.shape))))
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
        image = F.pad(b, _edges(window))[..., : window.extent(0), : window.extent(1)].contiguous()
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
    by_bag, b_by_bag = _by_bag(image, groups, views, window), _positions(b, groups, views)
    if not _grams_are_cheaper(by_bag, b_by_bag, window):
        rows = _gradients(by_bag, b_by_bag, window).unflatten(0, (-1, groups))
        return formed(layer.weight, rows, lambda total: _arranged(total, shape))

    def weighted_sum(factors: Factors) -> Tensor:
        together = views * group_size(b_by_bag.shape[2], len(factors.values))
        kept = _by_bag(factors.keep(image, views), groups, together, window)
        weighted = _positions(factors.scale(b, views), groups, together)
        return _arranged(_sum_of_gradients(kept, weighted, window, groups), shape)

    # Σₜ ‖bₜ‖‖pₜ‖ ≤ ‖b‖‖p‖ (Cauchy and Schwarz), where a pixel counts in each patch that it is in.
    reach = window.overlap * squared_norms(by_bag) * squared_norms(b_by_bag)
    terms = by_bag.shape[2] * math.prod(window.kernel) + sum(b_by_bag.shape[1:])
    squared = _squared_norms(by_bag, b_by_bag, window) + gamma(terms + 3) * reach
    each = (part.view(-1, groups).sum(dim=1) for part in (squared, reach))
    return Contribution(layer.weight, *each, weighted_sum)


def _by_bag(images: Tensor, groups: int, views: int, window: _Window) -> Tensor:
    """[M, C, H, W], padded, as [N·groups, V, C/groups, H, W]: channel groups never meet, each is a unit by itself."""
    return _split(F.pad(images, _edges(window)), groups, views)


def _positions(b: Tensor, groups: int, views: int) -> Tensor:
    """[M, O, h, w] as [N·groups, O/groups, V·h·w]."""
    return _split(b, groups, views).transpose(1, 2).flatten(2)


def _split(images: Tensor, groups: int, views: int) -> Tensor:
    return images.unflatten(1, (groups, -1)).unflatten(0, (-1, views)).transpose(1, 2).flatten(0, 1)


def _arranged(gradients: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Gradients with the channels last, [..., O, k·k·C], as a weight is [..., O, C, k, k]."""
    *outer, channels, high, wide = shape
    return gradients.view(*outer, high, wide, channels).movedim(-1, -3)


def _edges(window: _Window) -> tuple[int, int, int, int]:
    return window.padding[1], window.padding[1], window.padding[0], window.padding[0]


def _squared_norms(images: Tensor, b: Tensor, window: _Window) -> Tensor:
    """‖Σₜ bₜ pₜᵀ‖² = Σₜₛ (pₜ·pₛ)(bₜ·bₛ) (Goodfellow, 2015; Bu et al., 2022, eq. 2.4): float64[N]."""
    pixels = images.shape[1] * images[0, 0, 0].numel()
    size = at_once(images, pixels * pixels)
    parts = [
        inner_product_of_grams(_patch_gram(some, window), their_b.mT @ their_b)
        for some, their_b in zip(images.split(size), b.split(size), strict=True)
    ]
    return torch.cat(parts)


def _patch_gram(images: Tensor, window: _Window) -> Tensor:
    """Inner products of all patches of a bag: [N, V, C, H, W] to [N, V·h·w, V·h·w]."""
    (h, w), (s_h, s_w) = window.positions, window.stride
    phases: defaultdict[tuple[tuple[int, ...], tuple[int, ...]], list[Tensor]] = defaultdict(list)
    for (p_h, down), (p_w, right) in product(window.shifts_by_phase(0).items(), window.shifts_by_phase(1).items()):
        phase = images[..., p_h::s_h, p_w::s_w][..., : down[-1] + h, : right[-1] + w]
        phases[down, right].append(phase)
    grams = [
        _over_taps(_over_taps(_pixel_gram(parts), down, h, axis=0), right, w, axis=1)
        for (down, right), parts in phases.items()
    ]
    return functools.reduce(torch.add, grams).flatten(1, 3).flatten(2)


def _pixel_gram(phases: list[Tensor]) -> Tensor:
    """Inner products of all pixels of a bag, over channels and phases: [N, V, H', W', V, H', W']."""
    pixels = torch.cat(phases, dim=2).transpose(1, 2)  # [N, C·phases, V, H', W']
    flat = pixels.flatten(2)
    return (flat.mT @ flat).unflatten(2, pixels.shape[2:]).unflatten(1, pixels.shape[2:])


def _over_taps(gram: Tensor, shifts: tuple[int, ...], positions: int, *, axis: int) -> Tensor:
    """Sums a Gram matrix of pixels over the taps along one axis: a tap shifts both pixels of a product together."""
    row, column = 2 + axis, 5 + axis
    shifted = [gram.narrow(row, shift, positions).narrow(column, shift, positions) for shift in shifts]
    return functools.reduce(torch.add, shifted)


def _gradients(images: Tensor, b: Tensor, window: _Window) -> Tensor:
    """Every bag's own gradient, channels last: float32[N, O, k·k·C]."""
    size = at_once(images, images.shape[2] * math.prod(window.kernel) * b.shape[2])
    pairs = zip(_patches(images, window).split(size), b.split(size), strict=True)
    return torch.cat([torch.bmm(their_b, _written_out(some)) for some, their_b in pairs])


def _sum_of_gradients(images: Tensor, b: Tensor, window: _Window, groups: int) -> Tensor:
    """The sum of the bags' gradients, channels last: float64[groups, O, k·k·C]."""
    patches = _patches(images, window).unflatten(0, (-1, groups)).transpose(0, 1)
    by_group = b.unflatten(0, (-1, groups)).transpose(0, 1)
    return torch.stack(
        [sum_of_products(its_b, some, _written_out) for its_b, some in zip(by_group, patches, strict=True)]
    )


def _patches(images: Tensor, window: _Window) -> Tensor:
    """A view [N, V, h, w, k, k, C] in which every position has its patch; runs of channels are quick to write out."""
    last = images.movedim(2, -1).contiguous()
    n, views, _, _, channels = last.shape
    (k_h, k_w), (s_h, s_w), (d_h, d_w), (h, w) = window.kernel, window.stride, window.dilation, window.positions
    of_bag, of_view, down, right, of_channel = last.stride()
    return last.as_strided(
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
    _, views, channels, height, width = images.shape
    _, outputs, positions = b.shape
    pixels, taps, phases = views * height * width, math.prod(window.kernel), math.prod(window.stride)
    products = pixels**2 // phases * channels + positions**2 * outputs
    moved = 2 * channels * pixels + 3 * pixels**2 // phases + (taps + 2) * positions**2
    written = (2 * positions + 3 * outputs) * channels * taps
    return products + _TRAFFIC * moved <= _TRAFFIC * written
