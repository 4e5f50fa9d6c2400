"""From image files and arrays of bytes, which nobody has checked, to images of one size and one number of channels.

Hospitals read their patients' images so, and the coordinator reads public ones.
"""

from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor
from torch.nn import functional as F

from silogan.common.errors import DataError

FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG"}
"""Image files that are read, by their suffix in small letters."""

MOST_PIXELS = 2**26
"""Pixels of one decoded image; more is taken for a decompression bomb."""

_GREY_MODES = {"1", "L", "LA"}
_COLOUR_MODES = {"P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr"}

_LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in grey (ITU-R BT.601)."""

_CHUNK_VALUES = 2**22
"""Pixel values that are held as floats at a time: 16 MiB."""


def conform(pixels: Tensor, size: int | None, channels: int | None) -> Tensor:
    """Resizes images and converts their channels, by public constants only.

    Bilinear with antialiasing; height and width are scaled apart, so an image that is not square is not cropped.

    Args:
        pixels: uint8 [N, C, H, W] with C 1 or 3.
        size: height and width to resize to; None keeps both.
        channels: 1 (colour becomes grey) or 3 (grey is repeated); None keeps them.

    Returns:
        uint8 [N, channels, size, size]; the input itself where there is nothing to do.
    """
    count, have, height, width = pixels.shape
    channels = channels or have
    shape = (size, size) if size else (height, width)
    if (channels, *shape) == (have, height, width):
        return pixels.contiguous()
    conformed = torch.empty(count, channels, *shape, dtype=torch.uint8)
    step = max(1, _CHUNK_VALUES // (have * max(height * width, shape[0] * shape[1])))
    for source, target in zip(pixels.split(step), conformed.split(step), strict=True):
        chunk = source.to(torch.float32)
        if have > channels:
            chunk = torch.einsum("nchw,c->nhw", chunk, torch.tensor(_LUMA)).unsqueeze(1)
        if shape != (height, width):
            chunk = F.interpolate(chunk, size=shape, mode="bilinear", antialias=True)
        target.copy_(chunk.round_().clamp_(0, 255))
    return conformed


def decode(path: Path, thing: str) -> Tensor:
    """One image file, upright, as uint8 [C, H, W] with C 1 or 3.

    Args:
        path: a file with a suffix of `FORMATS`.
        thing: what to call it in an error; the name of a patient's file must not be said.

    Raises:
        DataError: it is not readable, not what its suffix says, too large, or has more than 8 bits per pixel.
    """
    formats = (FORMATS[path.suffix.lower()],)
    try:
        with Image.open(path, formats=formats) as image:
            if image.width * image.height > MOST_PIXELS:
                raise DataError(thing, "has too many pixels", "make it smaller")
            image.verify()  # checks the sums that decoding skips, and leaves the file unusable
        with Image.open(path, formats=formats) as image:
            if image.mode not in _GREY_MODES | _COLOUR_MODES:
                problem = "has more than 8 bits per pixel"
                raise DataError(thing, problem, "export it as 8 bits with a fixed intensity window")
            upright = ImageOps.exif_transpose(image)
            values = np.array(upright.convert("L" if image.mode in _GREY_MODES else "RGB"))
    except DataError:
        raise
    except Image.DecompressionBombError:
        raise DataError(thing, "has too many pixels", "make it smaller") from None
    except Exception:  # whatever a decoder raises on hostile bytes; a traceback would show a patient's file name
        raise DataError(thing, "is corrupt or not what its suffix says", "replace or remove it") from None
    planes = torch.from_numpy(values)
    return planes.unsqueeze(0) if planes.ndim == 2 else planes.permute(2, 0, 1)
