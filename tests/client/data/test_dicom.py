"""DICOM through a public window: pydicom's own files, and made ones."""

import re
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from pydicom import dcmread
from pydicom.data import get_testdata_file

from silogan.client.data import dicom, read
from silogan.client.data.fingerprints import fingerprints
from silogan.client.data.image_formats import FORMATS
from silogan.common.errors import DataError, UsageError
from silogan.common.modality.image import PIXELS
from silogan.common.modality.image_files import WindowNeeded
from silogan.common.modality.image_options import Folder, Window
from silogan.simulations.fuzz.medical import write_dicom

pytestmark = pytest.mark.filterwarnings("ignore")  # pydicom's, of its own files; test_nothing_is_warned_of is stricter

SHIPPED = (
    *("CT_small", "MR_small", "MR_small_RLE", "MR_small_bigendian", "MR_small_expb", "MR_small_implicit"),
    *("MR_small_jp2klossless", "693_J2KI", "J2K_pixelrep_mismatch", "JPEG2000"),
)
REFUSED = {
    "MR_small_padded": "is truncated, or has more pixels than it says",
    "MR_truncated": "is truncated, or has more pixels than it says",
    "MR_small_jpeg_ls_lossless": r"not decoded here \(JPEG-LS Lossless Image Compression\); export it as Explicit VR",
    "JPGExtended": r"not decoded here \(JPEG Extended \(Process 2 and 4\)\)",
    "image_dfl": r"not decoded here \(Deflated Explicit VR Little Endian\)",
    "SC_rgb_rle": "is not grey",
    "examples_palette": "is not grey",
    "examples_overlay": "has an overlay",
    "rtdose": "has several frames",
    "rtdose_1frame": "has pixels that are not integers of up to 16 bits",
    "liver_1frame": "is an enhanced image",
    "rtplan": "has no pixels, or is a directory",
    "test-SR": "has no pixels, or is a directory",
    "no_meta": "is corrupt or not what its suffix says",
    "meta_missing_tsyntax": "is corrupt or not what its suffix says",
}
STORED = np.arange(64, dtype=np.uint16).reshape(8, 8)


def shipped(name: str) -> Path:
    path = get_testdata_file(f"{name}.dcm", download=False)
    assert isinstance(path, str)
    return Path(path)


def decoded(path: Path, centre: float = 0, width: float = 4000) -> torch.Tensor:
    return dicom.decode(path, "image 1", Folder(window=Window(centre=centre, width=width)))


def made(folder: Path, stored: np.ndarray[Any, Any] = STORED, **attributes: Any) -> Path:
    write_dicom(folder / "0.dcm", stored, "P1", **attributes)
    return folder / "0.dcm"


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_files_are_what_pydicom_reads(name: str) -> None:
    path = shipped(name)
    dataset = dcmread(path)
    slope, intercept = float(dataset.get("RescaleSlope", 1)), float(dataset.get("RescaleIntercept", 0))
    values = dataset.pixel_array.astype(np.float64) * slope + intercept
    expected = np.round(np.clip((values - 100) / 900 * 255 + 127.5, 0, 255))
    assert np.array_equal(decoded(path, 100, 900)[0, 0].numpy(), expected)
    assert dicom.patient_of(path, "image 1") == dataset.PatientID


@pytest.mark.parametrize("name", REFUSED)
def test_shipped_files_of_other_kinds_are_refused(name: str) -> None:
    with pytest.raises(DataError, match=f"^image 1: .*{REFUSED[name]}"):
        decoded(shipped(name))


@pytest.mark.parametrize("kind", [np.uint8, np.int8, np.uint16, np.int16])
def test_every_integer_of_8_or_16_bits_is_read(tmp_path: Path, kind: type) -> None:
    stored = np.array([[np.iinfo(kind).min, -1, 0, 1, 100, np.iinfo(kind).max]]).clip(np.iinfo(kind).min)
    found = decoded(made(tmp_path, stored.astype(kind)), 64, 128)
    expected = np.round(np.clip((stored - 64) / 128 * 255 + 127.5, 0, 255))
    assert np.array_equal(found[0, 0].numpy(), expected)


