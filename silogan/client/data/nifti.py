"""Slices of a NIfTI file, through a public window.

Sources: NIfTI-1 (Cox et al. 2004) and NIfTI-2; orientations as nibabel's, RAS+.

Privacy:
    Of the header only form, type, place and scale of the values are used, and for a named axis the affine. Extensions,
    which may hold texts, are passed over. What is read from a file has effect on the images of that file alone.
"""

import gzip
import logging
import math
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from silogan.common.errors import DataError
from silogan.common.libraries import library
from silogan.common.modality.image_files import WindowNeeded, readable, windowed
from silogan.common.modality.image_options import Folder, Slices

SUFFIXES = (".nii", ".nii.gz")

MOST_BYTES = 2**28
"""Of a file's values, unpacked."""

_MOST_EXTENSIONS = 2**24
"""Bytes before the values, which are passed over."""

_CANONICAL = ("sagittal", "coronal", "axial")
"""Axes of an array whose indices grow to the right, to the front and upwards (RAS+)."""


class _Header(NamedTuple):
    """What is used of a header.

    Attributes:
        shape: three sides of the array, in columns-first order.
        dtype: of its values.
        offset: bytes before them.
        slope, intercept: value × slope + intercept is in the units of the file.
        orientation: for each axis of the array, the canonical axis and 1 or -1 (float[3, 2]); None if not asked for.
    """

    shape: tuple[int, int, int]
    dtype: np.dtype[Any]
    offset: int
    slope: float
    intercept: float
    orientation: NDArray[np.float64] | None


def count(path: Path, thing: str, data: Folder) -> int:
    """The number of slices that `data.slices` takes from a file; 1 of a file that has only one.

    Raises:
        UsageError: nibabel is not installed.
        DataError: see `decode`; only the header is read.
    """
    nibabel = _nibabel()
    with readable(thing), _opened(path) as file:
        header = _header(nibabel, file, thing, data.slices)
        return len(_taken(_sides(nibabel, header), thing, data.slices))


def decode(path: Path, thing: str, data: Folder) -> Tensor:
    """The slices of a file, in their order: uint8 [N, 1, H, W], 0 black to 255 white.

    Of an axis by number the rows of an image are the first of the other two axes. Of an axis by name, what is above or
    in front is on top, and the patient's left, or back, is on the left.

    Raises:
        UsageError: nibabel is not installed.
        WindowNeeded: the scenario declares no window.
        DataError: the file is not readable, truncated or too long, or not NIfTI; is no volume of real numbers, or too
            large; has a value, a scale or an affine that is not finite; or has not the slices that are asked for.
    """
    if data.window is None:
        raise WindowNeeded(thing)
    nibabel = _nibabel()
    with readable(thing), _opened(path) as file:
        header = _header(nibabel, file, thing, data.slices)
        taken = _taken(_sides(nibabel, header), thing, data.slices)
        volume = _values(file, header, thing)
        if header.orientation is not None:
            volume = nibabel.orientations.apply_orientation(volume, header.orientation)
        axis = _axis(data.slices)
        images: list[NDArray[np.uint8]] = []
        for index in taken:
            plane = volume.take(index, axis)
            if header.orientation is not None:
                plane = plane.T[::-1]
            values = plane.astype(np.float64) * header.slope + header.intercept
            if not np.isfinite(values).all():
                raise DataError(thing, "has a value that is not a number", "save it without")
            images.append(windowed(values, data.window))
        return torch.from_numpy(np.stack(images)).unsqueeze(1)


def _nibabel() -> Any:
    """The module, which says nothing: what it warns of are the values of a header."""
    module = library("nibabel", "dicom", ".nii files", needs="need")
    logging.getLogger("nibabel.global").setLevel(logging.CRITICAL + 1)
    return module


@contextmanager
def _opened(path: Path) -> Generator[BinaryIO]:
    with path.open("rb") as file:
        if path.suffix.lower() == ".gz":
            with gzip.open(file) as unpacked:
                yield cast(BinaryIO, unpacked)
        else:
            yield file


