"""Convolutions: the gradient of a unit is Σₜ bₜ pₜᵀ over its positions t, pₜ being the patch of the image under t.

A norm needs the inner products of all patches with each other (their Gram matrix). Overlapping patches share their
pixels, so no patch is written out: with stride s the taps of a kernel fall into s·s phases, and the product of two
patches is a sum of products of two pixels of one phase, shifted. A 4x4 kernel of stride 2 has four phases of 2x2 taps:
its Gram matrix costs a quarter of what written-out patches would, that of a 3x3 kernel of stride 1 a ninth.
"""

import functools
from collections import defaultdict
from collections.abc import Iterator
from itertools import product
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from client.dpsgd.rules.base import Contribution, Factors, formed, per_bag
from common.networks.standardised import StandardisedConv2d

_AT_ONCE = {"cpu": 1 << 22, "cuda": 1 << 26}
"""Values of Gram matrices or patches that are made at one time, by type of device: a CPU keeps them in its cache."""

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
    image, window = _image(layer, inputs, b)
    yield _kernel(layer, image, b, window, views)
    yield from _bias(layer, b, views)


def standardised_conv2d(layer: StandardisedConv2d, inputs: Tensor, b: Tensor, views: int) -> Iterator[Contribution]:
    """A convolution with the weight ŵ(w): each unit's gradient for ŵ is formed and taken back to w."""
    image, window = _image(layer, inputs, b)
    gradients = _gradients(
        _by_bag(F.pad(image, _edges(window)), layer.groups, views), _positions(b, layer, views), window
    )
    yield formed(layer.weight, layer.weight_gradient(gradients.view(-1, *layer.weight.shape)))
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
    yield _kernel(layer, image, inputs, window, views)
    yield from _bias(layer, b, views)


def _bias(layer: nn.Conv2d | nn.ConvTranspose2d, b: Tensor, views: int) -> Iterator[Contribution]:
    if layer.bias is not None:
        yield formed(layer.bias, per_bag(b.sum(dim=(2, 3)), views))


def _kernel(
    layer: nn.Conv2d | nn.ConvTranspose2d, image: Tensor, b: Tensor, window: _Window, views: int
) -> Contribution:
    """The contribution of the weight: patches of `image` [M, C, H, W] against `b` [M, O, h, w]."""
    by_bag = _by_bag(F.pad(image, _edges(window)), layer.groups, views)  # [N·groups, V, C, H, W]
    b_by_bag = _positions(b, layer, views)
    if _cost_of_grams(by_bag, b_by_bag, window) > _cost_of_forming(by_bag, b_by_bag, window):
        gradients = _gradients(by_bag, b_by_bag, window)
        return formed(layer.weight, gradients.unflatten(0, (-1, layer.groups)))

    def weighted_sum(factors: Factors) -> Tensor:
        kept, weighted = factors.keep(image, views), factors.scale(b, views)
        return _weight_gradient(layer.weight, kept, weighted, window, layer.groups)

    squared = _squared_norms(by_bag, b_by_bag, window).view(-1, layer.groups).sum(dim=1)
    return Contribution(layer.weight, squared, weighted_sum)


def _by_bag(images: Tensor, groups: int, views: int) -> Tensor:
    """[M, C, H, W] as [N·groups, V, C/groups, H, W]: channel groups never meet, so each is a unit by itself."""
    return images.unflatten(1, (groups, -1)).unflatten(0, (-1, views)).transpose(1, 2).flatten(0, 1)


def _positions(b: Tensor, layer: nn.Conv2d | nn.ConvTranspose2d, views: int) -> Tensor:
    """[M, O, h, w] as [N·groups, O/groups, V·h·w]."""
    return _by_bag(b, layer.groups, views).transpose(1, 2).flatten(2)


def _edges(window: _Window) -> tuple[int, int, int, int]:
    high, wide = window.padding
    return wide, wide, high, high


def _squared_norms(images: Tensor, b: Tensor, window: _Window) -> Tensor:
    """‖Σₜ bₜ pₜᵀ‖² = Σₜₛ (pₜ·pₛ)(bₜ·bₛ) (Goodfellow, 2015; Bu et al., 2022, eq. 2.4): float[N]."""
    pixels = images.shape[1] * images[0, 0, 0].numel()
    at_once = _at_once(images, pixels * pixels)
    parts = [
        torch.linalg.vecdot(_patch_gram(some, window).flatten(1), (their_b.mT @ their_b).flatten(1))
        for some, their_b in zip(images.split(at_once), b.split(at_once), strict=True)
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
    """Every unit's own gradient: [N, O, C·k·k]."""
    n, views, channels = images.shape[:3]
    (k_h, k_w), (s_h, s_w), (d_h, d_w), (h, w) = window.kernel, window.stride, window.dilation, window.positions
    of_bag, of_view, of_channel, down, right = images.stride()
    # A view in which every position has its patch; written out by the reshape alone, far faster than `F.unfold`.
    patches = images.as_strided(
        (n, channels, k_h, k_w, views, h, w),
        (of_bag, of_channel, d_h * down, d_w * right, of_view, s_h * down, s_w * right),
    )
    gradients = b.new_empty(n, b.shape[1], channels * k_h * k_w)
    at_once = _at_once(images, gradients.shape[2] * b.shape[2])
    for some, their_b, theirs in zip(patches.split(at_once), b.split(at_once), gradients.split(at_once), strict=True):
        torch.bmm(their_b, some.reshape(len(some), gradients.shape[2], -1).mT, out=theirs)
    return gradients


def _at_once(images: Tensor, values: int) -> int:
    """Units that are worked on at one time if each makes so many values."""
    return max(1, _AT_ONCE.get(images.device.type, _AT_ONCE["cpu"]) // values)


def _weight_gradient(weight: Tensor, image: Tensor, b: Tensor, window: _Window, groups: int) -> Tensor:
    """Σ over the images of Σₜ bₜ pₜᵀ, by the library's own backward pass of a convolution."""
    (gradient,) = torch.ops.aten.convolution_backward(
        b,
        image,
        weight,
        None,
        window.stride,
        window.padding,
        window.dilation,
        False,
        (0, 0),
        groups,
        (False, True, False),
    )[1:2]
    return gradient


def _cost_of_grams(images: Tensor, b: Tensor, window: _Window) -> int:
    """Multiplications for a unit, and memory traffic, of its norm by Gram matrices and its share of the sum."""
    _, views, channels, height, width = images.shape
    _, outputs, positions = b.shape
    pixels, taps = views * height * width, window.kernel[0] * window.kernel[1]
    phases = window.stride[0] * window.stride[1]
    products = (pixels * pixels // phases) * channels + positions * positions * outputs
    moved = 2 * channels * pixels + 3 * pixels * pixels // phases + (taps + 2) * positions * positions
    return products + _TRAFFIC * moved + positions * outputs * channels * taps


def _cost_of_forming(images: Tensor, b: Tensor, window: _Window) -> int:
    """The same for forming its gradient, which then only needs to be weighted."""
    _, outputs, positions = b.shape
    patch = images.shape[2] * window.kernel[0] * window.kernel[1]
    return positions * outputs * patch + _TRAFFIC * (2 * positions * patch + 3 * outputs * patch)
