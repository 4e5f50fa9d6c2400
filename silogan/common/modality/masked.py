"""An image with its mask: a picture, and which of its pixels belong to what somebody has outlined."""

from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field
from pydantic.dataclasses import dataclass

from silogan.common.bounds import STRICT, Channels, Name
from silogan.common.modality.base import Features, Schema, Stored
from silogan.common.modality.image import ImageSchema, to_unit_range

if TYPE_CHECKING:
    from torch import Tensor

MASK = "mask"
"""Name of the stored tensor: uint8[N, 1, S, S], 255 within the mask and 0 elsewhere."""


@dataclass(frozen=True, config=STRICT)
class MaskedSchema(Schema):
    """Size and channels of images, each of which has a mask.

    What is stored is an image's pixels and its mask. A record is encoded as both: the mask is one more channel.

    Attributes:
        size, channels: of the images, see `ImageSchema`.
        classes: one name per label; label i is `classes[i]`.

    Raises:
        ValueError: a field has another type than is said here, or is out of its range.

    Privacy:
        An image and its mask are one record with one vector, clipped as a whole. So neighbouring data sets differ in
        both together; unit, sensitivity and noise are those of an image with one channel more.
    """

    kind: ClassVar[str] = "masked"
    noun: ClassVar[str] = "images with masks"

    size: Annotated[int, Field(ge=1, le=4096)]
    channels: Channels
    classes: Annotated[tuple[Name, ...], Field(min_length=1, strict=False)]

    @property
    def image(self) -> ImageSchema:
        """Of the images alone."""
        return ImageSchema(self.size, self.channels, self.classes)

    @property
    def shape(self) -> tuple[int, ...]:
        """Channels with that of the mask, which is the last, height and width."""
        return self.channels + 1, self.size, self.size

    def encode(self, stored: Stored) -> "Tensor":
        """See `Schema.encode`; the mask is 1, and the rest -1."""
        import torch  # noqa: PLC0415

        return torch.cat((self.image.encode(stored), to_unit_range(stored[MASK])), dim=1)

    def decode(self, batch: "Tensor") -> Stored:
        """See `Schema.decode`; what is above 0 is mask."""
        image, mask = batch.split([self.channels, 1], dim=1)
        return {**self.image.decode(image), MASK: (mask > 0).byte() * 255}

    def features(self, *, frequencies: int, largest_norm: float) -> Features:
        """The lowest spatial frequencies of image and mask."""
        from silogan.common.modality.image_features import Frequencies  # noqa: PLC0415  (torch)

        return Frequencies(self.shape, frequencies, largest_norm)

    def describe(self) -> str:
        """See `Schema.describe`."""
        return f"{self.image.describe()} with masks"
