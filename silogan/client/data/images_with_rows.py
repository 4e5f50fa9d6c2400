"""Images as files in folders by class, and a CSV file with a row for each of them.

The name of an image file is in no error, since it is often a patient's, nor is a value or the number of a line.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from numpy.typing import NDArray

from silogan.client.data.folder import Entry, read_with_files
from silogan.client.data.records import DataSet, Records
from silogan.client.data.settings import required_root
from silogan.client.data.table_values import read_column, reader
from silogan.common.csv_file import read_blocks
from silogan.common.errors import ConfigError, DataError
from silogan.common.modality.joint import FILE
from silogan.common.modality.joint_options import ImagesWithRows
from silogan.common.modality.table import TableSchema

Floats = NDArray[np.float64]


def read(data: ImagesWithRows) -> DataSet:
    """The images as `client/data/folder.py` reads and splits them, each with its line of `data.rows`.

    A line whose image is missing is not an error: patients withdraw. Each image needs a line, and one alone.

    Raises:
        ConfigError, DataError: see `silogan.client.data.folder.read`; `data.rows` or `data.columns` is missing, a
            declared column is missing, or a value is not what the description says.
    """
    required_root(data, "the folder that holds the class folders")
    if data.rows is None:
        raise ConfigError("data.rows", "is not given", f"name the CSV file with the column {FILE} and the columns")
    found, train, test = read_with_files(data)
    channels, size, _ = found.schema.shape
    schema = data.with_rows(size, channels, found.schema.classes)
    thing = f"rows '{data.rows.name}'"
    places, columns = _read(data.rows.expanduser(), schema.row, thing)

    def joined(images: Records, entries: Sequence[Entry]) -> Records:
        lines = _lines(entries, places, thing)
        row = {name: torch.from_numpy(values[lines]) for name, values in columns.items()}
        return replace(images, stored={**images.stored, **row})

    return replace(found, schema=schema, train=joined(found.train, train), test=joined(found.test, test))


def _read(path: Path, schema: TableSchema, thing: str) -> tuple[dict[PurePosixPath, int], dict[str, Floats]]:
    """The place of each file's line, and the values float64[N] of each column."""
    places: dict[PurePosixPath, int] = {}
    readers = {column.name: reader(column, schema.missing) for column in schema.columns}
    blocks: dict[str, list[Floats]] = {name: [read_texts(())] for name, read_texts in readers.items()}
    for files, *texts in read_blocks(path, [FILE, *readers], thing):
        for name in files:
            file = PurePosixPath(name.strip())
            if file in places:
                raise DataError(thing, "have two lines for one file", "keep one line for each image")
            places[file] = len(places)
        for (name, read_texts), column in zip(readers.items(), texts, strict=True):
            blocks[name].append(read_column(name, read_texts, column, thing))
    return places, {name: np.concatenate(parts) for name, parts in blocks.items()}


def _lines(entries: Sequence[Entry], places: Mapping[PurePosixPath, int], thing: str) -> NDArray[np.int64]:
    """The places int64[N] of the images' lines."""
    for entry in entries:
        if entry.file not in places:
            raise DataError(str(entry), f"has no line in {thing}", "add one")
    return np.array([places[entry.file] for entry in entries], dtype=np.int64)
