"""The public shape of image data: what may be known of it without looking at a single patient."""

from typing import Annotated, Any

from pydantic import Field, TypeAdapter
from pydantic.dataclasses import dataclass

from common.config.bounds import STRICT, Channels, Classes, Name


@dataclass(frozen=True, config=STRICT)
class ImageSchema:
    """Size, channels and classes of a data set, from public constants or the scenario, never from the data.

    Attributes:
        size: height and width in pixels (images are square).
        channels: 1 (grey) or 3 (colour).
        classes: one name per label; label i is `classes[i]`.

    Raises:
        ValueError: a field has another type than is said here, or is out of its range.
    """

    size: Annotated[int, Field(ge=1, le=4096)]
    channels: Channels
    classes: Annotated[tuple[Name, ...], Field(min_length=1, strict=False)]

    @staticmethod
    def from_plain(values: dict[str, Any]) -> "ImageSchema":
        """The schema that was written with `dataclasses.asdict` and read back from YAML or JSON.

        Raises:
            ValueError: as above, or there are more classes than a study may have.
        """
        TypeAdapter(Classes).validate_python(values["classes"])
        return ImageSchema(**values)

    @property
    def num_classes(self) -> int:
        """Number of labels."""
        return len(self.classes)
