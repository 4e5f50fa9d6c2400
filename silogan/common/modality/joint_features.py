"""What is seen of an image and its row together: the features of both, side by side, in one vector of norm 1."""

import math

import torch
from torch import Tensor

from silogan.common.modality.base import Features, Schema
from silogan.common.modality.image_features import MOST_DIMENSIONS, Spectrum
from silogan.common.modality.joint import JointSchema
from silogan.common.modality.table_features import Cells


class Joint:
    """f = [a · f_image, b · f_row] with a² + b² = 1; see `silogan.common.modality.base.Features`.

    Args:
        schema: of the records.
        image: features of images, of norms up to 1.
        share: b², in (0, 1).

    Attributes:
        dimensions: of both.
        image_scale: a.
        row_scale: what stands in f where a row is in a cell: b/√m of m columns, but for rounding.
    """

    def __init__(self, schema: JointSchema, image: Features, share: float) -> None:
        self._schema, self.image, self._row = schema, image, Cells(schema.row)
        self.image_scale, self._b = math.sqrt(1 - share), math.sqrt(share)
        self.dimensions = image.dimensions + self._row.dimensions
        self.row_scale = self._b * self._row.scale

    def of(self, batch: Tensor) -> Tensor:
        """Features float32[N, d] of encoded records; ‖f‖² = a²‖f_image‖² + b²‖f_row‖² ≤ 1."""
        image, row = self._schema.parts(batch)
        return torch.cat((self.image_scale * self.image.of(image), self._b * self._row.of(row)), dim=1)

    def back(self, features: Tensor) -> Tensor:
        """Encoded records float32[N, *shape] with these features: smooth images, and the likeliest cells."""
        image, row = features.split([self.image.dimensions, self._row.dimensions], dim=1)
        return torch.cat((self.image.back(image / self.image_scale).flatten(1), self._row.back(row / self._b)), dim=1)


class JointSpectrum(Joint):
    """The same of an image's lowest frequencies, with weights: those of `Spectrum` over a, and 1 for a row's cells.

    Args:
        schema: of the records.
        spectrum: of the images.
        share: b², in (0, 1).

    Attributes:
        weights: float64[d].
        schema, spectrum: as given.

    Raises:
        ValueError: d is above `MOST_DIMENSIONS`.
    """

    def __init__(self, schema: JointSchema, spectrum: Spectrum, share: float) -> None:
        super().__init__(schema, spectrum, share)
        self.schema, self.spectrum = schema, spectrum
        if self.dimensions > MOST_DIMENSIONS:
            raise ValueError(f"with the {schema.row.cells} cells of a row there are more than {MOST_DIMENSIONS}")
        even = torch.ones(schema.row.cells, dtype=torch.float64)
        self.weights = torch.cat((spectrum.weights / self.image_scale, even))


def seen(schema: Schema, frequencies: int, row_share: float) -> Spectrum | JointSpectrum:
    """What a family that is fitted to moments sees of a record.

    Args:
        schema: of images, or of images with rows.
        frequencies: of images, in each direction.
        row_share: see `JointSpectrum`.

    Raises:
        ValueError: images have fewer frequencies, or there are too many dimensions.
    """
    if not isinstance(schema, JointSchema):
        return Spectrum(schema.shape, frequencies)
    return JointSpectrum(schema, Spectrum(schema.image.shape, frequencies), row_share)
