"""Synthetic images as one NPZ file that the `medmnist` package loads."""

import json
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray
from torch import Tensor

from silogan.common.modality import Stored
from silogan.common.modality.image import PIXELS, ImageSchema
from silogan.common.modality.joint import JointSchema
from silogan.common.modality.masked import MaskedSchema
from silogan.common.models.networks import Drawn
from silogan.server.release.about import NOT_STATED, SPLITS, About
from silogan.server.release.arrays import images_of
from silogan.server.release.croissant import file_object
from silogan.server.release.generator import together
from silogan.server.release.outputs.image_folder import Pixels
from silogan.server.release.outputs.written import write_file

Arrays = Mapping[str, NDArray[Any]]


def write_npz(out: Path, drawn: Iterable[Drawn], about: About) -> None:
    """The arrays of MedMNIST, and what they are.

    For each split `SPLIT_images` uint8[N, S, S] or [N, S, S, 3] and `SPLIT_labels` [N, 1] (none of images without a
    class); `info`, what the `medmnist` package wants to know, and `about`, both as JSON; `classes`, `marks`, `study`.
    """
    write_arrays(out, drawn, about, lambda _: {})


def write_arrays(out: Path, drawn: Iterable[Drawn], about: About, more: Callable[[Stored], Arrays]) -> None:
    """The same file with more arrays, which `more` makes of the records without their pixels."""

    def write(file: BinaryIO) -> None:
        rest: list[Drawn] = []
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            _add_images(archive, _without_pixels(drawn, rest), about)
            records, labels = together(rest)
            for name, array in {**_labels(labels, about), **_about(about), **more(records)}.items():
                with _entry(archive, name) as entry:
                    npy.write_array(entry, array, allow_pickle=False)

    write_file(out, about, write, lambda path: ([file_object(path, out.name, "application/x-npz")], []))


def _without_pixels(drawn: Iterable[Drawn], rest: list[Drawn]) -> Iterator[Pixels]:
    """The images of each part; everything else of it, which takes little memory, is added to `rest`."""
    for part in drawn:
        rest.append(Drawn({name: column for name, column in part.records.items() if name != PIXELS}, part.labels))
        yield images_of(part.records)


def _add_images(archive: zipfile.ZipFile, parts: Iterator[Pixels], about: About) -> None:
    """Adds `SPLIT_images` of each split, as the images come: all of them need not be in memory at once."""
    size, channels = _shape(about)
    one = (size, size) if channels == 1 else (size, size, channels)
    left = np.empty((0, *one), np.uint8)
    for split, count in zip(SPLITS, about.splits, strict=True):
        header = {"descr": "|u1", "fortran_order": False, "shape": (count, *one)}
        with _entry(archive, f"{split}_images") as entry:
            npy.write_array_header_1_0(entry, header)
            written = 0
            while written < count:
                left = left if len(left) else next(parts)
                taken, left = np.split(left, [count - written])
                entry.write(taken.tobytes())
                written += len(taken)


def _labels(labels: Tensor | None, about: About) -> dict[str, NDArray[Any]]:
    """`SPLIT_labels` of each split."""
    if labels is None:
        return {}
    parts = np.split(labels.numpy()[:, None], np.cumsum(about.splits)[:-1])
    return {f"{split}_labels": part for split, part in zip(SPLITS, parts, strict=True)}


def _about(about: About) -> dict[str, NDArray[Any]]:
    """What the images are."""
    return {
        "classes": np.array(about.schema.classes),
        "marks": np.array(("synthetic", *about.marks)),
        "study": np.array(about.study_id),
        "about": np.array(json.dumps(about.facts(), ensure_ascii=False)),
        "info": np.array(json.dumps(_info(about), ensure_ascii=False)),
    }


def _info(about: About) -> dict[str, Any]:
    """What `medmnist.INFO` has of each data set; its loader compares the numbers of images."""
    return {
        "python_class": "MedMNIST2D",
        "description": f"{about.title}. {about.facts()['note']}",
        "task": "binary-class" if about.schema.num_classes == 2 else "multi-class",
        "label": {str(code): name for code, name in enumerate(about.schema.classes)},
        "n_channels": _shape(about)[1],
        "n_samples": dict(zip(SPLITS, about.splits, strict=True)),
        "license": about.licence or NOT_STATED,
    }


def _shape(about: About) -> tuple[int, int]:
    """Size and channels of the images."""
    schema = cast(ImageSchema | JointSchema | MaskedSchema, about.schema)
    return schema.size, schema.channels


def _entry(archive: zipfile.ZipFile, name: str) -> IO[bytes]:
    return archive.open(f"{name}.npy", "w", force_zip64=True)
