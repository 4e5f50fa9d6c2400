"""First values of the parameters, drawn from a given generator so that a seed fixes them."""

import math

import torch
from torch import Tensor, nn

from silogan.common.models.networks.base import GAN
from silogan.common.models.networks.refiner import StartsAtZero

GENERATOR_GAIN = 1.5
"""Above the 1.4 that keeps the variance through LeakyReLU: a generator that starts out diverse collapses less."""

DISCRIMINATOR_GAIN = 1.0


def initialise(gan: GAN, rng: torch.Generator) -> None:
    """Re-draws every parameter of both networks, in place.

    Weights are N(0, gain² / fan-in) (LeCun et al., 1998, section 4.6; He et al., 2015, for the gain), biases 0,
    as what starts at zero; normalisation layers start as the identity.

    Args:
        gan: networks on the device of `rng`.
        rng: the only source of randomness.
    """
    for network, gain in zip(gan, (GENERATOR_GAIN, DISCRIMINATOR_GAIN), strict=True):
        for layer in network.modules():
            for name, parameter in layer.named_parameters(recurse=False):
                _draw(layer, name, parameter, gain, rng)


def _draw(layer: nn.Module, name: str, parameter: nn.Parameter, gain: float, rng: torch.Generator) -> None:
    if name == "bias" or isinstance(layer, StartsAtZero):
        nn.init.zeros_(parameter)
    elif isinstance(layer, nn.GroupNorm | nn.LayerNorm | nn.InstanceNorm2d):
        nn.init.ones_(parameter)
    else:
        nn.init.normal_(parameter, std=gain * _fan_in(layer, parameter) ** -0.5, generator=rng)


def _fan_in(layer: nn.Module, weight: Tensor) -> float:
    """How many inputs reach one output; for an embedding, the length of a row, which weighs as many features."""
    if isinstance(layer, nn.ConvTranspose2d):
        return weight.shape[0] * math.prod(layer.kernel_size) / math.prod(layer.stride)
    return weight[0].numel()
