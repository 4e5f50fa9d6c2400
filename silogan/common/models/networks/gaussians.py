"""Gaussians over the lowest frequencies of each class's images: what a release alone describes, without any training.

The server fits them to noisy moments (`server/fitting/gaussians.py`). There is no critic, but where `training.refine`
asks for one: then it teaches a small network to refine what is drawn.
"""

import math

import torch
from torch import Tensor

from silogan.common.errors import ConfigError
from silogan.common.modality.image import ImageSchema
from silogan.common.modality.image_features import Spectrum
from silogan.common.modality.image_options import Gaussians
from silogan.common.modality.joint import JointSchema
from silogan.common.modality.joint_features import seen
from silogan.common.modality.masked import MaskedSchema
from silogan.common.models.networks.base import Discriminator, Generator
from silogan.common.models.networks.detail import Detail
from silogan.common.models.networks.image_critic import ImageCritic
from silogan.common.models.networks.refiner import Refiner
from silogan.common.models.networks.silent import Silent

_WIDTH = 32  # of the refining network
_BELOW_ONE = 1 - 2**-24  # the largest float32 below 1

MOST_NUMBERS = 2**26
"""In the covariances of a generator, 256 MiB: twice as many as a statistic may have that they are fitted to."""


def build(model: Gaussians, schema: ImageSchema | JointSchema | MaskedSchema) -> tuple[Generator, Discriminator]:
    """The Gaussians, all of them at mid-grey until they are fitted, and their critic, which else says nothing.

    Raises:
        ConfigError: images have fewer frequencies than the model looks at, or it looks at too many; or there is a
            critic where no images are drawn, or rows or masks as well.
    """
    if model.frequencies is None:
        raise ConfigError("model.frequencies", "is not given", "set it, or let silogan make the study")
    try:
        dimensions = seen(schema, model.frequencies, model.row_share).dimensions
    except ValueError as error:
        raise ConfigError("model.frequencies", f"is {model.frequencies}, but {error}", "lower it") from None
    image = schema.image if isinstance(schema, JointSchema) else schema
    if model.critic and not isinstance(schema, ImageSchema):
        beside = "rows" if isinstance(schema, JointSchema) else "masks"
        raise ConfigError("training.refine", f"has a critic that cannot read {beside} beside images", "leave it out")
    if model.critic and model.draws is False:
        problem = "leaves a release from which no images can be drawn"
        raise ConfigError("training.refine", problem, "lower training.refine.share, or leave it out")
    if model.draws is False:
        return ClassifierAlone(image, model.frequencies), Silent()
    cells = model.cells or 1
    if schema.num_classes * cells * dimensions**2 > MOST_NUMBERS:  # before any hospital is asked for a part of it
        problem = f"is {model.frequencies}, too many for {schema.num_classes} classes of {cells} cells"
        raise ConfigError("model.frequencies", problem, "lower it, or model.cells")
    above = None if model.public is None else min(model.public.above, model.frequencies)
    if isinstance(schema, JointSchema):
        return GaussiansWithRows(schema, model.frequencies, cells, above), Silent()
    if model.critic and isinstance(image, ImageSchema):
        return RefinedGaussians(image, model.frequencies, cells), ImageCritic(image, model.critic)
    return ClassGaussians(image, model.frequencies, cells, above), Silent()


class Spectral(Generator):
    """A linear classifier of spectra, which the release holds whether images are drawn from it or not.

    Args:
        schema: of the images; with masks, which are one more channel, it sees these too.
        frequencies: those that are kept in each direction, d in all.

    Attributes:
        directions: float32[classes, d], of the logits `directions` · f + `offsets`.
        offsets: float32[classes].
    """

    conditional = True
    directions: Tensor
    offsets: Tensor

    def __init__(self, schema: ImageSchema | MaskedSchema, frequencies: int) -> None:
        super().__init__()
        self._shape, self._frequencies = schema.shape, frequencies
        self._dimensions = schema.shape[0] * frequencies**2
        self.register_buffer("directions", torch.zeros(schema.num_classes, self._dimensions))
        self.register_buffer("offsets", torch.zeros(schema.num_classes))

    @property
    def spectrum(self) -> Spectrum:
        """What is seen of an image; made where it is needed, since a blueprint has no numbers."""
        return Spectrum(self._shape, self._frequencies)

    def classify(self, records: Tensor) -> Tensor:
        """See `Generator.classify`; of images with rows it sees the images alone, which stand first in a record."""
        images = records.flatten(1)[:, : math.prod(self._shape)].reshape(-1, *self._shape)
        return self.spectrum.of(images) @ self.directions.T + self.offsets


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
        frequencies: those that are kept in each direction, d in all.
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
        self, schema: ImageSchema | MaskedSchema, frequencies: int, cells: int, above: int | None = None
    ) -> None:
        super().__init__(schema, frequencies)
        self.detail = None if above is None else Detail(schema.shape, above)
        d, classes, self._cells = self._dimensions, schema.num_classes, cells
        self.latent_dim = d + (cells > 1)
        self.register_buffer("means", torch.zeros(classes * cells, d))
        self.register_buffer("roots", torch.zeros(classes * cells, d, d))
        self.register_buffer("chances", (torch.arange(cells) + 1.0).div(cells).repeat(classes, 1))
        self.register_buffer("edge", torch.zeros(()))

    def forward(self, z: Tensor, labels: Tensor | None) -> Tensor:
        """See `Generator.forward`."""
        return self.images(z, self.places(z, labels))

    def places(self, z: Tensor, labels: Tensor | None) -> Tensor:
        """The cell int64[B] of each image, counted over all classes."""
        if labels is None:
            raise ValueError("this generator needs labels")
        if self._cells == 1:
            return labels
        uniform = torch.special.ndtr(z[:, self._dimensions, None])
        cells = torch.searchsorted(self.chances[labels], uniform).squeeze(1).clamp(max=self._cells - 1)
        return labels * self._cells + cells

    def images(self, z: Tensor, places: Tensor) -> Tensor:
        """Images float[B, C, S, S] of these cells; the first d numbers of z say which."""
        d, drawn = self._dimensions, self.means[places]
        for place in range(len(self.means)):
            there = places == place
            drawn[there] += z[there, :d] @ self.roots[place].T
        if self.detail is None:
            return self.spectrum.back(drawn)
        return self.detail(self.spectrum.smooth(drawn)).clamp(-1, 1)


