"""When to read a data set again: a hash over what the file system says of its files, without opening one."""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from stat import S_ISDIR

from silogan.common.modality import Data


def stamp(data: Data) -> str:
    """SHA-256 over name, size and times of every file that the reader of `data` could read, its manifest included.

    Two stamps are the same as long as no file came, went or was written to. A file whose time was set back (mtime) is
    seen by the time of that change itself (ctime), which programs cannot set.

    Raises:
        OSError: a folder cannot be read.
    """
    digest = hashlib.sha256()
    for given in data.places().values():
        for path, found in _below(given.expanduser().resolve(), set()):
            facts = None if found is None else (found.st_size, found.st_mtime_ns, found.st_ctime_ns)
            digest.update(os.fsencode(path) + f"\0{facts}\0".encode())
    return digest.hexdigest()


def _below(path: Path, seen: set[tuple[int, int]]) -> Iterator[tuple[Path, os.stat_result | None]]:
    """The path and all that is below it, in a fixed order; links are followed, each folder once.

    What stands there is None for a link to nowhere, or a file just gone.
    """
    try:
        found = path.stat()
    except FileNotFoundError:
        found = None
    yield path, found
    if found is not None and S_ISDIR(found.st_mode) and (found.st_dev, found.st_ino) not in seen:
        seen.add((found.st_dev, found.st_ino))
        for name in sorted(child.name for child in path.iterdir()):
            yield from _below(path / name, seen)
