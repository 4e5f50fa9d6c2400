"""Images as files in folders by class, and a file with the mask of each of them.

The name of an image file, or of its mask, is in no error, since it is often a patient's.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

from torch import Tensor

from silogan.client.data.folder import Entry, conformed, read_with_files, visible
from silogan.client.data.image_formats import FORMATS, name_of, suffix_of
from silogan.client.data.records import DataSet
from silogan.client.data.settings import required_root
from silogan.common.errors import ConfigError, DataError
from silogan.common.modality import Stored
from silogan.common.modality.image import PIXELS, ImageSchema
from silogan.common.modality.image_files import conform
from silogan.common.modality.image_options import Folder, Window
from silogan.common.modality.masked import MASK, MaskedSchema
from silogan.common.modality.masked_options import ImagesWithMasks

_LOSSY = (".jpg", ".jpeg")
"""Endings of files that do not keep values as they were."""

_SHOWN = Window(centre=0.5, width=1)
"""The window of masks of more than 8 bits: 0 and below becomes 0, 1 and above 255."""

_HALF = 128

Find = Callable[[Entry], Path]
"""The file of an image's mask."""


def read(data: ImagesWithMasks) -> DataSet:
    """The images as `client/data/folder.py` reads and splits them, each with its mask.

    Every value of a mask above 0 is mask, in colour of any channel. A mask becomes square, and of the size of all, as
    its image does; a pixel is mask then if at least half of it was. A mask whose image is missing is not an error:
    patients withdraw.

    Raises:
        ConfigError, DataError: see `silogan.client.data.folder.read`; neither `data.masks` nor `data.mask_suffix` is
            given, an image has no mask or several, or a mask is JPEG, not readable, outside of its folder, or of
            another size than its image.
    """
    find = _finder(data)

    def decode(entry: Entry, data: Folder) -> Stored:
        images = entry.format.decode(entry.path, str(entry), data)
        mask = _mask(entry, find(entry), data)
        if mask.shape[0] != images.shape[0] or mask.shape[2:] != images.shape[2:]:
            raise DataError(_of(entry), "differs in size from its image", "draw it on the image")
        mask = conform(mask, data.image_size, 1, data.fit)
        return {PIXELS: conformed(entry, images, data), MASK: (mask >= _HALF).byte() * 255}

    found = read_with_files(data, decode)[0]
    schema = found.schema
    assert isinstance(schema, ImageSchema)  # noqa: S101  (of a folder)
    return replace(found, schema=MaskedSchema(schema.size, schema.channels, schema.classes))


def _finder(data: ImagesWithMasks) -> Find:
    root = required_root(data, "the folder that holds the class folders")
    if data.masks is None and not data.mask_suffix:
        hint = "name the folder with the mask of each image, or set data.mask_suffix for masks beside the images"
        raise ConfigError("data.masks", "is not given", hint)
    masks = (data.masks or root).expanduser()
    if not masks.is_dir():
        raise DataError(f"folder '{masks}'", "is not a folder", "correct data.masks")
    resolved = masks.resolve()

    @cache
    def files(folder: Path) -> dict[str, list[Path]]:
        """The files of a folder by their names without their endings."""
        found: dict[str, list[Path]] = {}
        for path in visible(folder) if folder.is_dir() else ():
            if suffix_of(path):
                found.setdefault(name_of(path), []).append(path)
        return found

    def find(entry: Entry) -> Path:
        name = name_of(entry.path) + data.mask_suffix
        try:
            found = files(masks / entry.file.parent).get(name, [])
            if len(found) == 1 and not (found[0].is_file() and found[0].resolve().is_relative_to(resolved)):
                raise DataError(_of(entry), "is not a file in the folder of masks", "replace it by the file")
        except (OSError, RuntimeError):  # it may name a patient's file; RuntimeError: a loop of links
            raise DataError(_of(entry), "cannot be read", "check its permissions and links") from None
        if len(found) != 1:
            problem, hint = ("has several masks", "keep one") if found else ("has no mask", "add one, all 0 if empty")
            raise DataError(str(entry), problem, f"{hint} (data.masks, data.mask_suffix)")
        return found[0]

    return find


def _mask(entry: Entry, path: Path, data: Folder) -> Tensor:
    """The masks of a file's images: uint8 [N, 1, H, W], 0 or 255."""
    ending = suffix_of(path) or ""
    if ending in _LOSSY:
        raise DataError(_of(entry), "is JPEG, which changes values", "export it as PNG")
    values = FORMATS[ending].decode(path, _of(entry), data.model_copy(update={"window": _SHOWN}))
    return (values > 0).any(dim=1, keepdim=True).byte() * 255


def _of(entry: Entry) -> str:
    return f"mask of {entry}"
