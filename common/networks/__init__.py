"""Generators and discriminators: a family is one file here and one line in `FAMILIES`."""

from common.config import Model
from common.networks import dcgan, seed
from common.networks.base import GAN, Discriminator, Family, Generator
from common.networks.initialise import initialise
from common.networks.supported import check_private
from common.registry import lookup
from common.schema import ImageSchema

__all__ = ["FAMILIES", "GAN", "Discriminator", "Family", "Generator", "build", "check_private", "initialise"]

FAMILIES: dict[str, Family] = {
    "dcgan": dcgan.build,
    "seed": seed.build,
}


def build(model: Model, schema: ImageSchema) -> GAN:
    """Both networks of a scenario, on torch's default device.

    Their values are not reproducible: follow with `initialise`, or build under `torch.device("meta")` and load a state
    with `assign=True`.

    Raises:
        ConfigError: the family is unknown or has no networks for this schema.
    """
    family = lookup(FAMILIES, model.family, "model.family")
    return GAN(*family(model, schema))
