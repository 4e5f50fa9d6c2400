"""Backup and restore of a coordinator's folder, in one file.

It holds what a coordinator cannot recreate: settings, keys and certificates, enrolled hospitals, the action log and the
runs. It also holds Flower's own database, unless that is damaged: `silogan server repair` can recreate it. Logs are
left out. It can be made while the coordinator runs: every file is replaced whole, and a run's checkpoints are read
before its events, which are cut to the checkpoint when the run continues.

Whoever has a backup has every key of the coordinator. Nothing that a hospital's guarantee depends on is in it: what was
spent is in the hospitals' own ledgers, which an older coordinator cannot set back.
"""

import hashlib
import io
import json
import shutil
import sqlite3
import tarfile
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path, PurePosixPath
from stat import S_ISREG
from typing import BinaryIO

from silogan.common.errors import ConfigError, UsageError, VerificationError
from silogan.common.files import create_privately
from silogan.server.operations.coordinator import Coordinator
from silogan.server.operations.database import DAMAGED, DATABASE, is_damaged

_LEFT_OUT = frozenset({"logs", "proxy", "flower", ".lock", "services.json"})
_DATABASE_FILES = frozenset({DATABASE, f"{DATABASE}-wal", f"{DATABASE}-shm"})
_MANIFEST = "manifest.json"
_LONGEST_MANIFEST = 2**26  # bytes
_TRIES = 10  # to read a folder in which a file is replaced just then


def back_up(coordinator: Coordinator, path: Path) -> int:
    """Writes a coordinator's folder into a new file that only its owner can read; returns how many files it holds.

    Raises:
        UsageError: the file is there already.
        ConfigError: the file cannot be written, or the folder not be read.
    """
    count = 0

    def write(file: BinaryIO) -> None:
        nonlocal count
        count = _pack(coordinator.folder, file)

    try:
        create_privately(path, write)
    except FileExistsError:
        raise UsageError(f"backup '{path}'", "exists", "choose another name: backups are never overwritten") from None
    except (OSError, sqlite3.Error) as error:
        reason = error.strerror if isinstance(error, OSError) else "the SuperLink's database is busy or damaged"
        raise ConfigError(f"backup '{path}'", f"cannot be written ({reason})", "free the disk, or try again") from None
    return count


def restore(path: Path, folder: Path) -> Coordinator:
    """Restores a coordinator's folder from a backup, completely or not at all.

    Raises:
        UsageError: the folder holds something.
        ConfigError: the file cannot be read, or the folder not be written.
        VerificationError: the file is not a backup, or was changed.
    """
    folder = folder.absolute()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"folder '{folder}'", "is not empty", "restore into a new folder")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        unpacked = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
        try:
            _unpack(path, unpacked)
            unpacked.rename(folder)
        finally:
            shutil.rmtree(unpacked, ignore_errors=True)
    except (tarfile.TarError, zlib.error, EOFError, ValueError, KeyError, TypeError):
        raise VerificationError(f"backup '{path}'", "is damaged or not a backup", "use another backup") from None
    except OSError as error:
        raise ConfigError(f"backup '{path}'", f"cannot be restored ({error.strerror})", "check path and disk") from None
    return Coordinator(folder)


def _pack(folder: Path, file: BinaryIO) -> int:
    digests: dict[str, str] = {}
    with tarfile.open(fileobj=file, mode="w:gz") as archive:
        for name, read in _parts(folder):
            for entry, content in _whole(read):
                info = tarfile.TarInfo(f"{name}/{entry}" if entry else name)
                info.mode = 0o700 if content is None else 0o600
                if content is None:
                    info.type = tarfile.DIRTYPE
                else:
                    info.size = len(content)
                    digests[info.name] = hashlib.sha256(content).hexdigest()
                archive.addfile(info, io.BytesIO(content or b""))
        manifest = json.dumps(digests).encode()
        info = tarfile.TarInfo(_MANIFEST)
        info.size = len(manifest)
        archive.addfile(info, io.BytesIO(manifest))
    return len(digests)


_Entries = list[tuple[str, bytes | None]]
"""Names below a part, empty for the part itself, with what is in them: None for a folder."""


def _parts(folder: Path) -> Iterator[tuple[str, Callable[[], _Entries]]]:
    """The units that are read at once: the database, each other file, each run."""
    if (folder / DATABASE).exists() and not is_damaged(folder):
        yield DATABASE, lambda: [("", _database(folder / DATABASE))]
    for path in sorted(folder.iterdir()):
        name = path.name
        if name in _LEFT_OUT | _DATABASE_FILES or name.endswith((".lock", ".tmp")) or DAMAGED in name:
            continue
        for part in sorted(path.iterdir()) if path.is_dir() else [path]:
            yield part.relative_to(folder).as_posix(), lambda part=part: list(_entries(part))


def _entries(part: Path) -> Iterator[tuple[str, bytes | None]]:
    """A file, or a folder with all that is in it, in the order of names: checkpoints before events."""
    if part.is_file():
        yield "", part.read_bytes()
        return
    yield "", None
    for path in sorted(part.rglob("*")):
        if not path.name.endswith((".lock", ".tmp")):
            is_file = S_ISREG(path.stat().st_mode)  # raises if it has gone: `is_file` would make a folder of it
            yield path.relative_to(part).as_posix(), path.read_bytes() if is_file else None


def _whole(read: Callable[[], _Entries]) -> _Entries:
    """What `read` returns once no file goes away meanwhile."""
    for _ in range(_TRIES - 1):
        try:
            return read()
        except FileNotFoundError:
            continue
    return read()


def _database(path: Path) -> bytes:
    """A consistent copy of a database that may be in use."""
    with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(":memory:")) as copy:
        source.backup(copy)
        return copy.serialize()


def _unpack(path: Path, folder: Path) -> None:
    found: dict[str, str] = {}
    manifest: object = None
    with tarfile.open(path, mode="r:gz") as archive:
        for member in archive:
            target = folder / _safe(member.name)
            if member.isdir():
                target.mkdir(mode=0o700, parents=True, exist_ok=True)
                continue
            file = archive.extractfile(member)
            if file is None or member.name in found:
                raise ValueError("neither a file nor a folder, or twice")
            if member.name == _MANIFEST:
                manifest = json.loads(file.read(min(member.size, _LONGEST_MANIFEST)))
                continue
            target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            create_privately(target, partial(shutil.copyfileobj, file))  # piece by piece: it may not fit into memory
            with target.open("rb") as written:
                found[member.name] = hashlib.file_digest(written, "sha256").hexdigest()
    if manifest != found:
        raise ValueError("a file that was changed")


def _safe(name: str) -> PurePosixPath:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        raise ValueError("outside of the folder")
    return path
