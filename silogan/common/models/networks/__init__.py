"""Generators and discriminators: a family is one file here and one line in `FAMILIES`; see `common/modality`."""

import torch

from silogan.common.errors import ConfigError
from silogan.common.modality import KINDS, Model, Schema
from silogan.common.models.networks import article, dcgan, gaussians, mixture
from silogan.common.models.networks.base import (
    GAN,
    Classify,
    Discriminator,
    Drawn,
    Family,
    Generator,
    Sampler,
    classified,
    uniform_labels,
)
from silogan.common.models.networks.initialise import initialise
from silogan.common.models.networks.supported import check_private
from silogan.common.registry import lookup

__all__ = [
    "FAMILIES",
    "GAN",
    "Classify",
    "Discriminator",
    "Drawn",
    "Family",
    "Generator",
    "Sampler",
    "blueprint",
    "build",
    "check_family",
    "check_private",
    "classified",
    "initialise",
    "uniform_labels",
]

FAMILIES: dict[str, Family] = {
    "dcgan": dcgan.build,
    "article": article.build,
    "gaussians": gaussians.build,
    "mixture": mixture.build,
}


def check_family(model: Model, schema: Schema) -> None:
    """Whether a family generates such records.

    Raises:
        ConfigError: it does not.
    """
    fitting = KINDS[schema.kind].families
    if model.family not in fitting:
        problem = f"the '{model.family}' networks do not generate {schema.noun}"
        raise ConfigError("model.family", problem, f"use one of {', '.join(fitting)}")


def build(model: Model, schema: Schema) -> GAN:
    """Both networks of a scenario, on torch's default device.

    Their values are not reproducible: follow with `initialise`, or use `silogan.common.models.weights.networks`.

    Raises:
        ConfigError: the family has no networks for this schema.
    """
    check_family(model, schema)
    return GAN(*lookup(FAMILIES, model.family, "model.family")(model, schema))


def blueprint(model: Model, schema: Schema) -> GAN:
    """Both networks without values: only layers, names, shapes and types. Takes no memory and no random numbers.

    Raises:
        ConfigError: as for `build`.
    """
    with torch.device("meta"):
        return build(model, schema)
