"""A manifest is read whole or refused, and a patient's name is in no refusal."""

import csv
import os
from pathlib import Path, PurePosixPath

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from silogan.client.data.patients import read_manifest, simulated_patients
from silogan.common.errors import DataError

PATIENT = "DOE_JANE_1961"
NAMES = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), min_size=1).filter(
    lambda name: name.strip() == name and name.strip("./") != ""
)


def manifest(folder: Path, content: str | bytes) -> Path:
    path = folder / "patients.csv"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def refusal(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        read_manifest(path)
    text = str(caught.value)
    assert PATIENT not in text
    assert "\n" not in text
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    return text


@given(rows=st.dictionaries(NAMES.map(PurePosixPath), NAMES), patient_first=st.booleans())
def test_every_file_gets_its_patient_whatever_the_names(
    tmp_path_factory: pytest.TempPathFactory, rows: dict[PurePosixPath, str], patient_first: bool
) -> None:
    path = tmp_path_factory.getbasetemp() / "patients.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerows([("patient", "age", "file")] if patient_first else [("file", "age", "patient")])
        for name, patient in rows.items():
            writer.writerow((patient, 61, name) if patient_first else (name, 61, patient))
    found = read_manifest(path)
    assert {name: row.patient for name, row in found.items()} == rows
    assert [row.line for row in found.values()] == list(range(2, len(rows) + 2))


def test_blanks_a_byte_order_mark_empty_lines_and_dots_do_not_count(tmp_path: Path) -> None:
    found = read_manifest(manifest(tmp_path, "\ufeff file , patient\r\n\r\n ./a//1.png , P1 \r\na/2.png,P1\r\n"))
    assert {str(name): row.patient for name, row in found.items()} == {"a/1.png": "P1", "a/2.png": "P1"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "needs exactly one column 'file' and one column 'patient'"),
        ("file,person\na,b\n", "needs exactly one column 'file' and one column 'patient'"),
        ("file;patient\na;b\n", "needs exactly one column 'file' and one column 'patient'"),
        ("file,patient,patient\na,b,c\n", "needs exactly one column 'file' and one column 'patient'"),
        (f"file,patient\n{PATIENT}.png,\n", "line 2 of manifest 'patients.csv': has no patient"),
        (f"file,patient\n{PATIENT}.png,  \n", "line 2 of manifest 'patients.csv': has no patient"),
        (f"file,patient\n,{PATIENT}\n", "line 2 of manifest 'patients.csv': has no file"),
        (f"file,patient\na.png,1\n{PATIENT}.png\n", "line 3 of manifest 'patients.csv': has more or fewer values"),
        (f"file,patient\na,{PATIENT}.png,1\n", "line 2 of manifest 'patients.csv': has more or fewer values"),
        (f"file,patient\n{PATIENT},1\n./{PATIENT},1\n", "line 3 of manifest 'patients.csv': repeats a file"),
        (f"file,patient\n{PATIENT},1\n{PATIENT},2\n", "line 3 of manifest 'patients.csv': repeats a file"),
        (f'file,patient\n"{PATIENT},1\n', "is not CSV in UTF-8"),
        (f'file,patient\n"{PATIENT}"x,1\n', "is not CSV in UTF-8"),
        (f"file,patient\n{PATIENT},{'x' * 200_000}\n", "is not CSV in UTF-8"),
        (f"file,patient\n{PATIENT},\xe9\n".encode("latin-1"), "is not CSV in UTF-8"),
        (b"\x89PNG\r\n\x1a\n\xff\xfe", "is not CSV in UTF-8"),
    ],
)
def test_a_manifest_that_is_not_whole_is_refused(tmp_path: Path, content: str | bytes, message: str) -> None:
    assert message in refusal(manifest(tmp_path, content))


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path / "none.csv") == "manifest 'none.csv': is not a file; correct data.patients"
    assert "is not a file" in refusal(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    assert "is not a file" in refusal(tmp_path / "pipe")


@given(st.lists(st.integers(0, 4)), st.integers(1, 6))
def test_simulated_patients_are_runs_of_one_class(labels: list[int], size: int) -> None:
    codes = simulated_patients(torch.tensor(labels, dtype=torch.int64), size)
    assert codes.dtype == torch.int64
    expected = 0
    for label in sorted(set(labels)):
        own = [code for code, other in zip(codes.tolist(), labels, strict=True) if other == label]
        patients = -(-len(own) // size)
        assert own == [expected + place // size for place in range(len(own))]
        expected += patients
