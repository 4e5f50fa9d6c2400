"""Images as files: `root/CLASS/*.png`, or `root/SITE/CLASS/*.png` where the images come from several natural sites.

All of `silogan/client/data/image_formats.py` may stand in place of PNG.

Either may stand under `root/train` and `root/test`. The names of classes and sites are public; the name of an image
file is not (it is often a patient's), so errors name an image by its class folder and its place there by name.
"""

import os
import warnings
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path, PurePosixPath
from typing import cast

import torch
from torch import Tensor

from silogan.client.data.arrays import assemble, check_size
from silogan.client.data.dicom import patient_of
from silogan.client.data.image_formats import FORMATS, Format, name_of, suffix_of
from silogan.client.data.patients import read_manifest
from silogan.client.data.records import DataSet, Records
from silogan.client.data.settings import declared_classes, required_root
from silogan.client.data.split import share
from silogan.common.errors import DataError
from silogan.common.modality import Stored
from silogan.common.modality.image import PIXELS
from silogan.common.modality.image_files import conform
from silogan.common.modality.image_options import DICOM, Folder
from silogan.common.printable import printable

_KNOWN = f"{', '.join([*FORMATS][:-1])} or {[*FORMATS][-1]}"
_CLUTTER = {"thumbs.db", "desktop.ini"}


@dataclass(frozen=True)
class Entry:
    """One image file.

    Attributes:
        path: of the file.
        file: the same relative to the root, as manifests name it.
        site: the natural site that it is from, if there are several.
        label: position of its class.
        class_name: the name of its class.
        position: from 1, in the order of names within its class folder.
        patient: whose it is, if that is known.
    """

    path: Path
    file: PurePosixPath
    site: str | None
    label: int
    class_name: str
    position: int
    patient: str | None = None

    def __str__(self) -> str:
        where = f" of site '{self.site}'" if self.site is not None else ""
        return f"image {self.position} of class '{self.class_name}'{where}, in name order"

    @property
    def format(self) -> Format:
        """How it is read."""
        return FORMATS[cast(str, suffix_of(self.path))]

    def share(self) -> float:
        """A fixed number in [0, 1) that depends on nothing but the patient, or this file's site, class and name."""
        names = (self.site or "", self.class_name, self.path.name) if self.patient is None else (self.patient,)
        return share(b"/".join(os.fsencode(part) for part in names))


Decode = Callable[[Entry, Folder], Stored]
"""What is stored of a file's images, uint8 [N, C, S, S] of each part of it.

Raises:
    DataError: the file is not readable, or its images do not fit the options.
"""


def read(data: Folder) -> DataSet:
    """The images under `data.root`, decoded once.

    With `root/train` and `root/test` these are the splits. Otherwise each image falls into the test split with
    probability `data.test_fraction` by a hash of its own name: adding or removing one image then moves no other image
    between the splits, without which the guarantee for one patient would not hold. With `data.patients` the hash is
    that of the patient's name, so that no patient is in both splits; so it is with `data.slices`, where a file without
    a manifest is a patient.

    A class, a site or a split without images is not an error, nor is a manifest line whose file is missing: patients
    withdraw, and a hospital that continues without them must not reveal that one of them had been the last.

    Colours that a file declares transparent are taken as they are. Values of more than 8 bits go through `data.window`
    and are refused without one, for a window from the data would not be private.

    Raises:
        ConfigError: `data.root` or `data.classes` is missing.
        DataError: there is no image at all, a folder is not a declared class, layouts are mixed, an image is not
            readable, not what its suffix says, too large, outside the root, not square without `data.fit`, or unlike
            the others in size or channels; or an image has no patient in the manifest, which is not CSV or has two for
            it, or no Patient ID, or a patient is in both splits.
        UsageError: what reads a file's format is not installed.
    """
    return read_with_files(data)[0]


def read_with_files(data: Folder, decode: Decode | None = None) -> tuple[DataSet, list[Entry], list[Entry]]:
    """The same, and the file of each training and test image, in the same order.

    Args:
        data: says which files, and how they are read.
        decode: what is stored of a file; its images alone if not given.
    """
    decode = decode or _decode
    root, classes = _root_and_classes(data)
    train, test = layout(data)
    if not train and not test:
        raise DataError(f"folder '{root}'", "has no images", "correct data.root")
    sites = sorted({entry.site for entry in (*train, *test) if entry.site is not None})
    with quietly():
        like = decode((train or test)[0], data)
        (train_images, train), (test_images, test) = (
            _images(part, sites, like, data, decode) for part in (train, test)
        )
    return assemble(f"folder '{root}'", train_images, test_images, classes, tuple(sites) or None), train, test