def _header(nibabel: Any, file: BinaryIO, thing: str, slices: Slices | None) -> _Header:
    """Reads and bounds the header, with which a file begins."""
    block = file.read(348)
    second = 540 in (int.from_bytes(block[:4], "little"), int.from_bytes(block[:4], "big"))
    kind = nibabel.Nifti2Header if second else nibabel.Nifti1Header
    found = kind(block + file.read(540 - 348) if second else block, check=True)
    if not bytes(found["magic"]).startswith(b"n+"):
        raise DataError(thing, "is not a NIfTI file with its values in it", "save it as one .nii file")
    shape = [int(side) for side in found.get_data_shape()]
    if len(shape) < 2 or min(shape) < 1 or max(shape[3:], default=1) > 1:
        raise DataError(thing, "is no image or volume", "save it with two or three dimensions")
    dtype = found.get_data_dtype()
    if dtype.kind not in "iuf" or dtype.itemsize > 8:
        raise DataError(thing, "has values that are not real numbers of up to 64 bits", "save it as such")
    offset = int(found["vox_offset"])
    if math.prod(shape) * dtype.itemsize > MOST_BYTES or not len(block) <= offset <= _MOST_EXTENSIONS:
        raise DataError(thing, f"is larger than {MOST_BYTES >> 20} MiB", "cut it into smaller volumes")
    slope, intercept = float(found["scl_slope"]), float(found["scl_inter"])
    if not slope:  # NIfTI: the values are not scaled
        slope, intercept = 1.0, 0.0
    if not (math.isfinite(slope) and math.isfinite(intercept)):
        raise DataError(thing, "has a slope or intercept that is no number", "save it again")
    orientation = _orientation(nibabel, found, thing) if _is_named(slices) else None
    sides = (shape[0], shape[1], math.prod(shape[2:]))
    return _Header(sides, dtype, offset, slope, intercept, orientation)


def _orientation(nibabel: Any, found: Any, thing: str) -> NDArray[np.float64]:
    """Where each axis of the array points to."""
    affine = found.get_best_affine()
    if not np.isfinite(affine).all() or not (found["sform_code"] or found["qform_code"]):
        raise DataError(thing, "does not say how the body lies in it", "set data.slices.axis to a number")
    orientation = nibabel.orientations.io_orientation(affine)
    if not np.isfinite(orientation).all():
        raise DataError(thing, "does not say how the body lies in it", "set data.slices.axis to a number")
    return orientation


def _is_named(slices: Slices | None) -> bool:
    return slices is not None and isinstance(slices.axis, str)


def _axis(slices: Slices | None) -> int:
    """Across which axis of the (canonical) array slices lie."""
    if slices is None:
        return 2
    return slices.axis if isinstance(slices.axis, int) else _CANONICAL.index(slices.axis)


def _sides(nibabel: Any, header: _Header) -> tuple[int, ...]:
    """The shape of the array as slices are numbered in it."""
    if header.orientation is None:
        return header.shape
    empty = np.broadcast_to(np.uint8(0), header.shape)
    return nibabel.orientations.apply_orientation(empty, header.orientation).shape


def _taken(sides: tuple[int, ...], thing: str, slices: Slices | None) -> range:
    """The numbers of the slices that are images."""
    have = sides[_axis(slices)]
    if slices is None and have > 1:
        raise DataError(thing, "is a volume", "set data.slices.axis, and first and last if not all are wanted")
    first, last = (0, have - 1) if slices is None else (slices.first, have - 1 if slices.last is None else slices.last)
    if not first <= last < have:
        raise DataError(thing, "has fewer slices than data.slices asks for", "correct data.slices or remove it")
    return range(first, last + 1)


def _values(file: BinaryIO, header: _Header, thing: str) -> NDArray[Any]:
    """The whole array as it is stored, of a file of just that length."""
    file.seek(header.offset)
    length = math.prod(header.shape) * header.dtype.itemsize
    content = file.read(length + 1)
    if len(content) != length:
        raise DataError(thing, "is truncated, or longer than it says", "save it again")
    return np.frombuffer(content, header.dtype).reshape(header.shape, order="F")
