"""Files with rows, CSV or Parquet, told apart by how their names end."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from silogan.common import csv_file, parquet_file

_PARQUET = ".parquet"
SUFFIXES = (".csv", _PARQUET)
"""How the names of such files end, in small letters."""


def read_header(path: Path, thing: str) -> list[str]:
    """The names of all columns; see `silogan.common.csv_file.read_header`.

    Raises:
        DataError: the file cannot be read.
        UsageError: it is Parquet, and pyarrow is not installed.
    """
    return (parquet_file if _is_parquet(path) else csv_file).read_header(path, thing)


def read_blocks(
    path: Path, columns: Sequence[str], thing: str, separators: Mapping[str, str] | None = None
) -> Iterator[list[tuple[str, ...]]]:
    """Columns as texts, block by block; see `silogan.common.csv_file.read_blocks`.

    Args:
        path: of the file.
        columns: their names.
        thing: what an error calls the file.
        separators: by the name of a column that Parquet may hold as lists, the sign between two items.

    Raises:
        DataError: the file cannot be read, or has not each column once.
        UsageError: it is Parquet, and pyarrow is not installed.
    """
    if _is_parquet(path):
        return parquet_file.read_blocks(path, columns, thing, separators)
    return csv_file.read_blocks(path, columns, thing)


def _is_parquet(path: Path) -> bool:
    return path.suffix.lower() == _PARQUET