def layout(data: Folder) -> tuple[list[Entry], list[Entry]]:
    """The files of training and test images, of which only a Patient ID is read, where it is asked for.

    Raises:
        ConfigError, DataError: see `read`, of which this is what does not depend on the images themselves.
    """
    root, classes = _root_and_classes(data)
    with _readable(root), quietly():
        return _splits(root, classes, data)


@contextmanager
def quietly() -> Generator[None]:
    """Without the warnings of decoders: of large images, for which there are stricter limits, and of single values."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def visible(folder: Path) -> list[Path]:
    """What `folder` holds, by name, without hidden files and what file managers leave."""
    kept = (item for item in folder.iterdir() if not item.name.startswith(".") and item.name.lower() not in _CLUTTER)
    return sorted(kept, key=lambda item: item.name)


def _root_and_classes(data: Folder) -> tuple[Path, tuple[str, ...]]:
    return required_root(data, "the folder that holds the class folders"), declared_classes(data)


def _splits(root: Path, classes: tuple[str, ...], data: Folder) -> tuple[list[Entry], list[Entry]]:
    if not root.is_dir():
        raise DataError(f"folder '{root}'", "is not a folder", "correct data.root")
    named = [root / name for name in ("train", "test") if name not in classes and (root / name).is_dir()]
    if len(named) == 1:
        raise DataError(f"folder '{root}'", "has only one of 'train' and 'test'", "give both or neither")
    if named:
        _subfolders(root, root, only={"train", "test"})
        train, test = (_entries(folder, root, classes, data) for folder in named)
        owned = _with_patients([*train, *test], data)
        train, test = owned[: len(train)], owned[len(train) :]
        _refuse_shared_patients(train, test)
        return train, test
    entries = _with_patients(_entries(root, root, classes, data), data)
    held_out = [entry.share() < data.test_fraction for entry in entries]
    train = [entry for entry, out in zip(entries, held_out, strict=True) if not out]
    test = [entry for entry, out in zip(entries, held_out, strict=True) if out]
    return train, test


def _with_patients(entries: list[Entry], data: Folder) -> list[Entry]:
    """The same files with their patients, as the options say."""
    if data.patients == DICOM:
        return _with_patient_ids(entries)
    if data.manifest is not None:
        return _as_in_manifest(entries, data.manifest.expanduser())
    if data.slices is not None:  # a file is a patient; a name that is not UTF-8 could not be kept as it is
        return [replace(entry, patient=printable(str(entry.file))) for entry in entries]
    return entries


def _as_in_manifest(entries: list[Entry], manifest: Path) -> list[Entry]:
    """The same files with their patients: the manifest has a row for each file."""
    rows = read_manifest(manifest)
    owned: list[Entry] = []
    for entry in entries:
        row = rows.get(entry.file)
        if row is None:
            raise DataError(str(entry), f"has no line in manifest '{manifest.name}'", "add one")
        owned.append(replace(entry, patient=row.patient))
    return owned


def _with_patient_ids(entries: list[Entry]) -> list[Entry]:
    def owned(entry: Entry) -> Entry:
        if suffix_of(entry.path) != ".dcm":
            hint = "name patients in a manifest (data.patients)"
            raise DataError(str(entry), "is not a .dcm file, which alone has a Patient ID", hint)
        return replace(entry, patient=patient_of(entry.path, str(entry)))

    with ThreadPoolExecutor() as pool:
        return list(pool.map(owned, entries))


def _refuse_shared_patients(train: list[Entry], test: list[Entry]) -> None:
    trained_on = {entry.patient for entry in train if entry.patient is not None}
    for entry in test:
        if entry.patient in trained_on:
            problem = "is in the test split, but its patient is also in the training split"
            raise DataError(str(entry), problem, "move all images of a patient into one split")


def _entries(folder: Path, root: Path, classes: tuple[str, ...], data: Folder) -> list[Entry]:
    """The images of one split, ordered by site, class folder and name."""
    children = _subfolders(folder, root)
    deep = [child for child in children if any(item.is_dir() for item in visible(child))]
    for child in deep:
        if child.name in classes:
            raise DataError(f"class folder '{child.name}'", "holds folders", "put its images straight into it")
        # What lies in a folder that is neither site nor class may be named after a patient, so its names are not said.
        if not any(item.name in classes for item in visible(child)):
            problem = "is neither a declared class nor a site with class folders"
            raise DataError(f"folder '{child.name}'", problem, "remove it or correct data.classes")
    odd = next((child for child in children if child not in deep and any(visible(child))), None)
    if deep and odd is not None:
        raise DataError(f"folder '{odd.name}'", "has no class folders while others have", "use one layout throughout")
    groups = [(site.name, site) for site in deep] or [(None, folder)]
    return [
        entry
        for site, parent in groups
        for child in _subfolders(parent, root, only=set(classes))
        for entry in _class_entries(child, root, site, classes)
        if data.is_image(name_of(entry.path))
    ]


def _class_entries(folder: Path, root: Path, site: str | None, classes: tuple[str, ...]) -> list[Entry]:
    entries: list[Entry] = []
    for position, path in enumerate(visible(folder), start=1):
        file = PurePosixPath(path.relative_to(root).as_posix())
        entry = Entry(path, file, site, classes.index(folder.name), folder.name, position)
        if suffix_of(path) is None:
            raise DataError(str(entry), f"is not a {_KNOWN} file", "remove, rename or convert it")
        if path.is_symlink() and not path.resolve().is_relative_to(root.resolve()):
            raise DataError(str(entry), "is a link that leaves data.root", "replace it by the file")
        if not path.is_file():
            raise DataError(str(entry), "is not a file", "remove it")
        entries.append(entry)
    return entries


def _subfolders(folder: Path, root: Path, only: set[str] | None = None) -> list[Path]:
    """The folders in `folder` by name; images beside them and folders not in `only` are errors."""
    children = visible(folder)
    if any(suffix_of(child) and not child.is_dir() for child in children):
        raise DataError(f"folder '{folder.name}'", "holds images outside of a class folder", "move them into one")
    folders = [child for child in children if child.is_dir()]
    for child in folders:
        if not child.resolve().is_relative_to(root.resolve()):
            hint = "replace it by the folder"
            raise DataError(f"folder '{child.name}'", "is a link that leaves data.root", hint)
        if only is not None and child.name not in only:
            known = ", ".join(sorted(only))
            raise DataError(f"folder '{child.name}'", f"is not one of {known}", "remove it or correct data.classes")
    return folders


@contextmanager
def _readable(root: Path) -> Generator[None]:
    """Turns an operating system's error, which may name a patient's file, into one that names the root."""
    try:
        yield
    except (OSError, RuntimeError):  # RuntimeError: a loop of links
        raise DataError(f"folder '{root}'", "cannot be read", "check its permissions and links") from None


def _images(
    entries: list[Entry], sites: list[str], like: Stored, data: Folder, decode: Decode
) -> tuple[Records, list[Entry]]:
    """Decodes the files, in threads that write straight into the one result; each image has the shape of `like`.

    Returns:
        The images, and the file of each.
    """
    counts = [entry.format.count(entry.path, str(entry), data) for entry in entries]
    ends, shape = list(accumulate(counts)), like[PIXELS].shape[1:]
    stored = {name: torch.empty(sum(counts), *part.shape[1:], dtype=torch.uint8) for name, part in like.items()}
    with ThreadPoolExecutor() as pool:

        def place(index: int) -> None:
            found = decode(entries[index], data)
            own = found[PIXELS].shape[1:]
            if own[1:] != shape[1:]:
                raise DataError(str(entries[index]), "differs in size from the others", "set data.image_size to resize")
            if own != shape:
                problem = "is grey and others are colour, or the reverse"
                raise DataError(str(entries[index]), problem, "set data.channels")
            for name, part in found.items():
                stored[name][ends[index] - counts[index] : ends[index]] = part

        for _ in pool.map(place, range(len(entries))):
            pass
    files = [entry for entry, count in zip(entries, counts, strict=True) for _ in range(count)]
    labels = torch.tensor([entry.label for entry in files], dtype=torch.int64)
    codes = {site: code for code, site in enumerate(sites)}
    origin = torch.tensor([codes[entry.site] for entry in files if entry.site is not None], dtype=torch.int64)
    images = Records(stored, labels, origin if sites else None)
    if data.patients is None and data.slices is None:
        return images, files
    # Hospitals number their patients on their own; a manifest is of all of them.
    return images.of_patients([entry.patient for entry in files], by_site=data.patients == DICOM), files


def _decode(entry: Entry, data: Folder) -> Stored:
    return {PIXELS: conformed(entry, entry.format.decode(entry.path, str(entry), data), data)}


def conformed(entry: Entry, images: Tensor, data: Folder) -> Tensor:
    """The images uint8 [N, C, H, W] of a file at the scenario's size and channels: uint8 [N, C, S, S].

    Raises:
        DataError: they cannot become square, or must be resized before use.
    """
    height, width = images.shape[2:]
    check_size(str(entry), height, width, data)
    return conform(images, data.image_size, data.channels, data.fit)
