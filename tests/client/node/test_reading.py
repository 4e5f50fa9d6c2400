"""A hospital's own data is one hospital's, whatever files it is in."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from silogan.client.ledger.keys import SiteKey
from silogan.client.ledger.policy import template
from silogan.client.node.node import Node
from silogan.client.node.reading import check_complete, check_present, read_registered
from silogan.common.config.scenario import parse_data
from silogan.common.errors import Code, ConfigError, DataError, UsageError
from silogan.common.modality.image_options import Digits, Folder, Slices, Window
from silogan.common.modality.masked_options import CLASSES as PHANTOMS
from silogan.common.modality.table_options import BreastCancer, Table
from silogan.simulations.fuzz.medical import write_dicom, write_nifti
from tests.joint import CLASSES, write_records
from tests.masked import save, write_pairs

DESCRIPTION = "patient: id\ncolumns:\n  age: {type: integer, min: 0, max: 120}\n"


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node.create(tmp_path / "node", template(epsilon=8.0, delta=1e-4, unit="patient"))


def exported(folder: Path, year: str, count: int) -> None:
    """Patient n at the age of n, once a year."""
    (folder / "visits").mkdir(exist_ok=True)
    rows = (f"p{number},{number}" for number in range(count))
    (folder / "visits" / f"{year}.csv").write_text("\n".join(["id,age", *rows]), encoding="utf-8")


def test_a_patient_in_several_files_is_one(node: Node, tmp_path: Path) -> None:
    (tmp_path / "columns.yaml").write_text(DESCRIPTION, encoding="utf-8")
    for year in ("2023", "2024"):
        exported(tmp_path, year, 60)
    data = Table(root=tmp_path / "visits", columns=tmp_path / "columns.yaml")
    registration, _ = node.add_cohort(name="visits", site="bergen", data=data, declared_size=60)
    key: SiteKey = node.key
    records = read_registered(registration, key)
    assert records.sites is None
    assert records.patients is not None
    assert set(records.patients.bincount().tolist()) == {2}
    exported(tmp_path, "2025", 60)  # who was registered may come again
    check_complete(registration, key)
    again = read_registered(registration, key).patients
    assert again is not None
    assert set(again.bincount().tolist()) == {3}
    exported(tmp_path, "2025", 90)
    assert len(read_registered(registration, key)) == len(again), "who was not registered is left out"


def test_simulated_visits_are_not_for_hospitals(node: Node) -> None:
    with pytest.raises(ConfigError, match=r"^data\.rows_per_patient: is 5, but simulated patients are for simulations"):
        node.add_cohort(name="rows", site="bergen", data=BreastCancer(rows_per_patient=5), declared_size=90)


def test_rows_of_images_are_looked_for_before_a_charge(tmp_path: Path) -> None:
    node = Node.create(tmp_path / "node", template(epsilon=8.0, delta=1e-4, unit="record"))
    files = write_records(tmp_path, 40)
    data = parse_data({"source": "images-with-rows", "classes": list(CLASSES), **files})
    registration, _ = node.add_cohort(name="scans", site="bergen", data=data, declared_size=30)
    check_present(registration)
    columns, rows = Path(files["columns"]), Path(files["rows"])
    said = columns.read_text(encoding="utf-8")
    columns.write_text(said.replace("dose", "other"), encoding="utf-8")
    with pytest.raises(
        DataError, match=r"^cohort 'scans': has records of another shape than registered \(column 'dose', col"
    ):
        check_present(registration)
    columns.write_text(said, encoding="utf-8")
    rows.unlink()
    with pytest.raises(DataError, match=r"^data\.rows: is not a file; correct its path$"):
        check_present(registration)


def test_images_move_with_their_rows_and_description(tmp_path: Path) -> None:
    node = Node.create(tmp_path / "node", template(epsilon=8.0, delta=1e-4, unit="record"))
    files = write_records(tmp_path, 40)
    data = parse_data({"source": "images-with-rows", "classes": list(CLASSES), **files})
    before, _ = node.add_cohort(name="scans", site="bergen", data=data, declared_size=30)
    places = {key: Path(path).rename(tmp_path / f"moved-{Path(path).name}") for key, path in files.items()}
    with pytest.raises(DataError, match=r"^data\.rows: is not a file; correct its path$"):
        node.relocate(before, root=places["root"], columns=places["columns"])
    other = tmp_path / "other.csv"
    other.write_text(places["rows"].read_text(encoding="utf-8").replace(",left", ",right"), encoding="utf-8")
    with pytest.raises(DataError, match="is not the data that was registered"):
        node.relocate(before, **{**places, "rows": other})
    moved = node.relocate(before, **places)
    assert moved == replace(before, data=before.data.model_copy(update=places))
    check_complete(node.register.get("scans"), node.key)
    digits, _ = node.add_cohort(name="digits", site="bergen", data=Digits(), declared_size=1000)
    with pytest.raises(UsageError, match=r"^data\.rows: is not an option of source 'digits'; leave it out$"):
        node.relocate(digits, root=tmp_path, rows=other)


# --- medical files ---------------------------------------------------------------------------------------------------

WINDOW = Window(centre=128, width=256)


def scanned(root: Path, patients: range) -> Folder:
    """Two DICOM files of each patient."""
    (root / "a").mkdir(parents=True, exist_ok=True)
    for patient in patients:
        for number in range(2):
            values = np.random.default_rng([patient, number]).integers(0, 256, (8, 8), dtype=np.uint16)
            write_dicom(root / "a" / f"{patient}-{number}.dcm", values, f"MRN-{patient}")
    return Folder(root=root, classes=("a",), window=WINDOW, patients="dicom", test_fraction=0)


def test_patients_of_dicom_files_are_those_who_were_registered(
    node: Node, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data = scanned(tmp_path / "scans", range(6))
    registration, _ = node.add_cohort(name="scans", site="bergen", data=data, declared_size=6)
    assert node.register.get("scans").data == data
    check_complete(registration, node.key)
    for path in list((tmp_path / "scans/a").iterdir()):
        path.rename(path.with_name(f"again-{path.name}"))
    scanned(tmp_path / "scans", range(4, 9))  # two who come again, and three others
    records = read_registered(registration, node.key)
    assert records.patients is not None
    assert sorted(records.patients.bincount().tolist()) == [0, 0, 0, 2, 2, 2, 2, 4, 4]
    with pytest.raises(DataError, match="holds records that were not registered"):
        check_complete(registration, node.key)
    assert "MRN" not in caplog.text
    (tmp_path / "scans/a/again-0-0.dcm").write_bytes(b"MRN-0")
    with pytest.raises(DataError, match=r"^image 11 of class 'a', in name order: is corrupt") as refused:
        read_registered(registration, node.key)
    assert refused.value.code is Code.UNAVAILABLE
    check_present(registration)  # before a charge, no file is looked into


def test_a_volume_is_known_again_where_its_folder_has_moved(node: Node, tmp_path: Path) -> None:
    (tmp_path / "scans/a").mkdir(parents=True)
    for number in range(6):
        values = np.random.default_rng(number).integers(0, 256, (8, 8, 3), dtype=np.int16)
        write_nifti(tmp_path / f"scans/a/{number}.nii.gz", values)
    data = Folder(root=tmp_path / "scans", classes=("a",), window=WINDOW, slices=Slices(axis=2), test_fraction=0)
    registration, _ = node.add_cohort(name="scans", site="bergen", data=data, declared_size=6)
    (tmp_path / "scans").rename(tmp_path / "moved")
    moved = node.relocate(registration, root=tmp_path / "moved")
    records = read_registered(moved, node.key)
    assert records.patients is not None
    assert set(records.patients.bincount().tolist()) == {3}


def test_images_move_with_their_masks(tmp_path: Path) -> None:
    node = Node.create(tmp_path / "node", template(epsilon=8.0, delta=1e-4, unit="record"))
    files = write_pairs(tmp_path, 40)
    data = parse_data({"source": "images-with-masks", "classes": list(PHANTOMS), **files})
    before, _ = node.add_cohort(name="scans", site="bergen", data=data, declared_size=30)
    check_present(before)
    places = {key: Path(path).rename(tmp_path / f"moved-{key}") for key, path in files.items()}
    with pytest.raises(DataError, match=r"^data\.masks '.*masks': is not there; put the data back, or move"):
        node.relocate(before, root=places["root"])
    save(tmp_path / "other" / "nodule" / "P0000.png", np.zeros((16, 16), np.uint8))
    with pytest.raises(DataError, match=r"has no mask"):
        node.relocate(before, root=places["root"], masks=tmp_path / "other")
    moved = node.relocate(before, **places)
    assert moved == replace(before, data=before.data.model_copy(update=places))
    check_complete(node.register.get("scans"), node.key)
