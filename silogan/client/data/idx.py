"""Files of the format idx, in which MNIST is stored: bytes in an array, also compressed (.gz).

Source: Y. LeCun, C. Cortes and C. Burges, The MNIST database of handwritten digits (the format's description).
"""

import gzip
import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

MOST_BYTES = 2**28
"""Of a file, unpacked: five times what MNIST's images take."""

_BYTES = 8
"""The format's code for uint8."""


def read_idx(path: Path, dimensions: int) -> NDArray[np.uint8]:
    """The array of a file of so many dimensions, uint8.

    Raises:
        OSError, EOFError, zlib.error: it cannot be read or unpacked.
        ValueError: it holds something else, is longer or shorter than it says, or than `MOST_BYTES`.
    """
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
        content = file.read(MOST_BYTES + 1)
    start = 4 * (dimensions + 1)
    if len(content) > MOST_BYTES or content[:4] != bytes([0, 0, _BYTES, dimensions]):
        raise ValueError("is too large, or holds something else")
    shape = [int.from_bytes(content[at : at + 4], "big") for at in range(4, start, 4)]
    if math.prod(shape) != len(content) - start:
        raise ValueError("is longer or shorter than it says")
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape).copy()
