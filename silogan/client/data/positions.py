"""Which images of a shared data set belong to one simulated site: an `.npz` file with one array of positions a site."""

import threading
import zipfile
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from silogan.common.errors import DataError

_ONE_AT_A_TIME = threading.Lock()


def site_key(site_index: int) -> str:
    """Name of a site's array in the file."""
    return f"site_{site_index}"


def load_positions(path: Path, site_index: int) -> NDArray[np.int64]:
    """Reads the positions of one site's images; nothing of the other sites is read.

    Returns:
        int64 [n], sorted.

    Raises:
        DataError: the file is missing or corrupt, or has no such site.
    """
    thing, hint = f"partition '{path}'", "start the simulation again"
    try:
        # NumPy parses headers as Python, which is not known to be safe where threads do it at once.
        with _ONE_AT_A_TIME, path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            part = archive[site_key(site_index)]
    except FileNotFoundError:
        raise DataError(thing, "does not exist", hint) from None
    except KeyError:
        raise DataError(thing, f"has no site {site_index}", hint) from None
    except (OSError, ValueError, TypeError, EOFError, RuntimeError, MemoryError, zipfile.BadZipFile, zlib.error):
        raise DataError(thing, "cannot be read or is corrupt", hint) from None
    if part.dtype != np.int64 or part.ndim != 1 or not part.size or part[0] < 0 or np.any(np.diff(part) <= 0):
        raise DataError(thing, f"does not hold sorted positions for site {site_index}", hint)
    return part
