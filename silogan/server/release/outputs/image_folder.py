"""Folders of image files by class, with a table of their names and classes."""

import csv
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from silogan.common.errors import UsageError
from silogan.common.models.networks import Drawn
from silogan.server.release.about import About
from silogan.server.release.arrays import images_of
from silogan.server.release.croissant import CROISSANT_FILE, field, file_object, record_set
from silogan.server.release.manifest import SUMS_FILE
from silogan.server.release.outputs.written import ABOUT, README, Described, write_folder

UNLABELLED = "images"
"""The folder of images without a class."""

METADATA, ROWS = "metadata.csv", "rows.csv"
FILE_NAME, LABEL = "file_name", "label"
"""Columns of `metadata.csv`, as Hugging Face's `imagefolder` reads them."""

_OURS = {name.lower() for name in (METADATA, ROWS, ROWS + ABOUT, README, CROISSANT_FILE, SUMS_FILE)}

Pixels = NDArray[np.uint8]
Save = Callable[[Path, Pixels, str, int], object]
"""Writes an image [S, S] or [S, S, 3] of a class, which is the so manieth of it, to a path."""


class Layout(NamedTuple):
    """How a format keeps images, one file each.

    Attributes:
        file_format: its name.
        ending: of the names of files.
        loading: how to load the folder, in a few lines of Python.
        images: the image files, and the records in them, as Croissant has them.
    """

    file_format: str
    ending: str
    loading: str
    images: Described


def require_folders(about: About, file_format: str) -> None:
    """Every class can have a folder of its name, on any system.

    Raises:
        UsageError: one cannot.
    """
    taken = set(_OURS)
    for name in about.schema.classes:
        if name in ("", "..") or "\0" in name or Path(name).name != name or name.lower() in taken:
            problem = f"class {name!r} cannot be the name of a folder"
            raise UsageError(f"--format {file_format}", problem, "use npz or parquet")
        taken.add(name.lower())


def write_by_class(out: Path, drawn: Iterable[Drawn], about: About, layout: Layout, save: Save) -> None:
    """A folder with a file of each image by class, and `metadata.csv` with a line for each.

    Raises:
        UsageError: a class cannot have a folder of its name.
    """
    require_folders(about, layout.file_format)
    labelled, parts = with_labels(drawn)

    def fill(folder: Path) -> Described:
        saved = save_by_class(folder, parts, about, layout.ending, save)
        lines = ((name, name.rpartition("/")[0]) for _, names in saved for name in names)
        files, records = write_metadata(folder, lines, (FILE_NAME, LABEL) if labelled else (FILE_NAME,))
        return [*files, *layout.images[0]], [*records, *layout.images[1]]

    write_folder(out, about, layout.loading, fill)


def with_labels(drawn: Iterable[Drawn]) -> tuple[bool, Iterator[Drawn]]:
    """Whether these records have labels, and the records."""
    parts = iter(drawn)
    first = next(parts)
    return first.labels is not None, chain([first], parts)


def save_by_class(
    folder: Path, drawn: Iterable[Drawn], about: About, ending: str, save: Save
) -> Iterator[tuple[Drawn, list[str]]]:
    """Writes each image to `folder/CLASS/000000ENDING`; yields each part with the names of its files."""
    written: Counter[str] = Counter()
    for part in drawn:
        names: list[str] = []
        for pixels, of in zip(images_of(part.records), class_names(part, about), strict=True):
            if not written[of]:
                (folder / of).mkdir()
            names.append(f"{of}/{written[of]:06d}{ending}")
            save(folder / names[-1], pixels, of, written[of])
            written[of] += 1
        yield part, names


def class_names(part: Drawn, about: About) -> list[str]:
    """The folder of each image."""
    count = len(next(iter(part.records.values())))
    return [UNLABELLED] * count if part.labels is None else [about.schema.classes[code] for code in part.labels]


def write_metadata(folder: Path, lines: Iterable[tuple[Any, ...]], columns: tuple[str, ...]) -> Described:
    """Writes `metadata.csv`, and describes it and its records; a line may be longer than the `columns` to write."""
    with (folder / METADATA).open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(columns)
        table.writerows(line[: len(columns)] for line in lines)
    fields = [field(name, "sc:Text", METADATA, {"column": name}) for name in columns]
    return [file_object(folder / METADATA, METADATA, "text/csv")], [record_set("records", fields)]
