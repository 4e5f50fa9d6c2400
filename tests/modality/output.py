"""Synthetic rows: a CSV file, and a scatter of two columns."""

import io
from pathlib import Path

from PIL import Image
from torch import Tensor

from silogan.common.files import write_bytes_atomically
from silogan.common.modality import Stored
from silogan.server.release.about import About
from silogan.server.release.generator import ReleasedGenerator
from silogan.server.release.outputs import Output, whole


def write_csv(out: Path, records: Stored, labels: Tensor | None, about: About) -> None:
    assert labels is not None
    columns = {name: column.tolist() for name, column in records.items()}
    columns["class"] = [about.schema.classes[label] for label in labels.tolist()]
    rows = [",".join(map(str, row)) for row in zip(*columns.values(), strict=True)]
    write_bytes_atomically(out, "\n".join([",".join(columns), *rows, ""]).encode())


def preview(records: Stored, labels: Tensor | None, generator: ReleasedGenerator) -> bytes:
    picture = Image.new("L", (100, 100), 255)
    for age, pressure in zip(records["age"].tolist(), records["pressure"].tolist(), strict=True):
        picture.putpixel((min(99, int(age)), min(99, int(pressure / 3))), 0)
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG")
    return buffer.getvalue()


OUTPUT = Output({"csv": whole(write_csv)}, preview, 8)
