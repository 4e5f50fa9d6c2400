"""The options of images with masks as a source."""

# pyright: reportIncompatibleVariableOverride=false
# A tag is one of the texts that the base allows, and nobody can change it: sections are frozen.

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from silogan.common.bounds import Text
from silogan.common.modality.image import ImageSchema
from silogan.common.modality.image_options import Folder, ImageSource
from silogan.common.modality.masked import MaskedSchema


class Masked(ImageSource):
    """Options of every source of images with masks."""

    def declared_schema(self) -> MaskedSchema:
        """See `Data.declared_schema`."""
        image = self.declared_images()
        return MaskedSchema(image.size, image.channels, image.classes)


class ImagesWithMasks(Folder, Masked):
    """Image files, in one folder per class, and for each a file with its mask."""

    source: Literal["images-with-masks"] = "images-with-masks"
    masks: Path | None = Field(default=None, strict=False)
    """folder with the mask of each image, where it has the image's own path and name but for the ending; beside the
    images if not given"""

    mask_suffix: Text = ""
    """what the name of a mask has before its ending and that of its image has not, as _mask of a_mask.png for a.png"""

    def is_image(self, name: str) -> bool:
        """See `Folder.is_image`."""
        return self.masks is not None or not self.mask_suffix or not name.endswith(self.mask_suffix)


class Phantoms(Masked):
    """Procedural phantoms: a body with an organ, and in it a lesion, which the mask outlines; no file is needed."""

    source: Literal["phantoms"] = "phantoms"
    records: Annotated[int, Field(ge=10, le=20_000)] = 2000
    """phantoms in both splits together"""

    draw_seed: Annotated[int, Field(ge=0, le=2**63 - 1)] = 0
    """seed of the phantoms"""

    def declared_images(self) -> ImageSchema:
        """See `ImageSource.declared_images`; nothing is open."""
        return ImageSchema(self.image_size or SIDE, self.channels or 1, self.classes or CLASSES)


SIDE = 32
"""Height and width of phantoms in pixels, where nothing else is asked for."""

CLASSES = ("nodule", "mass")
"""A small lesion, and a large one."""