def test_white_at_zero_is_inverted(tmp_path: Path) -> None:
    black = decoded(made(tmp_path), 32, 64)
    white = decoded(made(tmp_path, PhotometricInterpretation="MONOCHROME1"), 32, 64)
    assert torch.equal(white, 255 - black)
    assert len(black.unique()) > 32


def test_slope_and_intercept_give_the_units_of_the_window(tmp_path: Path) -> None:
    plain = decoded(made(tmp_path), 32, 64)
    scaled = decoded(made(tmp_path, RescaleSlope="2", RescaleIntercept="-1024"), 2 * 32 - 1024, 128)
    assert torch.equal(scaled, plain)


def test_a_file_decides_nothing_of_its_own_window(tmp_path: Path) -> None:
    """Nor do its private elements, its texts or its smallest and largest values."""
    plain = decoded(made(tmp_path), 32, 64)
    told = {"WindowCenter": "5", "WindowWidth": "1", "VOILUTFunction": "SIGMOID", "PatientName": "Doe^Jane"}
    told |= {"SmallestImagePixelValue": 60, "LargestImagePixelValue": 63, "ImageComments": "centre 5"}
    assert torch.equal(decoded(made(tmp_path, **told), 32, 64), plain)


def test_bits_beyond_those_stored_are_no_values(tmp_path: Path) -> None:
    """Old files keep an overlay there."""
    stored = STORED | 0x8000
    found = decoded(made(tmp_path, stored, BitsStored=12, HighBit=11), 32, 64)
    assert torch.equal(found, decoded(made(tmp_path), 32, 64))


def test_without_a_window_a_file_is_refused() -> None:
    with pytest.raises(WindowNeeded, match=r"^image 1: has values that need a public window"):
        dicom.decode(shipped("CT_small"), "image 1", Folder())


def test_without_pydicom_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pydicom", None)
    with pytest.raises(UsageError, match=r"\.dcm files: need pydicom.*pip install 'silogan\[dicom\]'"):
        decoded(shipped("CT_small"))


# --- folders ---------------------------------------------------------------------------------------------------------


def fill(root: Path, patients: int = 10, each: int = 3) -> None:
    """So many patients with so many images in two classes; the Patient ID has blanks around it, as DICOM allows."""
    rng = np.random.default_rng(0)
    for patient in range(patients):
        for number in range(each):
            folder = root / "ab"[patient % 2]
            folder.mkdir(parents=True, exist_ok=True)
            path = folder / f"{patient:02}-{number}.dcm"
            name = f" MRN-{patient} " if number else f"MRN-{patient}"
            write_dicom(path, rng.integers(0, 4096, (12, 12), dtype=np.uint16), name)


def folder(root: Path, **keys: Any) -> Folder:
    window = {"centre": 2048, "width": 4096}
    given = {"root": root, "classes": ("a", "b"), "window": window, "patients": "dicom", "test_fraction": 0.4}
    return Folder.model_validate(given | keys)


def test_the_patient_id_is_whose_an_image_is(tmp_path: Path) -> None:
    fill(tmp_path)
    found = read(folder(tmp_path))
    assert found.schema.shape == (1, 12, 12)
    names: list[str] = []
    for part in (found.train, found.test):
        assert part.patients is not None
        assert part.patient_names is not None
        assert set(part.patients.bincount().tolist()) == {3}
        names += part.patient_names
    assert sorted(names) == sorted(f"MRN-{number}" for number in range(10))  # and none is in both


def test_hospitals_number_their_patients_on_their_own(tmp_path: Path) -> None:
    for site in ("north", "south"):
        fill(tmp_path / site)
    found = read(folder(tmp_path))
    assert found.train.patients is not None
    assert set(found.train.patients.bincount().tolist()) == {3}
    alone = found.train.of_one_hospital()  # where both folders are of one hospital, an ID is one patient
    assert alone.patients is not None
    assert set(alone.patients.bincount().tolist()) == {6}


