"""What lies beside rows, and in a folder of images with rows: descriptions, hashes and the mark."""

import json
import subprocess
import weakref
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from silogan.common.modality.image import PIXELS
from silogan.common.models.networks import Drawn
from silogan.server.release.outputs import OUTPUTS
from tests.joint import joint_records, joint_schema
from tests.server.release.outputs.described import records, validated
from tests.server.release.outputs.pictures import about
from tests.server.release.tables import CODES, category, released, schema

FORMATS = OUTPUTS["table"].formats


def checked(folder: Path, sums: str) -> set[str]:
    """The files that `sha256sum -c` finds right; it finds no other."""
    check = ["sha256sum", "-c", "--strict", sums]
    done = subprocess.run(check, cwd=folder, capture_output=True, text=True, check=True)
    return {line.partition(":")[0] for line in done.stdout.splitlines()}


@pytest.mark.parametrize("file_format", FORMATS)
def test_rows_are_described_and_hashed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file_format: str) -> None:
    generator = released()
    drawn = next(generator.draw(50, torch.Generator().manual_seed(0)))
    name = f"rows.{file_format}"
    FORMATS[file_format](tmp_path / name, [drawn], generator.about(50))
    beside = {name, f"{name}.croissant.json"} | ({f"{name}.about.json"} if file_format == "csv" else set())
    assert checked(tmp_path, f"{name}.sha256") == beside
    found = records(validated(tmp_path / f"{name}.croissant.json", monkeypatch), "records")
    assert len(found) == 50
    assert [one["age"] for one in found] == drawn.records["age"].tolist()
    assert drawn.labels is not None
    assert [one["num"] for one in found] == [generator.schema.classes[code] for code in drawn.labels]


@pytest.mark.parametrize("file_format", FORMATS)
def test_sets_of_codes_are_described(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file_format: str) -> None:
    generator = released(schema(category("sex", ("F", "M")), code_sets=(CODES,)))
    drawn = next(generator.draw(20, torch.Generator().manual_seed(0)))
    name = f"rows.{file_format}"
    FORMATS[file_format](tmp_path / name, [drawn], generator.about(20))
    assert len(records(validated(tmp_path / f"{name}.croissant.json", monkeypatch), "records")) == 20


def test_odd_names_of_columns_can_be_described(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    of = schema(*(category(name, ("x", "y")) for name in ("mean radius", "a,b", "50 % <ä>", "x/y#z?")))
    generator = released(of)
    drawn = next(generator.draw(5, torch.Generator().manual_seed(0)))
    FORMATS["csv"](tmp_path / "rows 1.csv", [drawn], generator.about(5))
    described = validated(tmp_path / "rows 1.csv.croissant.json", monkeypatch)
    (found,) = described.metadata.record_sets
    assert [field.name for field in found.fields] == ["mean radius", "a,b", "50 % <ä>", "x/y#z?", "num"]
    assert len(records(described, "records")) == 5


def test_a_note_says_the_same_as_the_other_formats(tmp_path: Path) -> None:
    of = replace(about(50), schema=schema())
    drawn = next(released().draw(50, torch.Generator().manual_seed(0)))
    FORMATS["csv"](tmp_path / "rows.csv", [drawn], of)
    assert json.loads((tmp_path / "rows.csv.about.json").read_text(encoding="utf-8")) == of.facts()


def test_images_with_rows_are_described_and_hashed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stored, labels = joint_records(20)
    halves = [Drawn({name: part[places] for name, part in stored.items()}, labels[places]) for places in HALVES]
    of = replace(about(20), schema=joint_schema(tmp_path))
    out = tmp_path / "out"
    OUTPUTS["joint"].formats["png"](out, halves, of)
    there = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    assert there >= {"rows.csv", "rows.csv.about.json", "README.md", "croissant.json"}
    assert checked(out, "SHA256SUMS") == there - {"SHA256SUMS"}
    described = validated(out / "croissant.json", monkeypatch)
    found = records(described, "records")
    assert [out / one["file"] for one in found] == [out / name for name in names(labels, of.schema.classes)]
    assert len(records(described, "images-by-file")) == 20


@pytest.mark.parametrize("file_format", OUTPUTS["image"].formats)
def test_images_that_are_written_are_in_memory_no_more(tmp_path: Path, file_format: str) -> None:
    """Also those of a class that is so rare that its images wait for others, as in a stack of NIfTI."""
    of, parts = about(12 * 50, size=8), 12
    rare = (torch.arange(50) == 0).long()
    alive: list[weakref.ref[np.ndarray]] = []
    most = 0

    def drawn() -> Iterator[Drawn]:
        nonlocal most
        for number in range(parts):
            pixels = np.full((50, 1, 8, 8), number, np.uint8)
            alive.append(weakref.ref(pixels))
            part = Drawn({PIXELS: torch.from_numpy(pixels)}, rare)
            del pixels
            most = max(most, sum(one() is not None for one in alive))
            yield part

    OUTPUTS["image"].formats[file_format](tmp_path / "out", drawn(), of)
    assert len(alive) == parts
    assert most <= 3  # this one, the one before it, and the first, which says whether there are labels


HALVES = (torch.arange(12), torch.arange(12, 20))


def names(labels: torch.Tensor, classes: tuple[str, ...]) -> list[str]:
    """The file of each image: numbered within its class."""
    seen = np.zeros(len(classes), int)
    found: list[str] = []
    for label in labels.tolist():
        found.append(f"{classes[label]}/{seen[label]:06d}.png")
        seen[label] += 1
    return found


def test_images_with_rows_fill_splits_in_order(tmp_path: Path) -> None:
    stored, labels = joint_records(20)
    of = replace(about(20, splits=(12, 4, 4)), schema=joint_schema(tmp_path))
    OUTPUTS["joint"].formats["npz"](tmp_path / "x.npz", [Drawn(stored, labels)], of)
    with np.load(tmp_path / "x.npz") as archive:
        images = np.concatenate([archive[f"{split}_images"] for split in ("train", "val", "test")])
        assert np.array_equal(images, stored["pixels"][:, 0].numpy())
        assert archive["row_dose"].shape == (20,)
        assert np.array_equal(archive["row_dose"], stored["dose"].numpy(), equal_nan=True)
