"""The declared columns of a CSV file, as texts; all others are dropped as they are read.

The name of a patient's file, a value, the number of a line or a count is in no error: each may tell of one patient.
"""

import csv
from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from io import TextIOBase
from itertools import islice
from operator import itemgetter
from pathlib import Path

from silogan.common.errors import DataError

MOST_BYTES = 2**30
_LONGEST_LINE = 2**20
_BLOCK = 65_536


def read_blocks(path: Path, columns: Sequence[str], thing: str) -> Iterator[list[tuple[str, ...]]]:
    """Reads a file of RFC 4180 in UTF-8, with or without a byte order mark, block by block.

    Blanks around a name of the header do not count, and columns may stand in any order. Empty lines are left out.

    Args:
        path: the file.
        columns: names of the columns to read, at least one.
        thing: what an error calls the file, as "site 'bergen'".

    Yields:
        For each column in the order of `columns`, the texts of up to 65,536 rows; at least one row.

    Raises:
        DataError: the file cannot be read, is too large, is not such a CSV file, or has not each column once.
    """
    with _opened(path, thing) as rows:
        yield from _blocks(rows, columns, thing)


def read_header(path: Path, thing: str) -> list[str]:
    """The names of all columns; see `read_blocks`.

    Raises:
        DataError: the file cannot be read, is too large, or is not such a CSV file.
    """
    with _opened(path, thing) as rows:
        return _header(rows, thing)


@contextmanager
def _opened(path: Path, thing: str) -> Generator[Iterator[list[str]]]:
    """The rows of a file; whatever reading them raises becomes a `DataError`."""
    try:
        if not path.is_file():
            raise DataError(thing, "is not a file", "correct its path")
        if path.stat().st_size > MOST_BYTES:
            raise DataError(thing, "has a file larger than 1 GiB", "export the declared columns alone")
        with path.open(encoding="utf-8-sig", newline="") as file:
            yield csv.reader(_lines(file, thing), strict=True)
    except OSError as error:
        raise DataError(thing, f"cannot be read ({error.strerror or 'damaged'})", "check the file") from None
    except UnicodeDecodeError:
        raise DataError(thing, "is not UTF-8 text", "export it again as CSV in UTF-8") from None
    except csv.Error:
        raise DataError(thing, "is not CSV as in RFC 4180", "export it again, with commas and double quotes") from None


def _header(rows: Iterator[list[str]], thing: str) -> list[str]:
    names = [name.strip() for name in next(rows, [])]
    if not any(names):
        raise DataError(thing, "has no header", "begin it with a line of the columns' names")
    if len(names) == 1 and any(sign in names[0] for sign in ";\t"):
        raise DataError(thing, "has semicolons or tabs between its columns", "export it again, with commas")
    return names


def _blocks(rows: Iterator[list[str]], columns: Sequence[str], thing: str) -> Iterator[list[tuple[str, ...]]]:
    header = _header(rows, thing)
    times = Counter(header)
    for name in columns:
        if not times[name]:
            hint = "add it to the file, or correct the description of the columns"
            raise DataError(f"column '{name}' of {thing}", "is missing", hint)
        if times[name] > 1:
            raise DataError(f"column '{name}' of {thing}", "is there twice", "keep one")
    wanted = itemgetter(*(header.index(name) for name in columns))
    while block := list(islice(rows, _BLOCK)):
        filled = [row for row in block if row]
        if any(len(row) != len(header) for row in filled):
            problem = "has a row with more or fewer values than the header"
            raise DataError(thing, problem, "quote values that hold a comma")
        if filled:
            found = zip(*map(wanted, filled), strict=True) if len(columns) > 1 else [map(wanted, filled)]
            yield [tuple(texts) for texts in found]


def _lines(file: TextIOBase, thing: str) -> Iterator[str]:
    """The lines, none of them long and none with a NUL, which the csv module lets through."""
    while line := file.readline(_LONGEST_LINE):
        if len(line) == _LONGEST_LINE or "\0" in line:
            raise DataError(thing, "is not text in lines", "export it again as CSV in UTF-8")
        yield line