class RefinedGaussians(ClassGaussians):
    """Draws an image as the Gaussians do, and refines it: the same image at first.

    Args:
        schema: of the images.
        frequencies: of what is drawn, in each direction.
        cells: of each class.
    """

    def __init__(self, schema: ImageSchema, frequencies: int, cells: int) -> None:
        super().__init__(schema, frequencies, cells)
        self.refiner = Refiner(schema.channels, schema.num_classes, _WIDTH)

    def forward(self, z: Tensor, labels: Tensor | None) -> Tensor:
        """See `Generator.forward`."""
        return self.refined(self.drawn(z, labels), labels)

    def drawn(self, z: Tensor, labels: Tensor | None) -> Tensor:
        """What the Gaussians draw, float32[B, C, S, S] in [-1, 1]."""
        return super().forward(z, labels)

    def refined(self, drawn: Tensor, labels: Tensor | None) -> Tensor:
        """The same images, refined."""
        if labels is None:
            raise ValueError("this generator needs labels")
        return self.refiner(drawn, labels)


class GaussiansWithRows(ClassGaussians):
    """Draws an image, and a row that depends on it: of each column a normal number v, and the cell in which it lies.

    v = B z + C z', with unit variance, follows the z of the image by B and a z' of its own by C. A cell holds those v
    whose share of N(0, 1) below them lies between the cell's two ends: cells are as frequent as their ends are apart,
    whatever B and C are (a Gaussian copula; Nelsen, 2006). How far between them it lies is where in its cell a number
    is.

    Args:
        schema: of the records, with m columns.
        frequencies: of the images, in each direction, d in all.
        cells: of each class.
        above: see `ClassGaussians`.

    Attributes:
        follows: float32[classes·cells, m, d], B.
        rest: float32[classes·cells, m, m], C.
        lower, upper: float32[classes·cells, cells of all columns], the ends in [0, 1] of each cell of a column.
    """

    follows: Tensor
    rest: Tensor
    lower: Tensor
    upper: Tensor

    def __init__(self, schema: JointSchema, frequencies: int, cells: int, above: int | None = None) -> None:
        super().__init__(schema.image, frequencies, cells, above)
        slots, m = len(self.means), len(schema.row.columns)
        self._row, self._columns = schema.row, m
        self.latent_dim += m
        self.register_buffer("follows", torch.zeros(slots, m, self._dimensions))
        self.register_buffer("rest", torch.eye(m).repeat(slots, 1, 1))
        sizes = [block.stop - block.start for block in schema.row.blocks]
        even = [torch.arange(size + 1.0) / size for size in sizes]
        self.register_buffer("lower", torch.cat([ends[:-1] for ends in even]).repeat(slots, 1))
        self.register_buffer("upper", torch.cat([ends[1:] for ends in even]).repeat(slots, 1))

    def forward(self, z: Tensor, labels: Tensor | None) -> Tensor:
        """See `Generator.forward`."""
        places, normal = self.places(z, labels), z.new_zeros(len(z), self._columns)
        for place in range(len(self.means)):
            there = places == place
            image, own = z[there, : self._dimensions], z[there, -self._columns :]
            normal[there] = image @ self.follows[place].T + own @ self.rest[place].T
        return torch.cat((self.images(z, places).flatten(1), self._rows(torch.special.ndtr(normal), places)), dim=1)

    def _rows(self, uniform: Tensor, places: Tensor) -> Tensor:
        """Encoded rows float[B, *shape] of shares [B, m] in [0, 1]."""
        rows, place = uniform.new_zeros(len(uniform), *self._row.shape), self._row.cells
        uniform, lower, upper = uniform.clamp(max=_BELOW_ONE), self.lower[places], self.upper[places]
        for share, column, block in zip(uniform.split(1, dim=1), self._row.columns, self._row.blocks, strict=True):
            low, high = lower[:, block], upper[:, block]
            cell = ((low <= share) & (share < high)).int().argmax(dim=1, keepdim=True)
            rows[:, block].scatter_(1, cell, 1.0)
            if column.positions:
                low, high = low.gather(1, cell), high.gather(1, cell)
                rows[:, place] = ((share - low) / (high - low)).squeeze(1)
                place += 1
        return rows
