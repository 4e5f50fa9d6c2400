"""A Gaussian over the lowest frequencies of each class's images: what a release alone describes, without any training.

The server fits it to noisy moments (`server/fitting/gaussians.py`). There is no critic.
"""

import torch
from torch import Tensor

from common.errors import ConfigError
from common.modality.image import ImageSchema
from common.modality.image_features import Spectrum
from common.modality.image_options import Gaussians
from common.models.networks.base import Discriminator, Generator


def build(model: Gaussians, schema: ImageSchema) -> tuple[Generator, Discriminator]:
    """The Gaussians, all of them at mid-grey until they are fitted, and a critic that says nothing.

    Raises:
        ConfigError: images have fewer frequencies than the model looks at, or it looks at too many.
    """
    try:
        Spectrum(schema.shape, model.frequencies)
    except ValueError as error:
        raise ConfigError("model.frequencies", f"is {model.frequencies}, but {error}", "lower it") from None
    return ClassGaussians(model, schema), Silent()


class ClassGaussians(Generator):
    """Draws f = mean + root · z for a class, and shows it as an image.

    Attributes:
        means: float32[classes, d].
        roots: float32[classes, d, d]; R Rᵀ is a class's covariance.
        edge: float32[], of noise, below which directions were left out; it is told, and changes nothing any more.
    """

    conditional = True
    means: Tensor
    roots: Tensor
    edge: Tensor

    def __init__(self, model: Gaussians, schema: ImageSchema) -> None:
        super().__init__()
        self._shape, self._frequencies = schema.shape, model.frequencies
        self.latent_dim = schema.channels * model.frequencies**2
        self.register_buffer("means", torch.zeros(schema.num_classes, self.latent_dim))
        self.register_buffer("roots", torch.zeros(schema.num_classes, self.latent_dim, self.latent_dim))
        self.register_buffer("edge", torch.zeros(()))

    def forward(self, z: Tensor, labels: Tensor | None) -> Tensor:
        """See `Generator.forward`."""
        if labels is None:
            raise ValueError("this generator needs labels")
        drawn = self.means[labels]
        for label in range(len(self.means)):
            of_class = labels == label
            drawn[of_class] += z[of_class] @ self.roots[label].T
        return Spectrum(self._shape, self._frequencies).back(drawn)


class Silent(Discriminator):
    """Takes every record for as likely to be real as not; a family that is fitted has nothing else."""

    conditional = False

    def forward(self, records: Tensor, labels: Tensor | None) -> Tensor:  # noqa: ARG002
        """See `Discriminator.forward`."""
        return records.new_zeros(len(records))
