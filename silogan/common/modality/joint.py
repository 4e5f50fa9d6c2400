"""An image with its row: a patient's picture, and the columns that are known of it."""

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Self

from pydantic import BeforeValidator, Field, model_validator
from pydantic.dataclasses import dataclass

from silogan.common.bounds import STRICT, Channels, Name
from silogan.common.modality.base import Features, Schema, Stored
from silogan.common.modality.image import PIXELS, ImageSchema
from silogan.common.modality.table import TableSchema, listed

if TYPE_CHECKING:
    from torch import Tensor

FILE = "file"
"""Column of a CSV file of rows that names the image of each, relative to the folder of images."""

WARM_START_SHARE = 0.1
"""Share of a row in the squared norm of a warm start's features."""


def _row(value: Any) -> Any:
    """A row's schema as it is, or made of plain values."""
    return TableSchema(**value) if isinstance(value, dict) else value


@dataclass(frozen=True, config=STRICT)
class JointSchema(Schema):
    """Size and channels of images, and the columns of the row that each has.

    What is stored is that of an image and that of a row; a record is encoded as both, the image first.

    Attributes:
        classes: one name per label; label i is `classes[i]`.
        size, channels: of the images, see `ImageSchema`.
        row: columns; its classes are the same, no column of it names label, patient or site, and it has no code sets.

    Raises:
        ValueError: a field has another type than is said here, or is out of its range.
    """

    kind: ClassVar[str] = "joint"
    noun: ClassVar[str] = "images with rows"

    classes: Annotated[tuple[Name, ...], Field(min_length=1, strict=False)]
    size: Annotated[int, Field(ge=1, le=4096)]
    channels: Channels
    row: Annotated[TableSchema, BeforeValidator(_row)]

    @model_validator(mode="after")
    def _row_is_of_an_image(self) -> Self:
        if self.row.classes != self.classes:
            raise ValueError("has a row of other classes")
        for what in ("label", "patient", "site"):
            if getattr(self.row, what):
                raise ValueError(f"names a column of the {what}: for images data.root and data.patients say it")
        if self.row.code_sets:
            raise ValueError(f"has a code set, '{self.row.code_sets[0].name}': rows of images have none")
        for column in self.row.columns:
            if column.name in (FILE, PIXELS):
                raise ValueError(f"names a column '{column.name}', which stands for the image")
        return self

    @property
    def image(self) -> ImageSchema:
        """Of the images alone."""
        return ImageSchema(self.size, self.channels, self.classes)

    @property
    def shape(self) -> tuple[int, ...]:
        """The pixels of all channels, and then the encoded row."""
        return (self._pixels + self.row.shape[0],)

    @property
    def _pixels(self) -> int:
        return self.channels * self.size**2

    def encode(self, stored: Stored) -> "Tensor":
        """See `Schema.encode`."""
        import torch  # noqa: PLC0415

        return torch.cat((self.image.encode(stored).flatten(1), self.row.encode(stored)), dim=1)

    def decode(self, batch: "Tensor") -> Stored:
        """See `Schema.decode`."""
        image, row = self.parts(batch)
        return {**self.image.decode(image), **self.row.decode(row)}

    def parts(self, batch: "Tensor") -> "tuple[Tensor, Tensor]":
        """Encoded images float32[N, C, S, S] and rows of encoded records."""
        return batch[:, : self._pixels].reshape(-1, *self.image.shape), batch[:, self._pixels :]

    def possible(self, stored: Stored) -> "Tensor | None":
        """See `Schema.possible`: as the rows are."""
        return self.row.possible(stored)

    def features(self, *, frequencies: int, largest_norm: float) -> Features:
        """Those of image and row side by side."""
        from silogan.common.modality.joint_features import Joint  # noqa: PLC0415  (torch)

        image = self.image.features(frequencies=frequencies, largest_norm=largest_norm)
        return Joint(self, image, WARM_START_SHARE)

    def describe(self) -> str:
        """See `Schema.describe`."""
        return f"{self.image.describe()} with rows of {len(self.row.columns)} columns"

    def difference(self, other: Schema) -> str:
        """See `Schema.difference`: columns are named where nothing but rows differs."""
        found = super().difference(other)
        return self.row.difference(other.row) if isinstance(other, JointSchema) and found == "row" else found

    def with_classes(self, classes: tuple[str, ...]) -> "JointSchema":
        """See `Schema.with_classes`."""
        return replace(self, classes=classes, row=self.row.with_classes(classes))

    def to_plain(self) -> dict[str, Any]:
        """See `Schema.to_plain`."""
        return listed(super().to_plain())


def image_of(schema: Schema) -> Schema:
    """The schema of the images alone, where records are images with something else; else the schema itself."""
    return schema.image if isinstance(schema, JointSchema) else schema
