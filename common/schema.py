"""The public shape of image data: what may be known of it without looking at a single patient."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class ImageSchema:
    """Size, channels and classes of a data set, from public constants or the scenario, never from the data.

    Attributes:
        size: height and width in pixels (images are square).
        channels: 1 (grey) or 3 (colour).
        classes: one name per label; label i is `classes[i]`.
    """

    size: int
    channels: int
    classes: tuple[str, ...]

    @staticmethod
    def from_plain(values: dict[str, Any]) -> "ImageSchema":
        """The schema that was written with `dataclasses.asdict` and read back from YAML or JSON."""
        return ImageSchema(values["size"], values["channels"], tuple(values["classes"]))

    @property
    def num_classes(self) -> int:
        """Number of labels."""
        return len(self.classes)
