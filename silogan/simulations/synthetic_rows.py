"""Reads files of synthetic rows, written by `silogan generate` or by another tool.

They are public, and may break the description of their columns: that is counted. So a number outside of its range is
read as it is, so is a missing one, and so are too many codes. A category must have one of its values, and a code must
be listed, since another is a spelling unheard of.
"""

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from silogan.client.data.table_values import Convert, Read, class_converter, converted, converter, read_column, reader
from silogan.common.errors import DataError
from silogan.common.modality import Stored
from silogan.common.modality.code_set import MOST_IN_ROW, CodeSet
from silogan.common.modality.table import FIRST_DAY, LARGEST_NUMBER, LAST_DAY, Category, Column, TableSchema
from silogan.common.rows_file import read_blocks

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
    readers: dict[str, Read] = {
        column.name: partial(converted, convert=convert_of(column, schema)) for column in schema.columns
    }
    readers |= {one.name: _reader(one, schema) for one in schema.code_sets}
    if schema.label:
        spellings = _with_names(schema.classes, schema.label_spellings, schema.label)
        readers[schema.label] = partial(converted, convert=class_converter(spellings, schema.missing))
    parts = {name: [read(())] for name, read in readers.items()}
    count = 0
    separators = {one.name: one.separator for one in schema.code_sets}
    for block in read_blocks(path, list(readers), thing, separators):
        count += len(block[0])
        if count > _MOST_ROWS:
            raise DataError(thing, "has too many rows", f"give at most {_MOST_ROWS:,}")
        for (name, read), texts in zip(readers.items(), block, strict=True):
            parts[name].append(read_column(name, read, texts, thing))
    if not count:
        raise DataError(thing, "has no rows", "give at least one")
    stored = {name: torch.from_numpy(np.concatenate(values)) for name, values in parts.items()}
    labels = stored.pop(schema.label).long() if schema.label else None
    return stored, labels


def _reader(one: CodeSet, schema: TableSchema) -> Read:
    """How the codes of rows are read, where no row is refused for having too many, up to `MOST_IN_ROW`."""
    return reader(one if one.drop else replace(one, most=min(len(one.values), MOST_IN_ROW)), schema.missing)


def convert_of(column: Column, schema: TableSchema) -> Convert:
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
