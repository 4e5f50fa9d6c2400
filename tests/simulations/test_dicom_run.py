"""A folder of DICOM files becomes a scenario, a run with patients, and an audit, by the real command line."""

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from sklearn.datasets import load_digits

from silogan.simulations.fuzz.medical import write_dicom
from tests.test_command_line import assert_refused, silogan

PATIENT = "MRN-1961"
IMAGES, EACH = 72, 3


@pytest.fixture(scope="module", name="folder")
def _folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Digits 0 and 1 as 12-bit images of 8 rows and 6 columns, with the units of a CT: three of each patient."""
    folder = tmp_path_factory.mktemp("dicom")
    digits = load_digits(n_class=2)
    for number in range(IMAGES):
        parent = folder / "scans" / ("zero", "one")[digits.target[number]]
        parent.mkdir(parents=True, exist_ok=True)
        stored = (digits.images[number][:, 1:7] * 100).astype(np.uint16)
        scale = {"RescaleSlope": "1", "RescaleIntercept": "-1024", "BitsStored": 12, "HighBit": 11}
        write_dicom(parent / f"{number:03}.dcm", stored, f"{PATIENT}-{number // EACH}", **scale)
    return folder


@pytest.fixture(autouse=True)
def here(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)


def test_from_files_to_an_audit(folder: Path) -> None:
    assert_refused(silogan("init", "scans", "--yes"), 2, "--window: is missing; give it")
    answers = ("--window=-224,1600", "--image-size=8", "--sites=2", "--delta=0.001", "--epsilon=50")
    begun = silogan("init", "scans", "--yes", *answers)
    assert begun.code == 0, begun.err
    data = yaml.safe_load((folder / "scans.yaml").read_text())["data"]
    assert data == {
        "source": "folder",
        "root": str(folder / "scans"),
        "patients": "dicom",
        "channels": 1,
        "classes": ["one", "zero"],
        "image_size": 8,
        "fit": "pad",
        "window": {"centre": -224.0, "width": 1600.0},
    }
    ran = silogan("simulate", "scans.yaml", "--out", "run", "--set", "evaluation.enabled=false")
    assert ran.code == 0, ran.err
    assert json.loads((folder / "run/report.json").read_text())["unit"] == "patient"
    assert silogan("audit", "run").code == 0
    files = [path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.suffix != ".dcm"]
    assert not any(PATIENT in said for said in (begun.out, begun.err, ran.out, ran.err))
    assert not any(PATIENT.encode() in content for content in files), "an ID never leaves its file"


def test_a_spoilt_file_is_named_by_its_place(folder: Path) -> None:
    path = folder / "scans/one/001.dcm"
    content = path.read_bytes()
    path.write_bytes(content[:-10])
    data = {"source": "folder", "root": "scans", "classes": ["one", "zero"], "patients": "dicom", "fit": "crop"}
    data["window"] = {"centre": 0, "width": 2000}
    study = {"name": "x", "data": data, "model": {"family": "gaussians"}, "training": {"rounds": 0}}
    (folder / "x.yaml").write_text(yaml.safe_dump(study))
    said = silogan("simulate", "x.yaml", "--out", "other")
    path.write_bytes(content)
    assert_refused(said, 4, "image 1 of class 'one', in name order: is truncated, or has more pixels than it says")
