"""One grey image of a DICOM file, through a public window; and whose it is.

Source: DICOM PS3.3 (C.7.6.3, C.11.1.1, C.11.2.1.3.2), PS3.5 (A) and PS3.15 (E.3.1).

Privacy:
    Only the attributes in `_IMAGE`, `_SURPRISES`, `_PERSONAL` and `_PATIENT` are looked at: a file's own window, its
    texts and its private elements decide nothing. What is read from a file has effect on the image of that file alone.
"""

import logging
import math
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from silogan.common.errors import DataError
from silogan.common.libraries import library
from silogan.common.modality.image_files import WindowNeeded, readable, windowed
from silogan.common.modality.image_options import Folder

MOST_PIXELS = 2**25
"""Pixels of an image; more than of any detector, and few enough that no compression can exhaust memory."""

MOST_BYTES = 2**28
"""Of a file."""

_PATIENT = "PatientID"

_IMAGE = (
    *("SamplesPerPixel", "PhotometricInterpretation", "Rows", "Columns", "NumberOfFrames", "PixelData"),
    *("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "PixelAspectRatio"),
    *("RescaleSlope", "RescaleIntercept"),
)
_OVERLAYS = tuple(group << 16 | element for group in range(0x6000, 0x6020, 2) for element in (0x0010, 0x3000))
_SURPRISES = {
    **dict.fromkeys(_OVERLAYS, ("has an overlay", "export it without overlays")),
    "ModalityLUTSequence": ("has a table in place of slope and intercept", "export it with a slope and intercept"),
    "SharedFunctionalGroupsSequence": ("is an enhanced image", "export it as single images (legacy converted)"),
}
"""What must not be in a file, for what it says of the pixels is not followed: problem and hint."""

_PERSONAL = ("BurnedInAnnotation", "RecognizableVisualFeatures")
"""Must be NO, or not there."""

_NATIVE = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2")
"""Transfer syntaxes without compression: implicit little endian, explicit little endian, explicit big endian."""

_COMPRESSED = (
    "1.2.840.10008.1.2.5",  # RLE
    *(f"1.2.840.10008.1.2.4.{number}" for number in (50, 51, 57, 70, 80, 81, 90, 91, 201, 202, 203)),  # JPEG, -LS, 2000
)
"""Those that compress pixels alone. A deflated file (1.2.840.10008.1.2.1.99) is unpacked by pydicom without a bound."""

_PLAIN = "export it as Explicit VR Little Endian"

_MARGIN = 2**16
"""Bytes that compressed pixels may have more than uncompressed ones, in tables and markers."""


def decode(path: Path, thing: str, data: Folder) -> Tensor:
    """The image of a file: uint8 [1, 1, H, W], 0 black to 255 white.

    Values are multiplied by the file's slope, the intercept is added, and `data.window` makes them bytes. Where white
    is at zero (MONOCHROME1) they are then inverted.

    Raises:
        UsageError: pydicom is not installed.
        WindowNeeded: the scenario declares no window.
        DataError: the file is not readable, not DICOM, or holds anything but one grey image of 8 or 16 bits; its pixels
            are longer or shorter than it says; or it may show more than the image.
    """
    if data.window is None:
        raise WindowNeeded(thing)
    pydicom = _pydicom()
    with readable(thing):
        dataset = _read(pydicom, path, thing, [*_IMAGE, *_SURPRISES, *_PERSONAL])
        _check_surprises(dataset, thing)
        _check_pixels(dataset, thing)
        _check_length(dataset, thing)
        image = windowed(_rescaled(_unpacked(dataset, thing), dataset, thing), data.window)
        if dataset.PhotometricInterpretation == "MONOCHROME1":
            image = 255 - image
        return torch.from_numpy(image).reshape(1, 1, dataset.Rows, dataset.Columns)


def patient_of(path: Path, thing: str) -> str:
    """The Patient ID (0010,0020) of a file, without blanks around it.

    Privacy:
        It is the hospital's own name for a patient (`Records.patient_names`), never leaves it, and is in no error.

    Raises:
        UsageError: pydicom is not installed.
        DataError: the file is not readable or not DICOM, or has no ID or several.
    """
    pydicom = _pydicom()
    hint = "export it with its ID or pseudonym, or name patients in a manifest (data.patients)"
    with readable(thing):
        name = _read(pydicom, path, thing, [_PATIENT], pixels=False).get(_PATIENT)
        name = name.strip() if isinstance(name, str) else ""
        if not name or not name.isprintable():
            raise DataError(thing, "has no Patient ID (0010,0020), several, or one that is no text", hint)
        return name


def _pydicom() -> Any:
    """The module, which says nothing: what it warns of are the values of a file."""
    module, _ = (library(name, "dicom", ".dcm files", needs="need") for name in ("pydicom", "pydicom.pixels"))
    logging.getLogger("pydicom").setLevel(logging.CRITICAL + 1)
    return module


def _read(pydicom: Any, path: Path, thing: str, attributes: list[str | int], *, pixels: bool = True) -> Any:
    """Some attributes of a file, all of which are bounded by its length."""
    if path.stat().st_size > MOST_BYTES:
        raise DataError(thing, f"is larger than {MOST_BYTES >> 20} MiB", "export it as single images")
    syntax = pydicom.filereader.read_file_meta_info(path).TransferSyntaxUID
    if syntax not in (*_NATIVE, *_COMPRESSED) or not pydicom.pixels.get_decoder(syntax).is_available:
        raise DataError(thing, f"is compressed in a way that is not decoded here ({_name(syntax)})", _PLAIN)
    return pydicom.dcmread(path, stop_before_pixels=not pixels, specific_tags=attributes)


def _check_surprises(dataset: Any, thing: str) -> None:
    """Refuses what is not followed, and images that may show more than the body's inside."""
    for attribute, (problem, hint) in _SURPRISES.items():
        if attribute in dataset:
            raise DataError(thing, problem, hint)
    for attribute in _PERSONAL:
        if str(dataset.get(attribute) or "NO").strip().upper() != "NO":
            raise DataError(thing, f"may show who the patient is ({attribute})", "remove or clean it")


def _check_pixels(dataset: Any, thing: str) -> None:
    """Refuses anything but one grey image of 8 or 16 bits and a bounded size."""
    if "PixelData" not in dataset:
        raise DataError(thing, "has no pixels, or is a directory (DICOMDIR)", "remove it")
    photometric = dataset.get("PhotometricInterpretation")
    if dataset.get("SamplesPerPixel") != 1 or photometric not in ("MONOCHROME1", "MONOCHROME2"):
        raise DataError(thing, "is not grey (MONOCHROME1 or MONOCHROME2)", "export it as grey, or as PNG in colour")
    if dataset.get("NumberOfFrames", 1) != 1:
        raise DataError(thing, "has several frames", "export them as single images")
    rows, columns = dataset.get("Rows"), dataset.get("Columns")
    if not (isinstance(rows, int) and isinstance(columns, int) and 0 < rows * columns <= MOST_PIXELS):
        raise DataError(thing, "has no pixels, or too many", "make it smaller")
    if len(set(map(int, dataset.get("PixelAspectRatio") or [1]))) != 1:
        raise DataError(thing, "has pixels that are not square", "resample it")
    allocated, stored = dataset.get("BitsAllocated"), dataset.get("BitsStored")
    sound = allocated in (8, 16) and isinstance(stored, int) and 0 < stored <= allocated
    if not sound or dataset.get("HighBit") != stored - 1 or dataset.get("PixelRepresentation") not in (0, 1):
        raise DataError(thing, "has pixels that are not integers of up to 16 bits", "export it as 8 or 16 bits")


def _check_length(dataset: Any, thing: str) -> None:
    """Refuses pixels that are longer or shorter than the header says; compressed ones, far longer."""
    expected = dataset.Rows * dataset.Columns * dataset.BitsAllocated // 8
    length = len(dataset.PixelData)
    if dataset.file_meta.TransferSyntaxUID in _NATIVE:
        sound = length == expected + expected % 2  # an odd length is filled up
    else:
        sound = 0 < length <= expected + expected // 64 + _MARGIN
    if not sound:
        raise DataError(thing, "is truncated, or has more pixels than it says", "export it again")


def _unpacked(dataset: Any, thing: str) -> NDArray[Any]:
    """The stored values [H, W]."""
    try:
        return dataset.pixel_array
    except Exception:  # of pydicom and what it decodes with, whose words may hold the file's
        problem = f"has pixels that are damaged, or not decoded here ({_name(dataset.file_meta.TransferSyntaxUID)})"
        raise DataError(thing, problem, _PLAIN) from None


def _name(syntax: str) -> str:
    """Of a transfer syntax, if it is one."""
    known = import_module("pydicom.uid").UID_dictionary
    return known[syntax][0] if syntax in known else "an unknown transfer syntax"


def _rescaled(values: NDArray[Any], dataset: Any, thing: str) -> NDArray[np.float64]:
    """Stored values [H, W] in the units of the file, by its slope and intercept if it has them."""
    given = [dataset[name].value for name in ("RescaleSlope", "RescaleIntercept") if name in dataset]
    slope, intercept = map(float, given or (1, 0))
    if not (math.isfinite(slope) and math.isfinite(intercept) and slope):
        raise DataError(thing, "has a slope or intercept that is no number, or a slope of 0", "export it again")
    scaled = values.astype(np.float64)
    with np.errstate(over="ignore"):
        scaled *= slope
        scaled += intercept
    return scaled
