"""From image files and arrays of bytes, which nobody has checked, to images of one size and one number of channels.

Hospitals read their patients' images so, and the coordinator reads public ones.
"""

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor
from torch.nn import functional as F

from silogan.common.errors import DataError
from silogan.common.modality.image_options import Fit, Window

FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG"}
"""Image files that are read, by their suffix in small letters."""

TIFF_FORMATS = {".tif": "TIFF", ".tiff": "TIFF"}
"""Those that hospitals alone may have."""

MOST_PIXELS = 2**26
"""Pixels of one decoded image; more is taken for a decompression bomb."""

_GREY_MODES = {"1", "L", "LA"}
_DEEP_MODES = {"I;16", "I;16L", "I;16B", "I;16N", "I", "F"}
_COLOUR_MODES = {"P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr"}

_LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in grey (ITU-R BT.601)."""

_PHOTOMETRIC = 262
"""TIFF's tag PhotometricInterpretation."""

_CHUNK_VALUES = 2**22
"""Pixel values that are held as floats at a time: 16 MiB."""


class WindowNeeded(DataError):  # noqa: N818  (it says what is missing)
    """An image has values that only a public window turns into bytes, and there is none."""

    def __init__(self, thing: str) -> None:
        hint = "set data.window (docs/medical-files.md), or export it as 8-bit PNG"
        super().__init__(thing, "has values that need a public window", hint)


def windowed(values: NDArray[Any], window: Window) -> NDArray[np.uint8]:
    """Finite numbers [...] as bytes [...]: round(255 (x - centre) / width + 127.5), cut off at 0 and 255.

    Source: DICOM PS3.3 C.11.2.1.3.2, the function LINEAR_EXACT.

    Privacy:
        Each value by itself, and by public constants alone.
    """
    scaled = values.astype(np.float64)  # and then in place: mammograms are large
    with np.errstate(over="ignore"):  # of values that no window comes near
        scaled -= window.centre - window.width / 2
        scaled *= 255 / window.width
    return np.rint(scaled.clip(0, 255, out=scaled), out=scaled).astype(np.uint8)


def check_square(thing: str, height: int, width: int, fit: Fit | None, key: str = "data.fit") -> None:
    """Refuses an image that is not square where no rule says what to do with it.

    Raises:
        DataError: it is so.
    """
    if height != width and fit is None:
        problem = f"is {height} x {width} pixels, not square"
        raise DataError(thing, problem, f"set {key} to pad (black beside it), crop (the middle) or squash")


