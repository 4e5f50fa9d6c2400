"""Slices of NIfTI files through a public window: nibabel's own files, and made ones."""

import sys
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from nibabel.testing import data_path
from pydantic import ValidationError

from silogan.client.data import nifti, read
from silogan.common.errors import DataError, UsageError
from silogan.common.modality.image import PIXELS
from silogan.common.modality.image_files import WindowNeeded
from silogan.common.modality.image_options import Folder, Slices, Window
from silogan.simulations.fuzz.medical import write_nifti

WINDOW = Window(centre=127.5, width=255)
"""With which 0 to 255 stay what they are."""

SHIPPED = Path(str(data_path))
STACK = np.arange(4 * 3 * 2, dtype=np.int16).reshape(4, 3, 2)
RAS = np.eye(4)


def options(axis: Any = None, **keys: Any) -> Folder:
    return Folder(window=WINDOW, slices=None if axis is None else Slices(axis=axis, **keys))


def decoded(path: Path, axis: Any = None, **keys: Any) -> torch.Tensor:
    found = nifti.decode(path, "image 1", options(axis, **keys))
    assert nifti.count(path, "image 1", options(axis, **keys)) == len(found)
    return found


def made(folder: Path, stored: np.ndarray[Any, Any] = STACK, suffix: str = ".nii", **keys: Any) -> Path:
    write_nifti(folder / f"0{suffix}", stored, **keys)
    return folder / f"0{suffix}"


def shown(values: np.ndarray[Any, Any], window: Window = WINDOW) -> np.ndarray[Any, Any]:
    return np.round(np.clip((values - window.centre) / window.width * 255 + 127.5, 0, 255))


@pytest.mark.parametrize("name", ["anatomical.nii", "reoriented_anat_moved.nii", "standard.nii.gz"])
def test_shipped_files_are_what_nibabel_reads(name: str) -> None:
    image: Any = nibabel.load(SHIPPED / name)  # pyright: ignore[reportPrivateImportUsage]
    for axis in range(3):
        expected = shown(np.moveaxis(image.get_fdata(), axis, 0))
        assert np.array_equal(decoded(SHIPPED / name, axis)[:, 0].numpy(), expected)
    body = nibabel.as_closest_canonical(image).get_fdata()  # pyright: ignore[reportPrivateImportUsage]
    for axis, name_of in enumerate(("sagittal", "coronal", "axial")):
        expected = shown(np.moveaxis(body, axis, 0)).swapaxes(1, 2)[:, ::-1]
        assert np.array_equal(decoded(SHIPPED / name, name_of)[:, 0].numpy(), expected)


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("functional.nii", "is no image or volume"),
        ("example_nifti2.nii.gz", "is no image or volume"),
        ("row_major.dconn.nii", "is no image or volume"),
        ("resampled_anat_moved.nii", "has a value that is not a number"),
        ("nifti1.hdr", "is not a NIfTI file with its values in it"),
        ("analyze.hdr", "is not a NIfTI file with its values in it|is corrupt"),
        ("tiny.mnc", "is corrupt or not what its suffix says"),
    ],
)
def test_shipped_files_of_other_kinds_are_refused(name: str, problem: str) -> None:
    with pytest.raises(DataError, match=f"^image 1: ({problem})"):
        decoded(SHIPPED / name, 0)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_slices_are_counted_from_zero_and_the_last_is_one_of_them(tmp_path: Path, suffix: str) -> None:
    path = made(tmp_path, suffix=suffix)
    for axis, sides in ((0, (3, 2)), (1, (4, 2)), (2, (4, 3))):
        whole = decoded(path, axis)
        assert whole.shape[1:] == (1, *sides)
        assert torch.equal(decoded(path, axis, first=1), whole[1:])
        assert torch.equal(decoded(path, axis, first=1, last=1), whole[1:2])
    with pytest.raises(DataError, match=r"has fewer slices than data\.slices asks for"):
        decoded(path, 2, last=2)
    with pytest.raises(DataError, match=r"has fewer slices than data\.slices asks for"):
        decoded(path, 2, first=2)


@pytest.mark.parametrize("flips", [(1, 1, 1), (-1, 1, 1), (1, -1, -1), (-1, -1, -1)])
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 0, 2)])
def test_however_an_array_is_stored_the_body_stands_the_same_way(
    tmp_path: Path, flips: tuple[int, ...], order: tuple[int, ...]
) -> None:
    """The top of an axial slice is in front, its left the patient's left; the top of the others is above."""
    affine = np.diag([*flips, 1])[:, [*order, 3]]
    body = np.zeros((5, 5, 5), np.uint8)
    body[0] += 1  # left
    body[:, 4] += 2  # in front
    body[:, :, 4] += 4  # above
    stored = body[tuple(slice(None, None, flip) for flip in flips)].transpose(order)
    path = made(tmp_path, stored, affine=affine)
    for axis, right, up in (("axial", 0, 1), ("coronal", 0, 2), ("sagittal", 1, 2)):
        middle = decoded(path, axis)[2, 0].numpy()
        assert np.array_equal(middle, np.moveaxis(body, (up, right), (0, 1))[::-1, :, 2])


