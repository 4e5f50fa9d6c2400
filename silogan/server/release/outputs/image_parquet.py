"""Synthetic images as Parquet, in the schema of Hugging Face's `datasets`: each image a PNG, its class a position."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO

from silogan.common.models.networks import Drawn
from silogan.common.parquet_file import pyarrow
from silogan.server.release.about import About
from silogan.server.release.arrays import images_of
from silogan.server.release.croissant import field, file_object, record_set
from silogan.server.release.outputs.image_folder import LABEL, with_labels
from silogan.server.release.outputs.image_png import marked, png_of
from silogan.server.release.outputs.written import Described, write_file

IMAGE = "image"


def write_parquet(out: Path, drawn: Iterable[Drawn], about: About) -> None:
    """Columns `image` {bytes, path} and `label`; no label of images without a class. Its metadata say what they are."""
    arrow, parquet = pyarrow("--format parquet", "use png or npz")
    labelled, parts = with_labels(drawn)
    info = marked(about)
    image = arrow.struct([("bytes", arrow.binary()), ("path", arrow.string())])
    columns = [(IMAGE, image), *([(LABEL, arrow.int64())] if labelled else [])]
    types = arrow.schema(columns, metadata={**about.facts(), "huggingface": json.dumps(_features(about, labelled))})

    def write(file: BinaryIO) -> None:
        done = 0
        with parquet.ParquetWriter(file, types) as writer:
            for part in parts:
                pictures = images_of(part.records)
                rows = [
                    {"bytes": png_of(pixels, info), "path": f"{number:06d}.png"}
                    for number, pixels in enumerate(pictures, start=done)
                ]
                values = [arrow.array(rows, type=image)]
                if part.labels is not None:
                    values.append(arrow.array(part.labels.numpy()))
                writer.write_batch(arrow.record_batch(values, schema=types))
                done += len(pictures)

    write_file(out, about, write, lambda path: _described(path, out.name, labelled))


def _features(about: About, labelled: bool) -> dict[str, Any]:
    """The types of the columns as `datasets` writes them."""
    label = {LABEL: {"names": list(about.schema.classes), "_type": "ClassLabel"}} if labelled else {}
    return {"info": {"features": {IMAGE: {"_type": "Image"}, **label}}}


def _described(path: Path, name: str, labelled: bool) -> Described:
    fields = [field(IMAGE, "sc:ImageObject", name, {"column": IMAGE}, {"jsonPath": "bytes"})]
    if labelled:
        fields.append(field(LABEL, "sc:Integer", name, {"column": LABEL}))
    return [file_object(path, name, "application/x-parquet")], [record_set("records", fields)]
