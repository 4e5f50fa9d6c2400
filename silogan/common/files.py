"""Atomic files: either complete or absent, whatever kills the process."""

import os
import shutil
import tempfile
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

from silogan.common.errors import ConfigError, SiloganError


@contextmanager
def writing(thing: str, hint: str, kind: type[SiloganError] = ConfigError) -> Generator[None]:
    """Whatever the operating system refuses inside is said in one line: `thing` cannot be written.

    Raises:
        SiloganError: of this kind.
    """
    try:
        yield
    except OSError as error:
        raise kind(thing, f"cannot be written ({error.strerror or 'no reason given'})", hint) from None


def write_atomically(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Writes a file through a temporary neighbour, flushes it to the disk and renames it into place.

    Args:
        path: the final path; its folder must exist.
        write: gets the open temporary file and writes the content.

    Raises:
        OSError: the disk is full or the folder not writable; the old file, if any, is untouched.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def write_bytes_atomically(path: Path, content: bytes) -> None:
    """`write_atomically` for content that is already in memory."""
    write_atomically(path, lambda file: file.write(content))


@contextmanager
def folder_atomically(path: Path) -> Generator[Path]:
    """A new folder that appears whole or not at all; it is filled under another name.

    A folder that is there already may be where a disk is mounted, and stays: it gets the finished entries one by one,
    folders first.

    Args:
        path: where the folder is to be; an empty folder may be there, else its parent must exist.

    Yields:
        The folder to fill.

    Raises:
        OSError: the disk is full or the place not writable, or something has come there meanwhile.
    """
    path = path.resolve()
    there = path.is_dir()
    unfinished = (path if there else path.parent) / f".{path.name}.{os.getpid()}.tmp"
    unfinished.mkdir()
    moved: list[Path] = []
    try:
        yield unfinished
        if there:
            for entry in sorted(unfinished.iterdir(), key=Path.is_file):
                moved.append(entry.rename(path / entry.name))
            unfinished.rmdir()
        else:
            unfinished.rename(path)
    except BaseException:
        for entry in (unfinished, *moved):
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink(missing_ok=True)
        raise
    _sync_folder(path if there else path.parent)


def create_privately(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Atomically writes a new file that only its owner can read; never overwrites one.

    Args:
        path: the final path; its folder must exist.
        write: gets the open temporary file and writes the content.

    Raises:
        FileExistsError: there is one of that name, which stays.
        OSError: the disk is full or the folder not writable; there is no file.
    """
    if path.exists():  # before the work; the link below is what decides
        raise FileExistsError(path)
    # A temporary file is its owner's alone from the start, and a link fails where the name is taken.
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.") as file:
        write(cast(BinaryIO, file))
        file.flush()
        os.fsync(file.fileno())
        os.link(file.name, path)
    _sync_folder(path.parent)


def create_secret(path: Path, content: bytes) -> None:
    """`create_privately` for content that is already in memory."""
    create_privately(path, lambda file: file.write(content))


def replace_secret(path: Path, content: bytes) -> None:
    """Atomically replaces a file by one that only its owner can read.

    Raises:
        OSError: the disk is full or the folder not writable; the old file is untouched.
    """
    fresh = path.with_name(f".{path.name}.new")
    fresh.unlink(missing_ok=True)  # of a process that was killed
    create_secret(fresh, content)
    fresh.replace(path)
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Makes a rename durable: POSIX needs the folder itself to be synced."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
