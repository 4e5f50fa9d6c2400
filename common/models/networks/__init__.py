"""Generators and discriminators: a family is one file here and one line in `FAMILIES`."""

from common.config.scenario import Model
from common.modality.image import ImageSchema
from common.models.networks import article, dcgan
from common.models.networks.base import GAN, Discriminator, Family, Generator
from common.models.networks.initialise import initialise
from common.models.networks.supported import check_private
from common.registry import lookup

__all__ = ["FAMILIES", "GAN", "Discriminator", "Family", "Generator", "build", "check_private", "initialise"]

FAMILIES: dict[str, Family] = {
    "dcgan": dcgan.build,
    "article": article.build,
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
