"""A hospital's share of embedded data, as files that its node can register."""

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from silogan.client.data import DataSet
from silogan.common.modality.image import PIXELS
from silogan.common.modality.table import Number, TableSchema
from silogan.common.yaml_text import write_yaml


def write_share(folder: Path, data: DataSet, positions: NDArray[np.int64]) -> Path:
    """Writes the training records at `positions` (int64[N]), and the `data.yaml` that says how to read them.

    Returns:
        The path of `data.yaml`. What it describes has the schema of `data`, and these records in this order.
    """
    folder.mkdir(parents=True, exist_ok=True)
    keys = _WRITERS[data.schema.kind](folder, data, positions)
    (folder / "data.yaml").write_text(write_yaml(keys), encoding="utf-8")
    return folder / "data.yaml"


def _images(folder: Path, data: DataSet, positions: NDArray[np.int64]) -> dict[str, Any]:
    """Grey images as an .npz file with the layout of MedMNIST."""
    arrays: dict[str, Any] = {}
    for part, records in (("train", data.train.select(positions)), ("test", data.test)):
        arrays |= {f"{part}_images": records.stored[PIXELS][:, 0].numpy(), f"{part}_labels": records.labels.numpy()}
    np.savez(folder / "share.npz", **arrays)
    return {"source": "medmnist", "root": str(folder / "share.npz"), "classes": list(data.schema.classes)}


def _rows(folder: Path, data: DataSet, positions: NDArray[np.int64]) -> dict[str, Any]:
    """Rows of numbers as a CSV file, and the description of its columns."""
    schema, share = data.schema, data.train.select(positions)
    assert isinstance(schema, TableSchema)  # noqa: S101  (its kind)
    numbers = [column for column in schema.columns if isinstance(column, Number)]
    columns = [map(repr, share.stored[column.name].tolist()) for column in numbers]
    classes = (schema.classes[label] for label in share.labels.tolist())
    with (folder / "share.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*(column.name for column in numbers), schema.label])
        writer.writerows(zip(*columns, classes, strict=True))
    described = {
        column.name: {"type": "numeric", "min": column.low, "max": column.high, "edges": list(column.edges)}
        for column in numbers
    }
    label = {"column": schema.label, "classes": list(schema.classes)}
    (folder / "columns.yaml").write_text(write_yaml({"label": label, "columns": described}), encoding="utf-8")
    places = {"root": str(folder / "share.csv"), "columns": str(folder / "columns.yaml")}
    return {"source": "table", **places, "test_fraction": 0}


_WRITERS: dict[str, Callable[[Path, DataSet, NDArray[np.int64]], dict[str, Any]]] = {"image": _images, "table": _rows}
"""By the kind of record; each writes the files and returns the keys of `data.yaml`."""
