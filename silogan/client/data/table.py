"""Rows of CSV or Parquet files: one or several for each hospital, or one for all with a column that names the hospital.

Errors name a column and a site. A hospital's name is public; a value, the number of a row or a count is not.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from silogan.client.data.records import DataSet, Records
from silogan.client.data.settings import required_root
from silogan.client.data.split import share
from silogan.client.data.table_values import Read, class_converter, converted, read_column, reader
from silogan.common.bounds import Name
from silogan.common.errors import ConfigError, DataError
from silogan.common.modality.table import TableSchema
from silogan.common.modality.table_file import spelled
from silogan.common.modality.table_options import Table
from silogan.common.rows_file import SUFFIXES, read_blocks

_MOST_ROWS = 10_000_000
_NAME = TypeAdapter[str](Name)


def read(data: Table) -> DataSet:
    """The rows of `data.root`: a CSV or Parquet file, or a folder with a file for each hospital.

    In that folder a hospital with several files has a folder of its name.

    The name of a hospital is that of its file or folder. Its rows under one name are of one patient, in whatever files
    they are.

    A row falls into the test split with probability `data.test_fraction` by a hash of its patient's name, or of its
    own content where there is no patient column: adding or removing one patient moves no other between the splits.

    A site or a class without rows is not an error, nor is an optional column without values: patients withdraw, and a
    hospital that continues without them must not reveal that one of them had been the last.

    Raises:
        ConfigError: `data.root` or `data.columns` is missing, the description is wrong, or both a folder and a column
            name the sites.
        DataError: a file cannot be read, a declared column is missing, or a value is not what the description says.
    """
    root = required_root(data, "a CSV file, or a folder with one or a folder for each hospital")
    schema = data.declared_schema()
    if not root.exists():
        hint = "--set data.root=PLACE of the CSV file, or of the folder with one for each hospital"
        raise DataError("data.root", "does not exist", hint)
    sites = files_of(root)
    if root.is_dir() and schema.site:
        problem = f"names a column of sites, '{schema.site}', but data.root is a folder, whose files are the sites"
        raise ConfigError("data.columns", problem, "remove one of them")
    several = len(sites) > 1
    rows = _Rows(schema)
    for site, files in sites.items():
        for path in files:
            rows.read(path, f"site '{site}'", site if several else "")
    names = tuple(sites) if several else tuple(sorted(set(rows.sites))) if schema.site else ()
    held_out = rows.shares() < data.test_fraction
    train, test = (rows.records(np.flatnonzero(part), names) for part in (~held_out, held_out))
    return DataSet(schema, train, test, names or None)


def files_of(root: Path) -> dict[str, list[Path]]:
    """The files of each site, by its name; see `read`.

    Raises:
        DataError: there is none, or a name or link is wrong.
    """
    try:
        found = _sites(root) if root.is_dir() else [(root.stem, [root])]
        outside = {name for name, files in found for path in files if not _is_within(path, root)}
    except (OSError, RuntimeError):  # RuntimeError: a loop of links
        raise DataError("data.root", "cannot be read", "check its permissions and links") from None
    if not found:
        raise DataError("data.root", "is a folder without a .csv or .parquet file", "give one for each hospital")
    for name, _ in found:
        _check_name(name, "data.root", "has a file")
    if outside:
        raise DataError(f"site '{min(outside)}'", "is a link that leaves data.root", "replace it by the file")
    sites = dict(found)
    if len(sites) < len(found):
        raise DataError("data.root", "has two files for one site", "keep one, or put both into a folder of its name")
    return sites


def _sites(root: Path) -> list[tuple[str, list[Path]]]:
    """Name and files of each site: a file by itself, or a folder with some."""
    found = [(item.name, _visible(item)) if _is_folder(item) else (item.stem, [item]) for item in _visible(root)]
    files = [(name, [item for item in items if item.suffix.lower() in SUFFIXES]) for name, items in found]
    return [(name, items) for name, items in files if items]


def _visible(folder: Path) -> list[Path]:
    return sorted(item for item in folder.iterdir() if not item.name.startswith("."))


def _is_folder(item: Path) -> bool:
    return item.is_dir() and item.suffix.lower() not in SUFFIXES


def _is_within(path: Path, root: Path) -> bool:
    return path == root or path.resolve().is_relative_to(root.resolve())


def _check_name(name: str, thing: str, has: str) -> None:
    try:
        _NAME.validate_python(name)
    except ValidationError:
        problem = f"{has} whose name is no name of a site (few and printable characters)"
        raise DataError(thing, problem, "correct it") from None


@dataclass
class _Rows:
    """The rows of all files so far.

    Attributes:
        schema: says which columns are read, and how.
        sites: names of the sites [N], if there are several.
        patients: the patient of each row [N], if there is such a column.
    """

    schema: TableSchema
    sites: list[str] = field(default_factory=list[str])
    patients: list[str] = field(default_factory=list[str])

    def __post_init__(self) -> None:
        known = (*self.schema.columns, *self.schema.code_sets)
        self._readers: dict[str, Read] = {column.name: reader(column, self.schema.missing) for column in known}
        if self.schema.label:
            of_label = class_converter(self.schema.label_spellings, self.schema.missing)
            self._readers[self.schema.label] = partial(converted, convert=of_label)
        self._blocks: dict[str, list[NDArray[Any]]] = {name: [read(())] for name, read in self._readers.items()}
        self._count = 0

    def read(self, path: Path, thing: str, site: str) -> None:
        """Adds the rows of a file; `site` is the name of its site, or empty if there is one file.

        Raises:
            DataError: see `read`.
        """
        patient, origin = self.schema.patient, self.schema.site
        names = [*self._readers, *(name for name in (patient, origin) if name)]
        separators = {one.name: one.separator for one in self.schema.code_sets}
        for block in read_blocks(path, names, thing, separators):
            columns, count = dict(zip(names, block, strict=True)), len(block[0])
            self._count += count
            if self._count > _MOST_ROWS:
                raise DataError(thing, "has too many rows", f"give at most {_MOST_ROWS:,} in all")
            for name, of_texts in self._readers.items():
                self._blocks[name].append(read_column(name, of_texts, columns[name], thing))
            if patient:
                self.patients += self._named(columns[patient], f"column '{patient}' of {thing}")
            if origin:
                self.sites += self._of_sites(columns[origin], f"column '{origin}' of {thing}")
            elif site:
                self.sites += [site] * count

    def _named(self, texts: Sequence[str], thing: str) -> list[str]:
        """Names of patients or sites, none of them missing, in one spelling: a patient must not become two."""
        found: dict[str, str] = {text: spelled(text) for text in dict.fromkeys(texts)}
        if not {"", *self.schema.missing}.isdisjoint(found.values()):
            raise DataError(thing, "has a missing value", "complete or remove such rows")
        return [found[text] for text in texts]

    def _of_sites(self, texts: Sequence[str], thing: str) -> list[str]:
        found = self._named(texts, thing)
        for name in set(found):
            _check_name(name, thing, "has a value")
        return found

    def shares(self) -> NDArray[np.float64]:
        """For each row a number in [0, 1), the same for all rows of a patient, or for all that are alike."""
        if self.schema.patient:
            of_patient = {name: share(name.encode()) for name in set(self.patients)}
            return np.array([of_patient[name] for name in self.patients], dtype=np.float64)
        contents = self._contents()
        if self.schema.site:
            contents = (content + site.encode() for content, site in zip(contents, self.sites, strict=True))
        return np.fromiter(map(share, contents), np.float64, self._count)

    def records(self, chosen: NDArray[np.int64], names: tuple[str, ...]) -> Records:
        """The rows at positions int64[M]; `names` are those of the sites, if there are several."""
        values = {name: torch.from_numpy(self._values(name)[chosen]) for name in self._blocks}
        label = values.pop(self.schema.label) if self.schema.label else torch.zeros(len(chosen))
        codes = {name: code for code, name in enumerate(names)}
        sites = torch.tensor([codes[self.sites[row]] for row in chosen], dtype=torch.int64) if names else None
        found = Records(values, label.long(), sites)
        if not self.schema.patient:
            return found
        return found.of_patients([self.patients[row] for row in chosen], by_site=True)

    def _values(self, name: str) -> NDArray[Any]:
        """One column, float64[N], or bool[N, codes] of a code set."""
        self._blocks[name] = [np.concatenate(self._blocks[name])]
        return self._blocks[name][0]

    def _contents(self) -> Iterator[bytes]:
        """What is read of each row, the same on every machine."""
        sets = [self._values(one.name) for one in self.schema.code_sets]
        plain = self._blocks.keys() - {one.name for one in self.schema.code_sets}
        values = np.stack([self._values(name) for name in self._blocks if name in plain], axis=1)
        values[np.isnan(values)] = np.nan
        rows = values.astype("<f8", copy=False).view(np.uint8)
        rows = np.concatenate([rows, *(np.packbits(part, axis=1) for part in sets)], axis=1)
        width, content = rows.shape[1], rows.tobytes()
        return (content[start : start + width] for start in range(0, len(content), width))
