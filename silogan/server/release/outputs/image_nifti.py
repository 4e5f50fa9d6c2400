"""Synthetic grey images as NIfTI-1: stacks of the images of a class."""

import gzip
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np

from silogan.common.errors import UsageError
from silogan.common.libraries import library
from silogan.common.modality.image import ImageSchema
from silogan.common.models.networks import Drawn
from silogan.server.release.about import About
from silogan.server.release.arrays import images_of
from silogan.server.release.croissant import file_set
from silogan.server.release.outputs.image_folder import (
    FILE_NAME,
    LABEL,
    Pixels,
    class_names,
    require_folders,
    with_labels,
    write_metadata,
)
from silogan.server.release.outputs.written import Described, write_folder

FORMAT = "nifti"
LOADING = """
import nibabel
stack = nibabel.load("CLASS/000000.nii.gz")
stack.get_fdata()[:, :, 0]  # the first image: rows, columns
"""
SLICE = "slice"
"""Column of `metadata.csv`: the position of an image in its stack."""

MOST_IMAGES, MOST_BYTES = 1000, 2**26
"""Of a stack, and of the images of all classes that wait to be written."""

_COMMENT = 6
"""Code of a header extension that is text (NIfTI-1, nifti1.h)."""


def write_nifti(out: Path, drawn: Iterable[Drawn], about: About) -> None:
    """`out/CLASS/000000.nii.gz`, uint8[S, S, N] of at most 1,000 images; `metadata.csv` has a line for each image."""
    library("nibabel", "dicom", f"--format {FORMAT}")
    schema = cast(ImageSchema, about.schema)
    if schema.channels != 1:
        raise UsageError(f"--format {FORMAT}", "holds grey images, but these are in colour", "use png, npz or dicom")
    require_folders(about, FORMAT)
    labelled, parts = with_labels(drawn)
    most = max(1, min(MOST_IMAGES, MOST_BYTES // (schema.size**2 * schema.num_classes)))

    def fill(folder: Path) -> Described:
        columns = (FILE_NAME, SLICE, LABEL) if labelled else (FILE_NAME, SLICE)
        files, records = write_metadata(folder, _save(folder, parts, about, most), columns)
        return [*files, file_set("stacks", "*/*.nii.gz", "application/gzip")], records

    write_folder(out, about, LOADING, fill)


def _save(folder: Path, drawn: Iterable[Drawn], about: About, most: int) -> Iterator[tuple[str, int, str]]:
    """Writes stacks of at most so many images; yields the file, the place in it and the class of each image."""
    waiting: defaultdict[str, list[Pixels]] = defaultdict(list)
    written: Counter[str] = Counter()

    def save(of: str) -> Iterator[tuple[str, int, str]]:
        name = f"{of}/{written[of]:06d}.nii.gz"
        (folder / of).mkdir(exist_ok=True)
        (folder / name).write_bytes(_stack(waiting[of], about))
        yield from ((name, place, of) for place in range(len(waiting[of])))
        waiting[of] = []
        written[of] += 1

    for part in drawn:
        for pixels, of in zip(images_of(part.records), class_names(part, about), strict=True):
            waiting[of].append(pixels.copy())  # a view would keep all images of the part
            if len(waiting[of]) == most:
                yield from save(of)
    for of in sorted(name for name, images in waiting.items() if images):
        yield from save(of)


def _stack(images: list[Pixels], about: About) -> bytes:
    """Images [S, S] as the bytes of a file; neither place nor size in a body is claimed (sform and qform unknown)."""
    nifti: Any = library("nibabel.nifti1", "dicom", f"--format {FORMAT}")
    image = nifti.Nifti1Image(np.stack(images, axis=-1), None)
    facts = about.facts()
    image.header["descrip"] = f"synthetic; {facts['software']}; study {about.study_id}".encode("ascii", "replace")[:79]
    image.header.extensions.append(nifti.Nifti1Extension(_COMMENT, about.to_json()))
    return gzip.compress(image.to_bytes(), mtime=0)
