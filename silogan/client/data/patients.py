"""The patient of each image: a hospital's manifest, names as codes, and simulated patients for data without any.

The name of a patient or of a file is in no error: a line of the manifest is named by its number.
"""

import csv
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import torch
from torch import Tensor

from silogan.common.errors import DataError

_FILE, _PATIENT = "file", "patient"


class Row(NamedTuple):
    """What a manifest says about one file, and on which line."""

    patient: str
    line: int


def read_manifest(path: Path) -> dict[PurePosixPath, Row]:
    """Reads the columns `file` and `patient` of a CSV file (RFC 4180, UTF-8); all others are dropped on reading.

    Blanks around a value do not count: the same patient must not become two.

    Args:
        path: the manifest, `data.patients`.

    Returns:
        The row of each file, which is named relative to `data.root`.

    Raises:
        DataError: the manifest cannot be read, lacks a column, or has a line that is incomplete or repeats a file.
    """
    thing = f"manifest '{path.name}'"
    rows: dict[PurePosixPath, Row] = {}
    try:
        if not path.is_file():
            raise DataError(thing, "is not a file", "correct data.patients")
        with path.open(encoding="utf-8-sig", newline="") as file:
            for name, row in _rows(file, thing):
                if name in rows:
                    raise DataError(f"line {row.line} of {thing}", "repeats a file", "keep one line for each image")
                rows[name] = row
    except OSError as error:
        raise DataError(thing, f"cannot be read ({error.strerror or 'damaged'})", "check the file") from None
    except (UnicodeDecodeError, csv.Error):
        raise DataError(thing, "is not CSV in UTF-8", "export it again") from None
    return rows


def simulated_patients(labels: Tensor, images_per_patient: int) -> Tensor:
    """Simulated patients: in the order of the data, each run of so many images of one class is one patient.

    Args:
        labels: int64 [N], the class of each image.
        images_per_patient: how many; the last patient of a class may have fewer.

    Returns:
        int64 [N], codes without gaps from 0.
    """
    order = labels.argsort(stable=True)
    _, sizes = labels.unique(return_counts=True)
    starts = sizes.cumsum(0) - sizes
    rank_in_class = torch.arange(len(labels)) - starts.repeat_interleave(sizes)
    codes = torch.empty_like(labels)
    codes[order] = (rank_in_class % images_per_patient == 0).cumsum(0) - 1
    return codes


def _rows(lines: Iterable[str], thing: str) -> Iterator[tuple[PurePosixPath, Row]]:
    reader = csv.reader(lines, strict=True)
    header = [name.strip() for name in next(reader, [])]
    if header.count(_FILE) != 1 or header.count(_PATIENT) != 1:
        problem = f"needs exactly one column '{_FILE}' and one column '{_PATIENT}'"
        raise DataError(thing, problem, f"give it the header {_FILE},{_PATIENT}")
    file, patient = header.index(_FILE), header.index(_PATIENT)
    for cells in reader:
        if not cells:
            continue
        where = f"line {reader.line_num} of {thing}"
        if len(cells) != len(header):
            raise DataError(where, "has more or fewer values than the header", "quote values that hold a comma")
        name, code = cells[file].strip(), cells[patient].strip()
        if not name or not code:
            raise DataError(where, f"has no {_PATIENT if name else _FILE}", "complete or remove the line")
        yield PurePosixPath(name), Row(code, reader.line_num)
