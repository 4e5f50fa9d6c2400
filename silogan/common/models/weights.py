"""Weights of both networks as one flat mapping: the only place that knows the prefixes of its names.

    generator.layers.0.weight, ..., discriminator.layers.0.weight, ...

The moving average of the generator has the same names, and those of `ema.` before them where it lies beside weights.
"""

import hashlib
import math

import torch
from torch import Tensor

from silogan.common.modality import Model, Schema
from silogan.common.models.networks import GAN, blueprint

Weights = dict[str, Tensor]
AVERAGE = "ema"
"""The part under which a moving average lies beside weights."""


class Misfit(ValueError):  # noqa: N818  (what the weights are)
    """Weights that are not those of a study's networks; the text says why, after "weights"."""


def weights_of(gan: GAN) -> Weights:
    """All parameters and buffers of both networks; they share the networks' memory."""
    parts = {part: network.state_dict() for part, network in gan._asdict().items()}
    return {name: tensor.detach() for part, state in parts.items() for name, tensor in under(part, dict(state)).items()}


def networks(model: Model, schema: Schema, weights: Weights, parts: tuple[str, ...] = GAN._fields) -> GAN:
    """Both networks, ready to be trained, with copies of weights; built without drawing random numbers.

    Args:
        model: section of the study's scenario.
        schema: what the records are.
        weights: those of `parts`, whole, and nothing else.
        parts: networks that are loaded; the other is a blueprint, which cannot compute.

    Raises:
        Misfit: other names, shapes or types than the networks have.
    """
    gan = blueprint(model, schema)
    if without(weights, *parts):
        raise Misfit("are of another network")
    for part in parts:
        network = getattr(gan, part)
        types = [tensor.dtype for tensor in network.state_dict().values()]
        own = {name: tensor.clone() for name, tensor in part_of(weights, part).items()}
        try:
            network.load_state_dict(own, assign=True)
        except RuntimeError:
            raise Misfit(f"do not fit the study's {part}") from None
        if [tensor.dtype for tensor in network.state_dict().values()] != types:
            raise Misfit(f"do not fit the study's {part}")
    return gan


def generator_weights(weights: Weights) -> Weights:
    """The generator's entries alone, under their whole names."""
    return under("generator", part_of(weights, "generator"))


def part_of(weights: Weights, part: str) -> Weights:
    """The entries of one part, without its prefix."""
    return {name.removeprefix(f"{part}."): tensor for name, tensor in weights.items() if name.startswith(f"{part}.")}


def under(part: str, weights: Weights) -> Weights:
    """The same entries as a part of a larger mapping: the inverse of `part_of`."""
    return {f"{part}.{name}": tensor for name, tensor in weights.items()}


def without(weights: Weights, *parts: str) -> Weights:
    """The entries that are of none of these parts."""
    prefixes = tuple(f"{part}." for part in parts)
    return {name: tensor for name, tensor in weights.items() if not name.startswith(prefixes)}


def moving_average(average: Weights, new: Weights, decay: float) -> Weights:
    """Decay · average + (1 - decay) · new (Yazici et al., 2019, for generators); whole numbers are the new ones."""
    return {
        name: torch.lerp(new[name], tensor, decay) if tensor.is_floating_point() else new[name]
        for name, tensor in average.items()
    }


def distance(a: Weights, b: Weights) -> float:
    """L2 distance of two sets of weights with the same names."""
    return math.sqrt(sum(float((a[name].double() - b[name].double()).square().sum()) for name in a))


def flattened(weights: Weights, reference: Weights) -> Tensor:
    """The update weights - reference as one vector, float64[P], in the order of the reference."""
    return torch.cat([(weights[name].double() - sent.double()).flatten() for name, sent in reference.items()])


def digest(weights: Weights) -> str:
    """SHA-256 over the values of all weights, in the order of their names."""
    hashed = hashlib.sha256()
    for name in sorted(weights):
        hashed.update(weights[name].numpy().tobytes())
    return hashed.hexdigest()
