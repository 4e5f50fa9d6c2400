"""Parquet files of tables, for which pyarrow is needed: an extra, so that it is imported only where it is used."""

import math
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date, datetime, time
from pathlib import Path
from typing import Any, cast

from silogan.common.errors import DataError
from silogan.common.libraries import library

_BLOCK = 65_536


def pyarrow(option: str, hint: str) -> tuple[Any, Any]:
    """The modules `pyarrow` and `pyarrow.parquet`.

    Args:
        option: what needs them, for an error.
        hint: what to do without them.

    Raises:
        UsageError: pyarrow is not installed.
    """
    arrow, parquet = (library(name, "parquet", option, hint=hint) for name in ("pyarrow", "pyarrow.parquet"))
    return arrow, parquet


def read_header(path: Path, thing: str) -> list[str]:
    """The names of all columns.

    Raises:
        UsageError: pyarrow is not installed.
        DataError: the file cannot be read.
    """
    with _opened(path, thing) as file:
        return list(file.schema_arrow.names)


def read_blocks(
    path: Path, columns: Sequence[str], thing: str, separators: Mapping[str, str] | None = None
) -> Iterator[list[tuple[str, ...]]]:
    """Columns of a file as texts, as `silogan.common.csv_file.read_blocks` has them; a missing value is an empty text.

    Args:
        path: of the file.
        columns: their names.
        thing: what the file is called in errors.
        separators: by the name of a column that may hold lists, the sign between two items.

    Raises:
        UsageError: pyarrow is not installed.
        DataError: the file cannot be read, or has not each column once.
    """
    between = separators or {}
    with _opened(path, thing) as file:
        names = list(file.schema_arrow.names)
        for name in columns:
            if names.count(name) != 1:
                problem = "is there twice" if name in names else "is missing"
                hint = "give each declared column once, or correct the description of the columns"
                raise DataError(f"column '{name}' of {thing}", problem, hint)
        for batch in file.iter_batches(batch_size=_BLOCK, columns=list(columns)):
            if batch.num_rows:
                yield [
                    tuple(_text(value, between.get(name)) for value in batch.column(name).to_pylist())
                    for name in columns
                ]


@contextmanager
def _opened(path: Path, thing: str) -> Generator[Any]:
    """The open file; whatever reading it raises becomes a `DataError`."""
    module, parquet = pyarrow(thing, "give CSV")
    if not path.is_file():
        raise DataError(thing, "is not a file", "correct its path")
    try:
        with parquet.ParquetFile(path) as file:
            yield file
    except (OSError, ValueError, module.ArrowException):
        raise DataError(thing, "is not a Parquet file that can be read", "write it again") from None


def _text(value: Any, separator: str | None) -> str:
    """A value as CSV files have it; of a list the items, where a separator is given."""
    if separator is not None and isinstance(value, list):
        return separator.join(_text(item, None) for item in cast(list[Any], value))
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, datetime):  # which is a date too, and what many tools make of one
        return value.date().isoformat() if value.time() == time() else str(value)
    return value.isoformat() if isinstance(value, date) else str(value)
