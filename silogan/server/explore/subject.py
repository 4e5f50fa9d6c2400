"""What is explored: a generator of images, as a function of latent vectors and a class."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from silogan.common.errors import DataError, UsageError
from silogan.common.modality.image import ImageSchema, to_bytes
from silogan.common.modality.joint import JointSchema
from silogan.common.models.networks import Generator
from silogan.server.release.generator import ReleasedGenerator

MOST_CLASSES = 40
"""Classes that are shown, the first ones."""

_ROWS = 8  # of all classes together, at least


@dataclass(frozen=True)
class Subject:
    """A generator of images; of images with rows the images alone are looked at.

    Attributes:
        network: the generator.
        schema: what it draws.
    """

    network: Generator
    schema: ImageSchema | JointSchema

    @classmethod
    def of(cls, generator: ReleasedGenerator) -> "Subject":
        """The subject that a released generator is.

        Raises:
            UsageError: it draws no images.
        """
        schema = generator.schema
        if not isinstance(schema, ImageSchema | JointSchema):
            raise UsageError("silogan explore", f"is for images, and this run draws {schema.noun}", "read its report")
        generator.require_drawing()
        return cls(generator.network, schema)

    @property
    def classes(self) -> dict[str, int | None]:
        """The label of each class that is shown, by its name; a single one without a label if there are no classes."""
        if not self.network.conditional:
            return {"": None}
        return {name: label for label, name in enumerate(self.schema.classes[:MOST_CLASSES])}

    @property
    def rows(self) -> int:
        """Rows of each class, so that there are about as many on every sheet."""
        return max(1, _ROWS // len(self.classes))

    def latents(self, *shape: int, rng: torch.Generator) -> Tensor:
        """Latent vectors float32[*shape, latent_dim] of N(0, I)."""
        return torch.randn(*shape, self.network.latent_dim, generator=rng)

    def labels(self, label: int | None, count: int) -> Tensor | None:
        """The label of a class, int64[count]; None without one."""
        return None if label is None else torch.full((count,), label)

    def records(self, z: Tensor, label: int | None) -> Tensor:
        """Encoded records float32[N, *shape] of latent vectors float32[N, latent_dim].

        Raises:
            DataError: they are not finite.
        """
        found = self.network(z, self.labels(label, len(z)))
        if not bool(found.isfinite().all()):
            raise DataError("generator", "draws numbers that are not finite", "give the folder of another run")
        return found

    def images_in(self, records: Tensor) -> Tensor:
        """The part [N, C, S, S] of encoded records, or of gradients in their form, that is the image."""
        return self.schema.parts(records)[0] if isinstance(self.schema, JointSchema) else records

    def images(self, z: Tensor, label: int | None) -> Tensor:
        """Encoded images float32[N, C, S, S] in [-1, 1] of latent vectors float32[N, latent_dim]."""
        return self.images_in(self.records(z, label))

    @torch.no_grad()
    def pixels(self, z: Tensor, label: int | None) -> Tensor:
        """Images uint8[N, C, S, S] of latent vectors float32[N, latent_dim]."""
        return to_bytes(self.images(z, label))

    @property
    def numbers(self) -> int:
        """How many numbers a record has."""
        return math.prod(self.schema.shape)
