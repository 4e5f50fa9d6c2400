"""The networks of an audit: those that reveal a record most and cost the least time.

The guarantee holds for any network that a study names, so an audit may choose the worst. The discriminator has one
number for each class, v_y, and its logit is v_y · h, where h is the mean over a convolution of the image. A canary that
has a class of its own then has all its gradient in one number that nobody else touches (the "Dirac canary" of Nasr et
al., 2023): of width 1, no other network tells more of it for the same noise, nor costs less. In a projection
discriminator the weights that the classes share would take half of a gradient's square, and of the evidence.

Of table rows h is a linear layer's. Their networks take the place of the mixture's, of whose options the statistics of
the same plan are made.
"""

import math
from collections.abc import Generator as Yields
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from silogan.common.modality import KINDS, Model, Schema
from silogan.common.modality.image import ImageSchema
from silogan.common.models.networks import FAMILIES, GAN
from silogan.common.models.networks.base import Discriminator, Generator

FAMILY, MIXTURE = "canaries", "mixture"
ROWS = "discriminator.by_class.weight"
_FEATURE = "features.bias"


class Canaries(Model):
    """The options of these networks: none."""

    family: str = FAMILY


class CanaryDiscriminator(Discriminator):
    """logit = v_y · h(x); h is the mean of a convolution whose kernel is half the image, or linear in a row."""

    conditional = True

    def __init__(self, schema: Schema) -> None:
        super().__init__()
        if isinstance(schema, ImageSchema):
            kernel = max(1, schema.size // 2)
            self.features = nn.Conv2d(schema.channels, 1, kernel, kernel)
        else:
            self.features = nn.Linear(math.prod(schema.shape), 1)
        self.by_class = nn.Embedding(schema.num_classes, 1)

    def forward(self, records: Tensor, labels: Tensor | None) -> Tensor:
        """See `Discriminator.forward`."""
        if labels is None:
            raise ValueError("a conditional network needs labels")
        return self.by_class(labels).squeeze(1) * self.features(records).flatten(1).mean(dim=1)


class CanaryGenerator(Generator):
    """A minimal generator: an audit uses only the discriminator."""

    conditional = True
    latent_dim = 1

    def __init__(self, schema: Schema) -> None:
        super().__init__()
        self._shape = schema.shape
        self.layer = nn.Linear(1, math.prod(schema.shape))

    def forward(self, z: Tensor, labels: Tensor | None) -> Tensor:  # noqa: ARG002 - only the discriminator needs them
        """See `Generator.forward`."""
        return torch.tanh(self.layer(z)).unflatten(1, self._shape)


@contextmanager
def registered() -> Yields[None]:
    """Registers the networks under the name `FAMILY`, and as the mixture's, in this process within the context only."""
    families, mixture = KINDS[ImageSchema.kind].families, FAMILIES[MIXTURE]
    FAMILIES[FAMILY], families[FAMILY], FAMILIES[MIXTURE] = _build, Canaries, _build
    try:
        yield
    finally:
        del FAMILIES[FAMILY], families[FAMILY]
        FAMILIES[MIXTURE] = mixture


def auditors_weights(schema: Schema, clip_norm: float) -> GAN:
    """Networks as a curious server would send them: h = 4C whatever the image, and v = 0.

    The gradient of a record's loss for its number is then h times the slope of the loss at a logit of 0, which is 1/2
    or 1 for all losses (`common/models/losses.py`): at least twice C, so that clipping leaves all of C.
    """
    generator, discriminator = _build(Canaries(), schema)
    with torch.no_grad():
        for parameter in (*generator.parameters(), *discriminator.parameters()):
            parameter.zero_()
        discriminator.get_parameter(_FEATURE).fill_(4 * clip_norm)
    return GAN(generator, discriminator)


def _build(model: Model, schema: Schema) -> tuple[Generator, Discriminator]:  # noqa: ARG001 - as every family
    return CanaryGenerator(schema), CanaryDiscriminator(schema)
