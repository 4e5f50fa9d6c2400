"""Reads the public images of `model.public`: a folder of image files, or an array in an `.npz` file.

Public images are input like any other: whatever a file claims is bounded before it is read.
"""

import hashlib
import math
import os
import warnings
import zipfile
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np
import torch
from torch import Tensor

from silogan.common.config.scenario import Scenario
from silogan.common.errors import ConfigError, DataError
from silogan.common.modality import Schema
from silogan.common.modality.image_files import FORMATS, check_square, conform, decode
from silogan.common.modality.image_options import Fit, Gaussians, Public
from silogan.common.modality.joint import image_of
from silogan.common.modality.masked import MaskedSchema
from silogan.common.models.networks.detail import pool_size

FINER = 2
"""How many times the study's size public images are read at, so that a part of one is still sharp."""

MOST_BYTES = 2**30
"""Of an array in a file."""

MOST_FILES = 100_000
"""In a folder."""

_ARRAY = "train_images"
_ANOTHER = "correct model.public"


def with_public(scenario: Scenario, schema: Schema) -> Scenario:
    """The scenario with an absolute `model.public.path`, and `model.public.sha256` of the images that are there.

    Raises:
        ConfigError, DataError: see `read_public`; or the records are images with masks.
    """
    model = scenario.model
    if not isinstance(model, Gaussians) or model.public is None:
        return scenario
    if isinstance(schema, MaskedSchema):
        raise ConfigError("model.public", "has images without masks, and these would not fit", "leave it out")
    public = model.public.model_copy(update={"path": model.public.path.expanduser().absolute()})
    public = public.model_copy(update={"sha256": fingerprint(read_public(public, image_of(schema).shape))})
    return scenario.model_copy(update={"model": model.model_copy(update={"public": public})})


def as_in(recorded: Scenario, scenario: Scenario) -> Scenario:
    """The scenario with what `with_public` has recorded before, where nothing else is asked for; reads nothing."""
    model, before = scenario.model, recorded.model
    if not (isinstance(model, Gaussians) and isinstance(before, Gaussians) and model.public and before.public):
        return scenario
    found = model.public.sha256 or before.public.sha256
    public = model.public.model_copy(update={"path": model.public.path.expanduser().absolute(), "sha256": found})
    return scenario.model_copy(update={"model": model.model_copy(update={"public": public})})


def read_public(public: Public, shape: tuple[int, ...]) -> Tensor:
    """Public images at `FINER` times the study's size: uint8 [N, C, FINER·S, FINER·S], as many as a generator can hold.

    Where there are more, those are taken that lie evenly spaced in the order of their names or of the array.

    Args:
        public: says where they are, and which they must be.
        shape: channels, height and width of the study's images.

    Raises:
        DataError: they are missing, corrupt, too large, not square without `public.fit` or not images, there are none,
            or they are not those of `public.sha256`.
    """
    channels, size, _ = shape
    most, place = pool_size(shape), public.path.expanduser()
    if not place.is_dir() and not place.is_file():  # a pipe, for example, would be waited for
        problem = f"are neither a folder nor a file in '{place.parent}'"
        raise DataError(f"public images '{place.name}'", problem, _ANOTHER)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, of large images and of transparency; `decode` has its own limit
        read = _from_folder if place.is_dir() else _from_archive
        images = read(place, public, channels, FINER * size, most)
    if public.sha256 not in (None, fingerprint(images)):
        problem = "are not those of model.public.sha256"
        raise DataError(f"public images '{place.name}'", problem, "restore them, or make the study again")
    return images


def fingerprint(images: Tensor) -> str:
    """SHA-256 over the shape and the bytes of images uint8[N, C, H, W]."""
    digest = hashlib.sha256(repr(tuple(images.shape)).encode())
    digest.update(images.contiguous().numpy().data)
    return digest.hexdigest()


def _from_folder(folder: Path, public: Public, channels: int, size: int, most: int) -> Tensor:
    thing = f"public images '{folder.name}'"
    try:
        files = _image_files(folder, thing)
    except OSError as error:
        raise DataError(thing, f"cannot be read ({error.strerror})", _ANOTHER) from None
    if not files:
        raise DataError(thing, f"are none: the folder holds no {', '.join(FORMATS)} file", _ANOTHER)

    def read(file: Path) -> Tensor:
        thing = f"public image '{file.relative_to(folder)}'"
        return _conformed(decode(file, thing).unsqueeze(0), size, channels, public.fit, thing)

    with ThreadPoolExecutor() as pool:
        return torch.cat(list(pool.map(read, [files[place] for place in _spaced(len(files), most)])))