def test_a_manifest_may_name_patients_in_place_of_the_files(tmp_path: Path) -> None:
    fill(tmp_path, patients=4, each=2)
    files = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.dcm"))
    (tmp_path / "p.csv").write_text("\n".join(["file,patient", *(f"{file},one" for file in files)]))
    found = read(folder(tmp_path, patients=tmp_path / "p.csv"), may_be_empty=True)
    assert {name for part in (found.train, found.test) for name in part.patient_names or ()} == {"one"}


def test_a_patient_is_known_again_under_another_name_of_the_file(tmp_path: Path) -> None:
    fill(tmp_path / "x", patients=2)
    fill(tmp_path / "y", patients=3)
    for path in list((tmp_path / "y").rglob("*.dcm")):
        path.rename(path.with_name(f"copy-of-{path.name}"))
    first, second = (
        set(fingerprints(read(folder(tmp_path / name, test_fraction=0), may_be_empty=True).train, "patient", bytes))
        for name in "xy"
    )
    assert len(first) == 2 + 6
    assert first < second


@pytest.mark.parametrize("name", [None, "", "   ", "A\\B", "A\tB"])
def test_a_missing_id_is_refused(tmp_path: Path, name: str | None) -> None:
    fill(tmp_path, patients=2)
    write_dicom(tmp_path / "a/00-0.dcm", STORED, name)
    with pytest.raises(DataError, match=r"^image 1 of class 'a', .*: has no Patient ID \(0010,0020\), several"):
        read(folder(tmp_path))


def test_only_dicom_files_have_a_patient_id(tmp_path: Path) -> None:
    fill(tmp_path, patients=2)
    (tmp_path / "a/z.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"^image 4 of class 'a', in name order: is not a \.dcm file"):
        read(folder(tmp_path))


def test_nothing_is_warned_of_or_logged(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """What pydicom warns of are the values of a file."""
    fill(tmp_path, patients=4)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of writing what is too long
        for number in range(4):
            write_dicom(tmp_path / f"a/0{number}-0.dcm", STORED, f"Doe{number}" * 50)
    capfd.readouterr()
    warnings.simplefilter("default")
    read(folder(tmp_path, image_size=8))
    assert not caplog.records
    assert capfd.readouterr() == ("", "")


def test_what_a_file_says_changes_no_other_image(tmp_path: Path) -> None:
    fill(tmp_path, patients=4)
    before = read(folder(tmp_path, test_fraction=0), may_be_empty=True).train.stored[PIXELS]
    scale = {"RescaleSlope": "-1e9", "RescaleIntercept": "1e9", "PhotometricInterpretation": "MONOCHROME1"}
    write_dicom(tmp_path / "a/00-0.dcm", np.full((12, 12), 65535, np.uint16), "MRN-0", WindowWidth="1", **scale)
    after = read(folder(tmp_path, test_fraction=0), may_be_empty=True).train.stored[PIXELS]
    assert torch.equal(after[1:], before[1:])
    assert not torch.equal(after[0], before[0])


def test_the_guide_shows_options_that_are_read_and_names_every_suffix() -> None:
    guide = (Path(__file__).parents[3] / "docs/medical-files.md").read_text(encoding="utf-8")
    shown = [yaml.safe_load(block) for block in re.findall(r"^```yaml\n(.*?)^```$", guide, re.MULTILINE | re.DOTALL)]
    assert len([Folder.model_validate(keys) for keys in shown]) == 2
    for window in re.findall(r"`(\{centre.*?\})`", guide):
        Window.model_validate(yaml.safe_load(window))
    assert {suffix for suffix in FORMATS if f"`{suffix}`" in guide} == set(FORMATS)


def test_images_are_the_same_each_time(tmp_path: Path) -> None:
    fill(tmp_path)
    one, two = (read(folder(tmp_path, image_size=8)).train.stored[PIXELS] for _ in range(2))
    assert torch.equal(one, two)
    assert one.shape[1:] == (1, 8, 8)
