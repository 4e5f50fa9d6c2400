"""A conditional DCGAN without normalisation for 8, 28, 32 and 64 pixels.

Radford, Metz and Chintala (2016) gave the strided convolutions. The generator takes the label beside the noise (Mirza
and Osindero, 2014); the discriminator projects its features on one direction per class (Miyato and Koyama, 2018,
eq. 3), which under noise learnt far better than labels given as further planes of the image. There is no normalisation,
as in Bie, Kamath and Zhang (2023): BatchNorm is not private in a discriminator, and neither network needs any at these
depths.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from silogan.common.errors import ConfigError
from silogan.common.modality.image import ImageSchema
from silogan.common.modality.image_options import Dcgan
from silogan.common.models.networks.base import Discriminator, Generator

LADDERS: dict[int, tuple[int, ...]] = {8: (8, 4), 28: (28, 14, 7, 4), 32: (32, 16, 8, 4), 64: (64, 32, 16, 8, 4)}
"""Heights of the feature maps from the image inwards; the channels double with each from `model.width`."""

SLOPE = 0.2  # of LeakyReLU below 0
LABEL_SCALE = 3.0  # of the one-hot label beside N(0, 1) noise, so that classes part early in training


def build(model: Dcgan, schema: ImageSchema) -> tuple[Generator, Discriminator]:
    """Both networks; `model.width` is the number of channels next to the image.

    Raises:
        ConfigError: there is no ladder for this image size.
    """
    if schema.size not in LADDERS:
        sizes = ", ".join(map(str, LADDERS))
        raise ConfigError("data.image_size", f"the 'dcgan' networks have no size {schema.size}", f"use one of {sizes}")
    return DCGANGenerator(model.latent_dim, model.width, schema), DCGANDiscriminator(model.width, schema)


class DCGANGenerator(Generator):
    """Noise and one-hot label through two linear layers to the smallest map, then up to the image."""

    conditional = True

    def __init__(self, latent_dim: int, width: int, schema: ImageSchema) -> None:
        super().__init__()
        self.latent_dim = latent_dim
        self.num_classes = schema.num_classes
        heights = LADDERS[schema.size]
        channels = _channels(width, schema)
        layers: list[nn.Module] = [
            nn.Linear(latent_dim + schema.num_classes, 4 * width),
            nn.LeakyReLU(SLOPE),
            nn.Linear(4 * width, channels[-1] * heights[-1] ** 2),
            nn.Unflatten(1, (channels[-1], heights[-1], heights[-1])),
        ]
        for (wide, narrow), (low, high) in zip(pairwise(channels[::-1]), pairwise(heights[::-1]), strict=True):
            layers += [nn.LeakyReLU(SLOPE), nn.ConvTranspose2d(wide, narrow, _kernel(high, low), 2, 1)]
        self.layers = nn.Sequential(*layers, nn.Tanh())

    def forward(self, z: Tensor, labels: Tensor | None) -> Tensor:
        """See `Generator.forward`."""
        one_hot = F.one_hot(_required(labels), self.num_classes).to(z.dtype)
        return self.layers(torch.cat([z, LABEL_SCALE * one_hot], dim=1))


class DCGANDiscriminator(Discriminator):
    """The image down to features h; the logit of label y is (w + v_y) · h + b."""

    conditional = True

    def __init__(self, width: int, schema: ImageSchema) -> None:
        super().__init__()
        heights = LADDERS[schema.size]
        channels = _channels(width, schema)
        layers: list[nn.Module] = []
        for (inputs, outputs), (high, low) in zip(pairwise(channels), pairwise(heights), strict=True):
            layers += [nn.Conv2d(inputs, outputs, _kernel(high, low), 2, 1), nn.LeakyReLU(SLOPE)]
        self.features = nn.Sequential(*layers, nn.Flatten())
        num_features = channels[-1] * heights[-1] ** 2
        self.shared = nn.Linear(num_features, 1)
        self.by_class = nn.Embedding(schema.num_classes, num_features)

    def forward(self, records: Tensor, labels: Tensor | None) -> Tensor:
        """See `Discriminator.forward`."""
        h = self.features(records)
        return self.shared(h).squeeze(1) + (self.by_class(_required(labels)) * h).sum(dim=1)


def _channels(width: int, schema: ImageSchema) -> list[int]:
    """Channels of the maps from the image inwards, beside the heights of `LADDERS`."""
    return [schema.channels, *(width << depth for depth in range(len(LADDERS[schema.size]) - 1))]


def _kernel(high: int, low: int) -> int:
    """The kernel that takes a map of `high` to `low` and back with stride 2 and padding 1: 4 for a half, 3 for odd."""
    return 4 if high == 2 * low else 3


def _required(labels: Tensor | None) -> Tensor:
    if labels is None:
        raise ValueError("a conditional network needs labels")
    return labels