def _image_files(folder: Path, thing: str) -> list[Path]:
    """All image files in a folder and those below it, by name; links to other folders are not followed."""
    found: list[Path] = []
    for parent, folders, names in os.walk(folder, onerror=_fail):
        folders[:] = [name for name in folders if not name.startswith(".")]
        images = (Path(parent, name) for name in names if Path(name).suffix.lower() in FORMATS and name[0] != ".")
        found += [image for image in images if image.is_file()]
        if len(found) > MOST_FILES:
            raise DataError(thing, f"are more than {MOST_FILES}", "give a folder with fewer")
    return sorted(found)


def _fail(error: OSError) -> None:
    raise error


def _from_archive(path: Path, public: Public, channels: int, size: int, most: int) -> Tensor:
    array = public.array or _ARRAY
    thing = f"array '{array}' of public images '{path.name}'"
    with _archive(path, array, thing) as (file, length):
        pixels = _read_array(file, length, thing)
    pixels = pixels[list(_spaced(len(pixels), most))]
    planes = torch.from_numpy(pixels)
    planes = planes.unsqueeze(1) if planes.ndim == 3 else planes.permute(0, 3, 1, 2)
    return _conformed(planes, size, channels, public.fit, thing)


def _conformed(planes: Tensor, size: int, channels: int, fit: Fit | None, thing: str) -> Tensor:
    """See `conform`; public images of another form than a square need a rule, too."""
    height, width = planes.shape[2:]
    check_square(thing, height, width, fit, "model.public.fit")
    return conform(planes, size, channels, fit)


@contextmanager
def _archive(path: Path, array: str, thing: str) -> Generator[tuple[IO[bytes], int]]:
    """An array's open file in an `.npz` file, and its length; whatever is wrong with its bytes is a `DataError`."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = {name.removesuffix(".npy"): name for name in archive.namelist() if name.endswith(".npy")}
            if array not in names:
                hint = f"set model.public.array to one of {', '.join(list(names)[:10]) or '(it holds none)'}"
                raise DataError(thing, "is not in the file", hint)
            with archive.open(names[array]) as file:
                yield file, archive.getinfo(names[array]).file_size
    except DataError:
        raise
    except OSError as error:
        raise DataError(thing, f"cannot be read ({error.strerror or 'damaged'})", "check the file") from None
    except Exception:  # whatever zipfile, and NumPy, which parses headers as Python, make of hostile bytes
        raise DataError(thing, "is truncated, corrupt or not in an .npz file", _ANOTHER) from None


def _read_array(file: IO[bytes], length: int, thing: str) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """The pixels uint8 [N, H, W] or [N, H, W, 3] of a `.npy` file of a length, which must be just as long as it says.

    Raises:
        DataError: it holds something else, more than `MOST_BYTES`, or no image.
    """
    if length > MOST_BYTES:
        raise DataError(thing, f"is larger than {MOST_BYTES >> 20} MiB", "give fewer or smaller images")
    version = np.lib.format.read_magic(file)
    header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, by_columns, kind = header(file)
    if kind != np.uint8 or by_columns or len(shape) not in (3, 4) or shape[3:] not in ((), (3,)):
        hint = "store unsigned bytes (uint8), [N, H, W] grey or [N, H, W, 3] colour"
        raise DataError(thing, f"holds {kind} values of {len(shape)} dimensions", hint)
    count = math.prod(shape)
    if not count:
        raise DataError(thing, "holds no images", _ANOTHER)
    content = file.read(count + 1) if count <= length else b""
    if len(content) != count:
        raise DataError(thing, "is truncated, or longer than it says", "fetch it again")
    return np.frombuffer(content, np.uint8).reshape(shape)


def _spaced(count: int, most: int) -> range | list[int]:
    """Places of at most so many, evenly spaced."""
    return range(count) if count <= most else [place * count // most for place in range(most)]
