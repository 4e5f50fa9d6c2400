"""Hashes of the files of a folder, one line a file: `sha256sum -c SHA256SUMS` checks them."""

import hashlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from silogan.common.errors import DataError
from silogan.common.files import write_atomically

SUMS_FILE = "SHA256SUMS"


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's content, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def files_in(folder: Path) -> list[str]:
    """All files in and below a folder but its own `SHA256SUMS`, relative to it, with slashes, sorted.

    Raises:
        DataError: there is a link, or what is neither file nor folder: its content could change unseen.
    """
    found: list[str] = []
    for place, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(place, name)
            if path.is_symlink() or not (path.is_dir() or path.is_file()):
                raise DataError(f"'{path}'", "is not a plain file or folder", "replace it with its content")
        found += (Path(place, name).relative_to(folder).as_posix() for name in files)
    return sorted(name for name in found if name != SUMS_FILE)


def sum_lines(folder: Path, names: Iterable[str]) -> Iterator[bytes]:
    """A line of each of these files, relative to the folder; a name's backslashes are escaped as GNU does it."""
    for name in names:
        escaped = name.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")
        start = "" if escaped == name else "\\"
        yield os.fsencode(f"{start}{sha256_of(folder / name)}  {escaped}\n")


def write_sums(folder: Path) -> None:
    """Writes `SHA256SUMS` of all files in and below a folder.

    Raises:
        DataError: see `files_in`.
    """
    names = files_in(folder)
    write_atomically(folder / SUMS_FILE, lambda file: file.writelines(sum_lines(folder, names)))