def conform(pixels: Tensor, size: int | None, channels: int | None, fit: Fit | None = None) -> Tensor:
    """Makes images square, resizes them and converts their channels, by public constants only.

    Bilinear with antialiasing. What is padded is 0, black; an odd pixel more is on the right or below.

    Args:
        pixels: uint8 [N, C, H, W] with C 1 or 3.
        size: height and width to resize to; None keeps both, which "squash" cannot.
        channels: 1 (colour becomes grey) or 3 (grey is repeated); None keeps them.
        fit: what becomes of images that are not square; None where they are, or keep their size.

    Returns:
        uint8 [N, channels, size, size]; the input itself where there is nothing to do.
    """
    if fit == "crop":
        pixels = _middle(pixels)
    count, have, height, width = pixels.shape
    longest, channels = max(height, width), channels or have
    if height != width and size is not None and fit is None:
        raise ValueError("images are not square, and no rule makes them so")
    shape = (size, size) if size else (longest, longest) if fit == "pad" else (height, width)
    inner = (_scaled(height, shape[0], longest), _scaled(width, shape[1], longest)) if fit == "pad" else shape
    if (channels, *shape) == (have, height, width):
        return pixels.contiguous()
    conformed = torch.zeros(count, channels, *shape, dtype=torch.uint8)
    top, left = (shape[0] - inner[0]) // 2, (shape[1] - inner[1]) // 2
    inside = conformed[:, :, top : top + inner[0], left : left + inner[1]]
    step = max(1, _CHUNK_VALUES // (have * max(height * width, inner[0] * inner[1])))
    for source, target in zip(pixels.split(step), inside.split(step), strict=True):
        chunk = source.to(torch.float32)
        if have > channels:
            chunk = torch.einsum("nchw,c->nhw", chunk, torch.tensor(_LUMA)).unsqueeze(1)
        if inner != (height, width):
            chunk = F.interpolate(chunk, size=inner, mode="bilinear", antialias=True)
        target.copy_(chunk.round_().clamp_(0, 255))
    return conformed


def decode(path: Path, thing: str, window: Window | None = None) -> Tensor:
    """One image file, upright, as uint8 [C, H, W] with C 1 or 3.

    Args:
        path: a file with a suffix of `FORMATS` or `TIFF_FORMATS`.
        thing: what to call it in an error; the name of a patient's file must not be said.
        window: of grey values of more than 8 bits; values of 8 bits are taken as they are.

    Raises:
        WindowNeeded: it has more than 8 bits per pixel, and there is no window.
        DataError: it is not readable, not what its suffix says, too large, of several pages, or not grey or colour.
    """
    formats = ((FORMATS | TIFF_FORMATS)[path.suffix.lower()],)
    with readable(thing):
        with Image.open(path, formats=formats) as image:
            if image.width * image.height > MOST_PIXELS:
                raise DataError(thing, "has too many pixels", "make it smaller")
            image.verify()  # checks the sums that decoding skips, and leaves the file unusable
        with Image.open(path, formats=formats) as image:
            if image.mode in _DEEP_MODES:
                return _deep(image, thing, window).unsqueeze(0)
            if image.mode not in _GREY_MODES | _COLOUR_MODES or _has_pages(image):
                hint = "export it as one grey or colour image of 8 bits"
                raise DataError(thing, "has several pages, or is neither grey nor colour of 8 bits", hint)
            upright = ImageOps.exif_transpose(image)
            values = np.array(upright.convert("L" if image.mode in _GREY_MODES else "RGB"))
    planes = torch.from_numpy(values)
    return planes.unsqueeze(0) if planes.ndim == 2 else planes.permute(2, 0, 1)


@contextmanager
def readable(thing: str) -> Generator[None]:
    """Turns whatever a decoder raises on hostile bytes into one line; a traceback would show a patient's file name.

    Raises:
        DataError: anything was raised.
    """
    try:
        yield
    except DataError:
        raise
    except Image.DecompressionBombError:
        raise DataError(thing, "has too many pixels", "make it smaller") from None
    except Exception:
        raise DataError(thing, "is corrupt or not what its suffix says", "replace or remove it") from None


def _deep(image: Image.Image, thing: str, window: Window | None) -> Tensor:
    """A grey image of more than 8 bits, through the window: uint8 [H, W]."""
    if _has_pages(image) or _is_white_at_zero(image):
        problem = "has several pages, or white at zero"
        raise DataError(thing, problem, "export it as one image with black at zero")
    if window is None:
        raise WindowNeeded(thing)
    values = np.asarray(ImageOps.exif_transpose(image))
    if not np.isfinite(values).all():
        raise DataError(thing, "has a value that is not a number", "replace or remove it")
    return torch.from_numpy(windowed(values, window))


def _has_pages(image: Image.Image) -> bool:
    return image.format == "TIFF" and getattr(image, "n_frames", 1) != 1


def _is_white_at_zero(image: Image.Image) -> bool:
    """Whether Pillow leaves it to others to invert: a TIFF of more than 8 bits that does not say BlackIsZero."""
    return image.format == "TIFF" and getattr(image, "tag_v2", {}).get(_PHOTOMETRIC) != 1


def _middle(pixels: Tensor) -> Tensor:
    """The square in the middle of images [N, C, H, W]."""
    side = min(pixels.shape[2:])
    top, left = (pixels.shape[2] - side) // 2, (pixels.shape[3] - side) // 2
    return pixels[:, :, top : top + side, left : left + side]


def _scaled(length: int, side: int, longest: int) -> int:
    """A side in pixels, at least one, where the longest becomes `side`."""
    return max(1, round(length * side / longest))
