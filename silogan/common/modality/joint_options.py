"""The options of images with rows as a source."""

# pyright: reportIncompatibleVariableOverride=false
# A tag is one of the texts that the base allows, and nobody can change it: sections are frozen.

from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from silogan.common.errors import ConfigError
from silogan.common.modality.base import Schema
from silogan.common.modality.image_options import Folder
from silogan.common.modality.joint import JointSchema
from silogan.common.modality.table import TableSchema
from silogan.common.modality.table_file import read_description
from silogan.common.reading import one_line


class ImagesWithRows(Folder):
    """Image files, in one folder per class, and a CSV file with a row for each."""

    source: Literal["images-with-rows"] = "images-with-rows"
    rows: Path | None = Field(default=None, strict=False)
    """CSV file with the columns file (relative to root) and those of the description"""

    columns: Path | None = Field(default=None, strict=False)
    """YAML file that describes the columns, see docs/tables.md; it is public, and never made from patients' data"""

    def declared_schema(self) -> JointSchema:
        """See `Data.declared_schema`."""
        image = self.declared_images()
        return self.with_rows(image.size, image.channels, image.classes)

    def described(self, registered: Schema) -> Schema:
        """See `Data.described`."""
        if not isinstance(registered, JointSchema):
            return registered
        return self.with_rows(registered.size, registered.channels, registered.classes)

    def with_rows(self, size: int, channels: int, classes: tuple[str, ...]) -> JointSchema:
        """The schema of images of this form and the rows of the description.

        Raises:
            ConfigError: there is no description, or it describes no rows of images.
        """
        try:
            return JointSchema(classes, size, channels, self._described(classes))
        except ValidationError as error:
            raise one_line(error, "data.columns") from None

    def _described(self, classes: tuple[str, ...]) -> TableSchema:
        if self.columns is None:
            hint = "name the YAML file that describes the columns (silogan data describe drafts one)"
            raise ConfigError("data.columns", "is not given", hint)
        found = read_description(self.columns.expanduser())
        if found.label:
            problem = f"names a label, '{found.label}', but the class of an image is its folder's"
            raise ConfigError("data.columns", problem, "remove it from the description")
        return found.with_classes(classes)
