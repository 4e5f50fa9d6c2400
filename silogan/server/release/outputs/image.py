"""Synthetic images: one file and one line in `OUTPUT` per format, and a contact sheet."""

from torch import Tensor

from silogan.common.modality import Stored
from silogan.common.modality.image import PIXELS
from silogan.server.release.contact_sheet import UNCONDITIONAL_COLUMNS, abreast, class_grid, png_bytes
from silogan.server.release.generator import ReleasedGenerator
from silogan.server.release.outputs.base import Output
from silogan.server.release.outputs.image_dicom import write_dicom
from silogan.server.release.outputs.image_nifti import write_nifti
from silogan.server.release.outputs.image_npz import write_npz
from silogan.server.release.outputs.image_parquet import write_parquet
from silogan.server.release.outputs.image_png import write_png


def preview(records: Stored, labels: Tensor | None, generator: ReleasedGenerator) -> bytes:
    """A contact sheet with one or more columns for each class."""
    classes = generator.schema.classes
    columns = UNCONDITIONAL_COLUMNS if labels is None else len(classes) * abreast(len(classes))
    sheet = class_grid(records[PIXELS], labels, classes, rows=-(-len(records[PIXELS]) // columns))
    return png_bytes(sheet, generator.png_text())


OUTPUT = Output(
    {
        "png": write_png,
        "npz": write_npz,
        "parquet": write_parquet,
        "dicom": write_dicom,
        "nifti": write_nifti,
    },
    preview,
    UNCONDITIONAL_COLUMNS,
)
