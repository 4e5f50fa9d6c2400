"""Hashes of the files of a folder, one line a file: `sha256sum -c SHA256SUMS` checks them."""

import hashlib
import os
from pathlib import Path

from silogan.common.errors import DataError
from silogan.common.files import write_bytes_atomically

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


def sum_line(path: Path, name: str) -> bytes:
    """The line of a file that is called `name` there; backslashes and ends of lines are escaped as GNU does it."""
    escaped = name.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")
    start = "" if escaped == name else "\\"
    return os.fsencode(f"{start}{sha256_of(path)}  {escaped}\n")


def write_sums(folder: Path) -> None:
    """Writes `SHA256SUMS` of all files in and below a folder.

    Raises:
        DataError: see `files_in`.
    """
    lines = [sum_line(folder / name, name) for name in files_in(folder)]
    write_bytes_atomically(folder / SUMS_FILE, b"".join(lines))
