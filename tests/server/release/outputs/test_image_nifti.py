"""Stacks of grey images as NIfTI, read by nibabel."""

import csv
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from silogan.common.errors import UsageError
from silogan.server.release.about import About
from silogan.server.release.outputs import image_nifti
from silogan.server.release.outputs.image_nifti import write_nifti
from tests.server.release.outputs.described import records, validated
from tests.server.release.outputs.pictures import about, drawn, expected

nibabel = pytest.importorskip("nibabel")


def written(folder: Path, of: About, *, labelled: bool = True) -> Path:
    write_nifti(folder / "out", drawn(of, labelled=labelled), of)
    return folder / "out"


def rows_of(out: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((out / "metadata.csv").read_text(encoding="utf-8").splitlines()))


def test_a_stack_has_the_images_of_a_class(tmp_path: Path) -> None:
    of = about(5)
    out = written(tmp_path, of)
    for name, images in expected(of).items():
        (path,) = (out / name).iterdir()
        stack = nibabel.load(path)
        assert (path.name, stack.shape, stack.get_data_dtype()) == ("000000.nii.gz", (7, 7, len(images)), np.uint8)
        assert np.array_equal(np.asarray(stack.dataobj), np.stack(images, axis=-1))
    assert [row["slice"] for row in rows_of(out)] == ["0", "1", "2", "0", "1"]
    assert {row["label"] for row in rows_of(out)} == {"a b", "ä"}


def test_long_stacks_are_several(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_nifti, "MOST_IMAGES", 2)
    of = about(7)
    out = written(tmp_path, of)
    stacks = {row["file_name"]: nibabel.load(out / row["file_name"]) for row in rows_of(out)}
    assert sorted(stack.shape[2] for stack in stacks.values()) == [1, 2, 2, 2]
    images = {name: list(images) for name, images in expected(of).items()}
    for row in rows_of(out):
        found = np.asarray(stacks[row["file_name"]].dataobj)[:, :, int(row["slice"])]
        assert np.array_equal(found, images[row["label"]].pop(0))
    assert not any(images.values())


def test_large_images_do_not_wait_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_nifti, "MOST_BYTES", 7 * 7 * 2)
    assert {row["slice"] for row in rows_of(written(tmp_path, about(6)))} == {"0"}


def test_the_header_says_what_it_is_and_claims_no_place_in_a_body(tmp_path: Path) -> None:
    of = about(3)
    header = nibabel.load(written(tmp_path, of) / "ä" / "000000.nii.gz").header
    assert header["descrip"].item().startswith(b"synthetic; SiloGAN ")
    (extension,) = header.extensions
    assert extension.get_code() == 6
    assert json.loads(extension.get_content()) == of.facts()
    assert (header["sform_code"], header["qform_code"]) == (0, 0)


def test_croissant_reads_the_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = records(validated(written(tmp_path, about(3)) / "croissant.json", monkeypatch), "records")
    assert found[0] == {"file_name": "a b/000000.nii.gz", "slice": "0", "label": "a b"}


def test_images_without_a_class_have_no_label(tmp_path: Path) -> None:
    assert rows_of(written(tmp_path, about(3), labelled=False))[0] == {
        "file_name": "images/000000.nii.gz",
        "slice": "0",
    }


def test_colour_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"^--format nifti: holds grey images, but these are in colour; use png, npz"):
        written(tmp_path, about(3, channels=3))
    assert not list(tmp_path.iterdir())


def test_without_nibabel_it_says_what_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nibabel", None)
    with pytest.raises(UsageError, match=r"^--format nifti: needs nibabel, which is not installed; pip install 'silo"):
        written(tmp_path, about(3))
    assert not list(tmp_path.iterdir())
