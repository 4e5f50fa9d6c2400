"""Files of synthetic images with rows are read as they were written, and refused where they cannot have been."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from silogan.common.errors import DataError
from silogan.common.modality import Stored
from silogan.common.modality.image import PIXELS
from silogan.common.models.networks import Drawn
from silogan.server.release.generator import ReleasedGenerator
from silogan.server.release.outputs import OUTPUTS
from silogan.server.release.outputs.joint import ROWS
from silogan.simulations.synthetic_joint import read_joint
from tests.joint import joint_records, joint_schema

COUNT = 40


def written(folder: Path, kind: str) -> tuple[Path, Stored]:
    """What `silogan generate` writes of some records, and the records."""
    records, labels = joint_records(COUNT)
    generator = ReleasedGenerator(torch.nn.Identity(), joint_schema(folder), (), "id")  # type: ignore[arg-type]
    path = folder / ("out.npz" if kind == "npz" else "out")
    OUTPUTS["joint"].formats[kind](path, [Drawn(records, labels)], generator.about(COUNT))
    return path, {**records, "label": labels}


@pytest.mark.parametrize("kind", ["png", "npz"])
def test_each_image_keeps_its_row_and_class(tmp_path: Path, kind: str) -> None:
    path, records = written(tmp_path, kind)
    found, labels = read_joint(path, joint_schema(tmp_path))
    assert found.keys() | {"label"} == records.keys()

    def sorted_records(stored: Stored) -> list[tuple[Any, ...]]:
        columns = [stored[name].double().nan_to_num(-1).tolist() for name in ("label", "sex", "stage", "dose", "side")]
        return sorted(zip(stored[PIXELS].flatten(1).tolist(), *columns, strict=True))

    assert sorted_records({**found, "label": labels}) == sorted_records(records)


def with_line(path: Path, change: Callable[[list[str]], list[str]]) -> None:
    rows = path / ROWS
    rows.write_text("\n".join([*change(rows.read_text("utf-8").splitlines()), ""]), encoding="utf-8")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda lines: lines[:-1], r"rows\.csv': has no line for 'b/000019\.png'; generate the records again$"),
        (lambda lines: [*lines, lines[1]], r"rows\.csv': has two lines for one file; generate the records again$"),
        (lambda lines: [line.replace(",left", ",up") for line in lines], "column 'side' of '.*rows.csv': has a value"),
        (lambda lines: [line.replace("side", "hand") for line in lines], "column 'side' of '.*rows.csv': is missing"),
        (lambda _: [], "rows.csv"),
    ],
    ids=["no line", "two lines", "no such value", "no column", "empty"],
)
def test_a_folder_whose_rows_do_not_fit_is_refused(tmp_path: Path, change: Any, says: str) -> None:
    path, _ = written(tmp_path, "png")
    with_line(path, change)
    with pytest.raises(DataError, match=says):
        read_joint(path, joint_schema(tmp_path))


@pytest.mark.parametrize(
    "changes",
    [
        {"row_side": None},
        {"row_side": np.zeros(COUNT)},
        {"row_dose": np.full(COUNT, np.inf)},
        {"row_dose": np.array(["much"] * COUNT)},
        {"row_dose": np.zeros(COUNT - 1)},
        {"row_dose": np.zeros((COUNT, 1))},
        {"row_dose": np.array([{"a": 1}] * COUNT, dtype=object)},
    ],
    ids=lambda changes: " ".join(f"{name} {getattr(value, 'dtype', value)}" for name, value in changes.items()),
)
def test_a_file_that_generate_cannot_have_written_is_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    path, _ = written(tmp_path, "npz")
    with np.load(path) as archive:
        arrays = {name: archive[name] for name in archive.files} | changes
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})
    with pytest.raises(DataError, match=r"out\.npz': is not a file written by silogan generate; generate the file"):
        read_joint(path, joint_schema(tmp_path))


def test_images_without_a_class_have_no_rows(tmp_path: Path) -> None:
    path, _ = written(tmp_path, "npz")
    with np.load(path) as archive:
        arrays = {name: archive[name] for name in archive.files if name != "train_labels"}
    np.savez(path, **arrays)
    with pytest.raises(DataError, match=r"holds images without a class; generate the records again$"):
        read_joint(path, joint_schema(tmp_path))