def test_an_axis_of_the_body_needs_an_affine(tmp_path: Path) -> None:
    for affine in (None, np.diag([0, 0, 0, 1]), np.full((4, 4), np.nan)):
        path = made(tmp_path)
        if affine is not None:
            rows = {f"srow_{axis}": affine[row] for row, axis in enumerate("xyz")}
            path = made(tmp_path, affine=RAS, **rows)
        with pytest.raises(DataError, match=r"does not say how the body lies in it|is corrupt"):
            decoded(path, "axial")
        assert len(decoded(path, 2)) == 2


def test_a_single_slice_needs_no_rule_and_a_volume_does(tmp_path: Path) -> None:
    assert torch.equal(decoded(made(tmp_path, STACK[:, :, 0]))[0, 0], decoded(made(tmp_path), 2)[0, 0])
    assert decoded(made(tmp_path, STACK[:, :, :1])).shape == (1, 1, 4, 3)
    with pytest.raises(DataError, match=r"^image 1: is a volume; set data\.slices\.axis"):
        decoded(made(tmp_path))


def test_a_scale_gives_the_units_of_the_window(tmp_path: Path) -> None:
    assert np.array_equal(decoded(made(tmp_path, scl_slope=3, scl_inter=20), 0)[:, 0], shown(STACK * 3 + 20))
    assert np.array_equal(decoded(made(tmp_path, scl_slope=0, scl_inter=20), 0)[:, 0], shown(STACK))
    for kind in (np.uint8, np.int32, np.float32, np.float64):
        assert np.array_equal(decoded(made(tmp_path, STACK.astype(kind)), 0)[:, 0], shown(STACK))


def test_nifti_2_is_read_as_nifti_1_is(tmp_path: Path) -> None:
    path = made(tmp_path, affine=RAS)
    first = decoded(path, "axial")
    path.write_bytes(nibabel.Nifti2Image(STACK, RAS).to_bytes())  # pyright: ignore[reportPrivateImportUsage]
    assert torch.equal(decoded(path, "axial"), first)


def test_without_a_window_a_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WindowNeeded):
        nifti.decode(made(tmp_path), "image 1", Folder(slices=Slices(axis=0)))


def test_without_nibabel_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = made(tmp_path)
    monkeypatch.setitem(sys.modules, "nibabel", None)
    with pytest.raises(UsageError, match=r"\.nii files: need nibabel.*pip install 'silogan\[dicom\]'"):
        decoded(path, 0)


@pytest.mark.parametrize(
    "keys",
    [
        {"slices": {"axis": 3}},
        {"slices": {"axis": 0, "first": 2, "last": 1}},
        {"slices": {"axis": 0}, "patients": "dicom"},
        {"slices": {"axis": 0}, "images_per_patient": 2},
        {"window": {"centre": 0, "width": 0}},
        {"window": {"centre": float("nan"), "width": 1}},
        {"window": {"centre": 0}},
    ],
)
def test_options_that_contradict_each_other_are_refused(keys: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Folder.model_validate(keys)


# --- folders ---------------------------------------------------------------------------------------------------------


def fill(root: Path, files: int = 12) -> None:
    for number in range(files):
        parent = root / "ab"[number % 2]
        parent.mkdir(parents=True, exist_ok=True)
        stored = np.random.default_rng(number).integers(0, 256, (9, 9, 2 + number % 3), dtype=np.int16)
        write_nifti(parent / f"{number:02}.nii.gz", stored, RAS)


def folder(root: Path, **keys: Any) -> Folder:
    given = {"root": root, "classes": ("a", "b"), "window": WINDOW, "slices": {"axis": "axial"}, "test_fraction": 0.4}
    return Folder.model_validate(given | keys)


def test_the_slices_of_a_file_are_one_patient_s(tmp_path: Path) -> None:
    fill(tmp_path)
    found = read(folder(tmp_path))
    assert folder(tmp_path).names_patients
    assert len(found.train) + len(found.test) == 12 * 3
    names = [name for part in (found.train, found.test) for name in part.patient_names or ()]
    assert sorted(names) == sorted(f"{'ab'[number % 2]}/{number:02}.nii.gz" for number in range(12))
    for part in (found.train, found.test):
        assert part.patients is not None
        for code, name in enumerate(part.patient_names or ()):
            number = int(Path(name).name[:2])
            own = part.patients == code
            assert int(own.sum()) == 2 + number % 3
            assert part.labels[own].unique().tolist() == [number % 2]


def test_a_manifest_joins_the_files_of_a_patient(tmp_path: Path) -> None:
    fill(tmp_path)
    files = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.gz"))
    lines = [f"{file},{int(Path(file).name[:2]) // 4}" for file in files]
    (tmp_path / "p.csv").write_text("\n".join(["file,patient", *lines]))
    found = read(folder(tmp_path, patients=tmp_path / "p.csv", slices={"axis": 2, "last": 1}))
    sizes = [part.patients.bincount().tolist() for part in (found.train, found.test) if part.patients is not None]
    assert sorted(sizes[0] + sizes[1]) == [8, 8, 8]


def test_slices_have_the_size_and_form_of_the_study(tmp_path: Path) -> None:
    fill(tmp_path)
    with pytest.raises(DataError, match=r"^image 1 of class 'a', .*: is 2 x 9 pixels, not square; set data\.fit to"):
        read(folder(tmp_path, slices={"axis": "coronal"}))
    found = read(folder(tmp_path, slices={"axis": "coronal"}, fit="pad", image_size=16))
    assert found.train.stored[PIXELS].shape[1:] == (1, 16, 16)
    assert len(found.train) + len(found.test) == 12 * 9
