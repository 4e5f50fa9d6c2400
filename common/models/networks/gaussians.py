"""Gaussians over the lowest frequencies of each class's images: what a release alone describes, without any training.

The server fits them to noisy moments (`server/fitting/gaussians.py`). There is no critic.
"""

import torch
from torch import Tensor

from common.errors import ConfigError
from common.modality.image import ImageSchema
from common.modality.image_features import Spectrum
from common.modality.image_options import Gaussians
from common.models.networks.base import Discriminator, Generator
from common.models.networks.detail import Detail
from common.models.networks.silent import Silent

MOST_NUMBERS = 2**26
"""In the covariances of a generator, 256 MiB: twice as many as a statistic may have that they are fitted to."""


def build(model: Gaussians, schema: ImageSchema) -> tuple[Generator, Discriminator]:
    """The Gaussians, all of them at mid-grey until they are fitted, and a critic that says nothing.

    Raises:
        ConfigError: images have fewer frequencies than the model looks at, or it looks at too many.
    """
    if model.frequencies is None:
        raise ConfigError("model.frequencies", "is not given", "set it, or let silogan make the study")
    try:
        dimensions = Spectrum(schema.shape, model.frequencies).dimensions
    except ValueError as error:
        raise ConfigError("model.frequencies", f"is {model.frequencies}, but {error}", "lower it") from None
    if model.draws is False:
        return ClassifierAlone(schema, model.frequencies, dimensions), Silent()
    cells = model.cells or 1
    if schema.num_classes * cells * dimensions**2 > MOST_NUMBERS:  # before any hospital is asked for a part of it
        problem = f"is {model.frequencies}, too many for {schema.num_classes} classes of {cells} cells"
        raise ConfigError("model.frequencies", problem, "lower it, or model.cells")
    above = None if model.public is None else min(model.public.above, model.frequencies)
    return ClassGaussians(schema, model.frequencies, dimensions, cells, above), Silent()


class Spectral(Generator):
    """A linear classifier of spectra, which the release holds whether images are drawn from it or not.

    Args:
        schema: of the images.
        frequencies: those that are kept in each direction.
        dimensions: d, how many that are in all.

    Attributes:
        directions: float32[classes, d], of the logits `directions` · f + `offsets`.
        offsets: float32[classes].
    """

    conditional = True
    directions: Tensor
    offsets: Tensor

    def __init__(self, schema: ImageSchema, frequencies: int, dimensions: int) -> None:
        super().__init__()
        self._shape, self._frequencies = schema.shape, frequencies
        self.register_buffer("directions", torch.zeros(schema.num_classes, dimensions))
        self.register_buffer("offsets", torch.zeros(schema.num_classes))

    @property
    def spectrum(self) -> Spectrum:
        """What is seen of an image; made where it is needed, since a blueprint has no numbers."""
        return Spectrum(self._shape, self._frequencies)

    def classify(self, records: Tensor) -> Tensor:
        """See `Generator.classify`."""
        return self.spectrum.of(records) @ self.directions.T + self.offsets


class ClassifierAlone(Spectral):
    """The classifier, and no images: records are too few for any that would be of use."""

    draws = False
    latent_dim = 1

    def forward(self, z: Tensor, labels: Tensor | None) -> Tensor:  # noqa: ARG002
        """Draws nothing."""
        raise RuntimeError("this release has no images")


class ClassGaussians(Spectral):
    """Chooses one of a class's cells, draws f = mean + root · z for it, and shows f as an image.

    Args:
        schema: of the images.
        frequencies: those that are kept in each direction.
        dimensions: d, how many that are in all.
        cells: of each class; where there are several, one more latent number decides between them.
        above: the lowest frequencies, in each direction, above which public images give the detail; None without any.

    Attributes:
        means: float32[classes·cells, d].
        roots: float32[classes·cells, d, d]; R Rᵀ is a cell's covariance.
        chances: float32[classes, cells], chance of each cell of a class and those before it.
        edge: float32[], of noise, below which directions were left out; it is told, and changes nothing any more.
    """

    means: Tensor
    roots: Tensor
    chances: Tensor
    edge: Tensor

    def __init__(
        self, schema: ImageSchema, frequencies: int, dimensions: int, cells: int, above: int | None = None
    ) -> None:
        super().__init__(schema, frequencies, dimensions)
        self.detail = None if above is None else Detail(schema.shape, above)
        d, classes, self._cells = dimensions, schema.num_classes, cells
        self.latent_dim = d + (cells > 1)
        self.register_buffer("means", torch.zeros(classes * cells, d))
        self.register_buffer("roots", torch.zeros(classes * cells, d, d))
        self.register_buffer("chances", (torch.arange(cells) + 1.0).div(cells).repeat(classes, 1))
        self.register_buffer("edge", torch.zeros(()))

    def forward(self, z: Tensor, labels: Tensor | None) -> Tensor:
        """See `Generator.forward`."""
        if labels is None:
            raise ValueError("this generator needs labels")
        d, places = self.means.shape[1], labels
        if self._cells > 1:
            uniform = torch.special.ndtr(z[:, d:])
            cells = torch.searchsorted(self.chances[labels], uniform).squeeze(1).clamp(max=self._cells - 1)
            places = labels * self._cells + cells
        drawn = self.means[places]
        for place in range(len(self.means)):
            there = places == place
            drawn[there] += z[there, :d] @ self.roots[place].T
        if self.detail is None:
            return self.spectrum.back(drawn)
        return self.detail(self.spectrum.smooth(drawn)).clamp(-1, 1)
