"""Where a hospital's data is, and whether it can be opened, without reading a record."""

import os
from pathlib import Path

from silogan.client.data.patients import read_manifest
from silogan.common.csv_file import read_header
from silogan.common.errors import DataError
from silogan.common.modality import Data
from silogan.common.modality.image_options import Folder
from silogan.common.modality.joint_options import ImagesWithRows
from silogan.common.modality.masked_options import ImagesWithMasks


def absolute(data: Data) -> Data:
    """The same data with absolute paths: a node's programs have other working directories."""
    return data.model_copy(update={name: _absolute(path) for name, path in data.places().items()})


def check_readable(data: Data) -> None:
    """Opens every file that the reader of `data` could read, and reads the manifest.

    Raises:
        DataError: one of them cannot be opened, or a folder is not there. The error names the folder alone.

    Privacy:
        No record is read: what may fail here says nothing of what is in one.
    """
    if isinstance(data, Folder) and data.manifest is not None:
        read_manifest(data.manifest.expanduser())
    if isinstance(data, ImagesWithRows) and data.rows is not None:
        read_header(data.rows.expanduser(), "data.rows")
    _check_folder("data.root", data.root)
    if isinstance(data, ImagesWithMasks):
        _check_folder("data.masks", data.masks)


def _check_folder(key: str, place: Path | None) -> None:
    if place is None:
        return
    root = place.expanduser()
    if not root.is_absolute():
        hint = "move the cohort with `silogan node relocate`"
        raise DataError(key, "is relative, but the node's programs have other working directories", hint)
    if not root.exists():
        hint = "put the data back, or move the cohort with `silogan node relocate`"
        raise DataError(f"{key} '{root}'", "is not there", hint)
    try:
        _open(root)
        for folder, _, names in os.walk(root, onerror=_raise) if root.is_dir() else ():
            for name in names:
                _open(Path(folder) / name)
    except OSError as error:
        problem = f"cannot be read ({error.strerror or 'damaged'})"
        raise DataError(f"{key} '{root}'", problem, "check its permissions and links") from None


def _absolute(path: Path) -> Path:
    return Path(os.path.abspath(path.expanduser()))  # noqa: PTH100  (`absolute` leaves ".." in)


def _open(path: Path) -> None:
    """Opens a file as a reader would; broken links and special files are left to the reader."""
    if path.is_file():
        path.open("rb").close()


def _raise(error: OSError) -> None:
    raise error
