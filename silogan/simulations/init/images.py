"""The structure of a folder of images: classes, hospitals, a manifest of patients, and how large images are.

Privacy:
    Of the images themselves, the first of each class folder is opened, for its size and whether it is grey.
"""

from pathlib import Path
from typing import Any

from silogan.client.data.folder import Entry, layout, quietly, visible
from silogan.client.data.image_formats import suffix_of
from silogan.client.data.nifti import SUFFIXES
from silogan.common.csv_file import read_header
from silogan.common.errors import DataError
from silogan.common.modality.image_files import WindowNeeded
from silogan.common.modality.image_options import DICOM, Folder, Slices, Window
from silogan.simulations.init.found import Found
from silogan.simulations.init.sizes import kept

_ANY = Folder(window=Window(centre=0, width=1), slices=Slices(axis=2, first=0, last=0))
"""With which any image can be decoded, for the sake of its size."""


def look_at_images(root: Path) -> Found:
    """The structure of `root/CLASS/*.png` or `root/HOSPITAL/CLASS/*.png`, also under `root/train` and `root/test`.

    Raises:
        DataError: the folder has no images, or they do not lie so.
    """
    classes = _class_folders(root)
    manifest, has_rows = _manifest(root)
    train, test = layout(Folder(root=root, classes=classes or ("none",), patients=manifest))
    first = {(entry.site, entry.class_name): entry for entry in reversed([*train, *test])}
    if not first:
        raise DataError(f"folder '{root}'", "has no images in class folders", "put them in FOLDER/CLASS/*.png")
    with quietly():
        looks = [_look(entry) for entry in first.values()]
    shapes, suffixes = {shape for shape, _ in looks}, {suffix_of(entry.path) for entry in (*train, *test)}
    volumes = not suffixes.isdisjoint(SUFFIXES)
    sites = {entry.site for entry in (*train, *test) if entry.site is not None}
    channels = {shape[0] for shape in shapes}
    size, told = kept({shape[1:] for shape in shapes})
    if volumes:
        size, told = None, "in volumes"
    patients = DICOM if manifest is None and suffixes == {".dcm"} else manifest
    keys: dict[str, Any] = {} if patients is None else {"patients": str(patients)}
    keys |= {"channels": 3 if channels == {3} else 1} | ({} if size is None else {"image_size": size})
    colour = "grey and colour" if len(channels) > 1 else "grey" if channels == {1} else "colour"
    return Found(
        source="folder",
        described=f"images {told}, {colour}, in {len(classes)} class folders",
        keys=keys,
        sites=len(sites) or None,
        classes=classes,
        asks_size=size is None,
        asks_fit=volumes or any(height != width for _, height, width in shapes),
        asks_window=any(needs_window for _, needs_window in looks),
        asks_slices=volumes,
        remarks=tuple(_remarks(patients, has_rows)),
    )


def _look(entry: Entry) -> tuple[tuple[int, int, int], bool]:
    """Channels, height and width of an image, and whether it needs a window."""
    needs_window = False
    try:
        images = entry.format.decode(entry.path, str(entry), Folder())
    except WindowNeeded:
        images, needs_window = entry.format.decode(entry.path, str(entry), _ANY), True
    _, channels, height, width = images.shape
    return (channels, height, width), needs_window


def _class_folders(root: Path) -> tuple[str, ...]:
    """The names of the folders that hold files, at whichever of the levels they lie.

    Raises:
        DataError: no two hospitals have a class in common.
    """
    splits = [root / name for name in ("train", "test")]
    tops = splits if all(split.is_dir() for split in splits) else [root]
    folders = [item for top in tops for item in visible(top) if item.is_dir()]
    inner = {(folder.name, item.name) for folder in folders for item in visible(folder) if item.is_dir()}
    names = {name for _, name in inner}
    if inner and len(names) == len(inner):
        # FOLDER/CLASS/PATIENT looks like it, and the name of a patient must not become that of a class.
        hint = "give the folder that holds the class folders, and name patients in a manifest"
        raise DataError(f"folder '{root}'", "has folders in folders, but no class in two hospitals", hint)
    return tuple(sorted(names or {folder.name for folder in folders}))


def _manifest(root: Path) -> tuple[Path | None, bool]:
    """The CSV file in the folder that names the patient of each image, and whether one has more columns than that."""
    headers = {
        path: set(read_header(path, f"'{path.name}'")) for path in visible(root) if path.suffix.lower() == ".csv"
    }
    named = [path for path, names in headers.items() if {"file", "patient"} <= names]
    if len(named) > 1:
        raise DataError(f"folder '{root}'", "has two files with the columns file and patient", "keep one")
    has_rows = any("file" in names > {"file", "patient"} for names in headers.values())
    return (named[0].absolute() if named else None), has_rows


def _remarks(patients: Path | str | None, has_rows: bool) -> list[str]:
    told = ["patients: the file that names whose each image is; all images of a patient are protected together."]
    if patients == DICOM:
        told = ["patients: the Patient ID in each file; all images of a patient are protected together."]
    if patients is None:
        told = [
            "Each image counts as a patient of its own. If a patient may have several, add `patients: FILE.csv`,",
            "with the columns file (relative to root) and patient.",
        ]
    return [*told, *(["A row for each image can be generated too: docs/images-with-rows.md."] if has_rows else [])]
