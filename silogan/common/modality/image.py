"""Images: square, grey or colour, one byte per value."""

from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field
from pydantic.dataclasses import dataclass

from silogan.common.bounds import STRICT, Channels, Name
from silogan.common.modality.base import Features, Schema, Stored

if TYPE_CHECKING:
    from torch import Tensor

PIXELS = "pixels"
"""Name of the stored tensor: uint8[N, C, S, S], 0 black to 255 white."""


@dataclass(frozen=True, config=STRICT)
class ImageSchema(Schema):
    """Size, channels and classes of images.

    Attributes:
        size: height and width in pixels (images are square).
        channels: 1 (grey) or 3 (colour).
        classes: one name per label; label i is `classes[i]`.

    Raises:
        ValueError: a field has another type than is said here, or is out of its range.
    """

    kind: ClassVar[str] = "image"
    noun: ClassVar[str] = "images"

    size: Annotated[int, Field(ge=1, le=4096)]
    channels: Channels
    classes: Annotated[tuple[Name, ...], Field(min_length=1, strict=False)]

    @property
    def shape(self) -> tuple[int, ...]:
        """Channels, height and width."""
        return self.channels, self.size, self.size

    def encode(self, stored: Stored) -> "Tensor":
        """See `to_unit_range`."""
        return to_unit_range(stored[PIXELS])

    def decode(self, batch: "Tensor") -> Stored:
        """See `to_bytes`."""
        return {PIXELS: to_bytes(batch)}

    def features(self, *, frequencies: int, largest_norm: float) -> Features:
        """The lowest spatial frequencies."""
        from silogan.common.modality.image_features import Frequencies  # noqa: PLC0415  (torch)

        return Frequencies(self.shape, frequencies, largest_norm)

    def describe(self) -> str:
        """See `Schema.describe`."""
        return f"images of {self.size}x{self.size} pixels, {'grey' if self.channels == 1 else 'colour'}"


def to_unit_range(pixels: "Tensor") -> "Tensor":
    """Scales bytes by public constants, x / 127.5 - 1: uint8 [...] to float32 [...] in [-1, 1]."""
    return pixels.float().div(127.5).sub_(1.0)


def to_bytes(values: "Tensor") -> "Tensor":
    """The inverse of `to_unit_range`, rounded: float [...] to uint8 [...]."""
    return values.add(1).mul_(127.5).round_().clamp_(0, 255).byte()
