"""Generators and discriminators: a family is one file here and one line in `FAMILIES`."""

import torch

from common.config.scenario import Model
from common.modality.image import ImageSchema
from common.models.networks import article, dcgan
from common.models.networks.base import GAN, Discriminator, Family, Generator
from common.models.networks.initialise import initialise
from common.models.networks.supported import check_private
from common.registry import lookup

__all__ = [
    "FAMILIES",
    "GAN",
    "Discriminator",
    "Family",
    "Generator",
    "blueprint",
    "build",
    "check_private",
    "initialise",
]

FAMILIES: dict[str, Family] = {
    "dcgan": dcgan.build,
    "article": article.build,
}


def build(model: Model, schema: ImageSchema) -> GAN:
    """Both networks of a scenario, on torch's default device.

    Their values are not reproducible: follow with `initialise`, or use `common.models.weights.networks`.

    Raises:
        ConfigError: the family is unknown or has no networks for this schema.
    """
    family = lookup(FAMILIES, model.family, "model.family")
    return GAN(*family(model, schema))


def blueprint(model: Model, schema: ImageSchema) -> GAN:
    """Both networks without values: layers, names, shapes and types alone. Takes no memory and no random numbers.

    Raises:
        ConfigError: as for `build`.
    """
    with torch.device("meta"):
        return build(model, schema)
