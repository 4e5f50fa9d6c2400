"""What kind of data lies at a path: images by class, an archive of images, or a table."""

from pathlib import Path

from silogan.client.data.table import files_of
from silogan.common.errors import DataError, UsageError
from silogan.common.rows_file import SUFFIXES
from silogan.simulations.init.archive import look_at_archive
from silogan.simulations.init.found import Found
from silogan.simulations.init.images import look_at_images
from silogan.simulations.init.rows import look_at_rows

_HINT = "give a folder of images by class, a table (.csv, .parquet) or an .npz file"
_RAW = {"MNIST": "mnist", "FashionMNIST": "fashion-mnist"}
"""Folders of original files, and the sources that read them."""


def look(path: Path) -> Found:
    """The structure of the data at a path.

    Raises:
        UsageError: it is none of these.
        DataError: it is one that cannot be read.
    """
    if path.suffix.lower() == ".npz":
        return look_at_archive(path)
    if path.suffix.lower() in SUFFIXES or _holds_rows(path):
        return look_at_rows(path)
    if path.is_file():
        raise UsageError(f"'{path}'", "is neither a table nor an archive of images", _HINT)
    if not path.is_dir():
        raise DataError(f"'{path}'", "does not exist", _HINT)
    for name, source in _RAW.items():
        if (path / name / "raw").is_dir():
            return Found(source, f"the images of {name}")
    return look_at_images(path)


def _holds_rows(path: Path) -> bool:
    """Whether a folder has tables and no folder beside them but those of hospitals with several."""
    if not path.is_dir():
        return False
    try:
        files = [file for several in files_of(path).values() for file in several]
    except DataError:
        return False
    folders = {item for item in path.iterdir() if item.is_dir() and not item.name.startswith(".")}
    return folders <= {file.parent for file in files}
