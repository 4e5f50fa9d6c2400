"""The formats of image files, one line each in `FORMATS`; a file may hold several images."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from silogan.client.data import dicom, nifti
from silogan.common.modality.image_files import FORMATS as PICTURES
from silogan.common.modality.image_files import TIFF_FORMATS, decode
from silogan.common.modality.image_options import Folder


@dataclass(frozen=True)
class Format:
    """How one kind of file is read: path, what an error calls it, and the options in, all of which are public.

    Attributes:
        count: the number of its images, at least 1, from its header alone.
        decode: its images uint8 [count, C, H, W] with C 1 or 3.
    """

    count: Callable[[Path, str, Folder], int]
    decode: Callable[[Path, str, Folder], Tensor]


def _one(path: Path, thing: str, data: Folder) -> int:  # noqa: ARG001
    return 1


def _picture(path: Path, thing: str, data: Folder) -> Tensor:
    return decode(path, thing, data.window).unsqueeze(0)


FORMATS: dict[str, Format] = {
    **dict.fromkeys([*PICTURES, *TIFF_FORMATS], Format(_one, _picture)),
    ".dcm": Format(_one, dicom.decode),
    **dict.fromkeys(nifti.SUFFIXES, Format(nifti.count, nifti.decode)),
}
"""By the end of a file's name in small letters."""


def suffix_of(path: Path) -> str | None:
    """The key of `FORMATS` that a file's name ends with, if it does."""
    return next((suffix for suffix in FORMATS if path.name.lower().endswith(suffix)), None)


def name_of(path: Path) -> str:
    """A file's name without such an ending."""
    return path.name[: len(path.name) - len(suffix_of(path) or "")]
