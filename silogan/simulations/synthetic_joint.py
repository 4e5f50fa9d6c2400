"""Reads synthetic images with rows, as `silogan generate` writes them; their rows as those of a table."""

from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from silogan.client.data.table_values import converted, read_column
from silogan.common.csv_file import read_blocks
from silogan.common.errors import DataError
from silogan.common.modality import Stored
from silogan.common.modality.image import PIXELS
from silogan.common.modality.joint import FILE, JointSchema
from silogan.common.modality.table import LARGEST_NUMBER, Category, Column
from silogan.server.release.outputs.image_folder import ROWS
from silogan.simulations.synthetic_images import DAMAGE, Images, read_images, unknown
from silogan.simulations.synthetic_rows import convert_of, read_rows

_AGAIN = "generate the records again"


def read_joint(path: Path, schema: JointSchema) -> tuple[Stored, Tensor]:
    """The records of a folder of PNG with `rows.csv`, or of an NPZ file, and their labels int64[N].

    Raises:
        DataError: `silogan generate` cannot have written it, an image has no row or two, or a value is not what the
            description says, other than by its range.
    """
    images = read_images(path)
    labels = images.labels_in(schema.classes)
    if labels is None:
        raise DataError(f"'{path}'", "holds images without a class", _AGAIN)
    rows = _of_npz(path, schema, len(labels)) if path.is_file() else _of_csv(path / ROWS, schema, images)
    return {PIXELS: images.pixels, **rows}, labels


def _of_csv(path: Path, schema: JointSchema, images: Images) -> Stored:
    """The row of each image, in the order of the images."""
    thing = f"'{path}'"
    rows, _ = read_rows(path, schema.row)
    files = [PurePosixPath(file) for (block,) in read_blocks(path, [FILE], thing) for file in block]
    places = {file: place for place, file in enumerate(files)}
    if len(places) < len(files):
        raise DataError(thing, "has two lines for one file", _AGAIN)
    if missing := [file for file in images.files if file not in places]:
        raise DataError(thing, f"has no line for '{missing[0]}'", _AGAIN)
    lines = torch.tensor([places[file] for file in images.files])
    return {name: values[lines] for name, values in rows.items()}


def _of_npz(path: Path, schema: JointSchema, count: int) -> Stored:
    """The arrays `row_NAME` of each column."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {column.name: archive[f"row_{column.name}"] for column in schema.row.columns}
        if any(array.shape != (count,) for array in arrays.values()):
            raise ValueError
        columns = [(column, arrays[column.name]) for column in schema.row.columns]
        return {of.name: torch.from_numpy(_values(of, array, schema, f"'{path}'")) for of, array in columns}
    except DAMAGE:
        raise unknown(path) from None


def _values(column: Column, array: NDArray[np.generic], schema: JointSchema, thing: str) -> NDArray[np.float64]:
    """A column as it is stored: names as positions, and numbers as they are."""
    if isinstance(column, Category):
        if array.dtype.kind != "U":
            raise ValueError
        read = partial(converted, convert=convert_of(column, schema.row))
        return read_column(column.name, read, array.tolist(), thing)
    values = array.astype(np.float64)
    if (np.abs(values) > LARGEST_NUMBER).any():
        raise ValueError
    return values
