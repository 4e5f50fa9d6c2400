"""Reads files of synthetic rows, written by `silogan generate` or by another tool.

They are public, and may break the description of their columns: that is counted. So a number outside of its range is
read as it is, and so is a missing one. A category must have one of its values, since another is a spelling unheard of.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from client.data.table_values import Convert, Unreadable, class_converter, converted, converter
from common import csv_file, parquet_file
from common.errors import DataError
from common.modality import Stored
from common.modality.table import FIRST_DAY, LARGEST_NUMBER, LAST_DAY, Category, Column, TableSchema

READERS = {".csv": csv_file.read_blocks, ".parquet": parquet_file.read_blocks}
"""By the end of a file's name."""

_MOST_ROWS = 10_000_000


def read_rows(path: Path, schema: TableSchema) -> tuple[Stored, Tensor | None]:
    """The rows of a file, and their labels int64[N]; None if the schema has no label.

    Columns that the schema does not declare are not read, and neither are those of patient and site.

    Raises:
        DataError: the file cannot be read, a column is missing, or a value is not what the description says, other
            than by its range.
        UsageError: it is Parquet, and pyarrow is not installed.
    """
    thing = f"'{path}'"
    converters = {column.name: _converter(column, schema) for column in schema.columns}
    if schema.label:
        spellings = _with_names(schema.classes, schema.label_spellings, schema.label)
        converters[schema.label] = class_converter(spellings, schema.missing)
    parts = {name: [np.empty(0)] for name in converters}
    count = 0
    for block in READERS[path.suffix.lower()](path, list(converters), thing):
        count += len(block[0])
        if count > _MOST_ROWS:
            raise DataError(thing, "has too many rows", f"give at most {_MOST_ROWS:,}")
        for (name, convert), texts in zip(converters.items(), block, strict=True):
            try:
                parts[name].append(converted(texts, convert))
            except Unreadable as fault:
                raise DataError(f"column '{name}' of {thing}", fault.problem, fault.hint) from None
    if not count:
        raise DataError(thing, "has no rows", "give at least one")
    stored = {name: torch.from_numpy(np.concatenate(values)) for name, values in parts.items()}
    labels = stored.pop(schema.label).long() if schema.label else None
    return stored, labels


def _converter(column: Column, schema: TableSchema) -> Convert:
    """How a column's texts are read, where no value is refused for its range or for being missing."""
    if isinstance(column, Category):
        spellings = _with_names(column.values, column.spellings, column.name)
        return converter(replace(column, spellings=spellings, optional=True), schema.missing)
    if column.clamp:
        return converter(replace(column, optional=True), schema.missing)
    ends = (FIRST_DAY, LAST_DAY) if column.date else (-LARGEST_NUMBER, LARGEST_NUMBER)
    wide = replace(column, low=ends[0], high=ends[1], edges=(), resolution=float(column.date), optional=True)
    return converter(wide, schema.missing)


def _with_names(
    names: tuple[str, ...], spellings: tuple[tuple[str, ...], ...], column: str
) -> tuple[tuple[str, ...], ...]:
    """The spellings of each name, and the name itself, which is what `silogan generate` writes.

    Raises:
        DataError: a name is how files write another.
    """
    for place, name in enumerate(names):
        if any(name in texts for texts in (*spellings[:place], *spellings[place + 1 :])):
            problem = f"calls a value '{name}' as files write another"
            raise DataError(f"column '{column}'", problem, "rename it in the description, or evaluate the run folder")
    return tuple((*texts, *({name} - {*texts})) for name, texts in zip(names, spellings, strict=True))
