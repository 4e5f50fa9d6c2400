"""The networks this project grew from: a beginner's article on a GAN for 64x64 images, federated with Flower.

The article's listing cannot run as printed. What was wrong, and what stands here instead:

- Its linear layers are fed noise of shape [B, z, 1, 1], on which they act along the wrong axis; noise is [B, z] here,
  and is given height and width only after the linear layers.
- Its transposed convolutions do not end at 64x64, which the discriminator expects; here they double 4 to 64 in four
  steps, and tanh brings the last into the range of the images.
- BatchNorm in its discriminator mixes the images of a batch, so that no patient has a gradient of their own to clip;
  GroupNorm takes its place.
- Its discriminator ends in a sigmoid, of which the loss then takes the logarithm: that overflows as soon as the
  discriminator is sure. Here it returns logits, and the loss (`common/models/losses.py`) works on them.
"""

import math

from torch import Tensor, nn

from silogan.common.errors import ConfigError
from silogan.common.modality.image import ImageSchema
from silogan.common.modality.image_options import Article
from silogan.common.models.networks.base import Discriminator, Generator

IMAGE_SIZE = 64


def build(model: Article, schema: ImageSchema) -> tuple[Generator, Discriminator]:
    """The article's networks; `model.width` is the channels of the widest feature map (64 in the usual DCGAN).

    Raises:
        ConfigError: images are not 64x64.
    """
    if schema.size != IMAGE_SIZE:
        problem = f"the 'article' networks are for 64, not {schema.size}"
        raise ConfigError("data.image_size", problem, "set it to 64 or use 'dcgan'")
    generator = SeedGenerator(model.latent_dim, model.width, schema.channels)
    return generator, SeedDiscriminator(model.width, schema.channels)


class SeedGenerator(Generator):
    """Fully connected layers, then transposed convolutions from 4x4 to 64x64. Unconditional."""

    conditional = False

    def __init__(self, latent_dim: int, width: int, channels: int) -> None:
        super().__init__()
        self.latent_dim = latent_dim
        self.layers = nn.Sequential(
            nn.Linear(latent_dim, 256),
            nn.ReLU(),
            nn.Linear(256, 8 * width * 4 * 4),
            nn.Unflatten(1, (8 * width, 4, 4)),
            nn.ReLU(),
            *_up(8 * width, 4 * width),
            *_up(4 * width, 2 * width),
            *_up(2 * width, width),
            nn.ConvTranspose2d(width, channels, 4, 2, 1),
            nn.Tanh(),
        )

    def forward(self, z: Tensor, labels: Tensor | None) -> Tensor:  # noqa: ARG002 - unconditional
        """See `Generator.forward`; labels are ignored."""
        return self.layers(z)


class SeedDiscriminator(Discriminator):
    """Convolutions from 64x64 to one logit. Unconditional."""

    conditional = False

    def __init__(self, width: int, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(channels, width, 4, 2, 1),
            nn.LeakyReLU(0.2),
            *_down(width, 2 * width),
            *_down(2 * width, 4 * width),
            *_down(4 * width, 8 * width),
            nn.Conv2d(8 * width, 1, 4),
            nn.Flatten(0),
        )

    def forward(self, records: Tensor, labels: Tensor | None) -> Tensor:  # noqa: ARG002 - unconditional
        """See `Discriminator.forward`; labels are ignored."""
        return self.layers(records)


def _up(inputs: int, outputs: int) -> list[nn.Module]:
    return [nn.ConvTranspose2d(inputs, outputs, 4, 2, 1), _norm(outputs), nn.ReLU()]


def _down(inputs: int, outputs: int) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, 4, 2, 1), _norm(outputs), nn.LeakyReLU(0.2)]


def _norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(math.gcd(8, channels), channels)
