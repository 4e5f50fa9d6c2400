"""Synthetic images: one file and one line in `OUTPUT` per format, and a contact sheet."""

from torch import Tensor

from silogan.common.modality import Stored
from silogan.common.modality.image import PIXELS
from silogan.server.release.contact_sheet import UNCONDITIONAL_COLUMNS, class_grid, png_bytes
from silogan.server.release.generator import ReleasedGenerator
from silogan.server.release.outputs.base import Output
from silogan.server.release.outputs.image_dicom import write_dicom
from silogan.server.release.outputs.image_nifti import write_nifti
from silogan.server.release.outputs.image_npz import write_npz
from silogan.server.release.outputs.image_parquet import write_parquet
from silogan.server.release.outputs.image_png import write_png


def preview(records: Stored, labels: Tensor | None, generator: ReleasedGenerator) -> bytes:
    """A contact sheet with a column for each class."""
    rows = -(-len(records[PIXELS]) // (UNCONDITIONAL_COLUMNS if labels is None else generator.schema.num_classes))
    sheet = class_grid(records[PIXELS], labels, generator.schema.classes, rows=rows)
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
