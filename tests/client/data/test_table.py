import csv
import math
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st

from silogan.client.data import Records, read, table
from silogan.client.data.fingerprints import fingerprints, known
from silogan.common import csv_file
from silogan.common.errors import ConfigError, DataError
from silogan.common.modality.table import Number
from silogan.common.modality.table_file import read_description
from silogan.common.modality.table_options import Table

SECRET = "31415926"  # noqa: S105  (stands where a value of a patient may not be told)

DESCRIPTION: dict[str, Any] = {
    "label": {"column": "num", "classes": {"healthy": [0], "diseased": [1, 2]}},
    "missing": ["?", -9],
    "columns": {
        "age": {"type": "integer", "min": 0, "max": 120},
        "sex": {"type": "binary", "values": {"female": 0, "male": 1}},
        "bmi": {"type": "numeric", "min": 10, "max": 60, "optional": True, "missing": 0, "outside": "clamp"},
        "seen": {"type": "date", "min": "1990-01-01", "max": "2026-12-31", "optional": True},
    },
}
HEADER = "age,sex,bmi,seen,num"
ROW = "50,0,20.5,2020-03-09,0"


class Ward:
    """A folder of CSV files and their description."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.root = folder, folder / "data"
        self.root.mkdir()
        self.describe()

    def describe(self, **keys: Any) -> None:
        (self.folder / "columns.yaml").write_text(
            yaml.safe_dump({**DESCRIPTION, **keys}, sort_keys=False), encoding="utf-8"
        )

    def write(self, site: str, text: str | bytes) -> Path:
        path = self.root / f"{site}.csv"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    def rows(self, site: str, *rows: str, header: str = HEADER) -> Path:
        return self.write(site, "\n".join([header, *rows]) + "\n")

    def many(self, site: str, count: int = 40, seed: int = 0) -> Path:
        rng = random.Random(seed)  # noqa: S311
        rows = (
            f"{rng.randrange(100)},{rng.randrange(2)},{rng.uniform(15, 40):.3f},,{rng.randrange(3)}"
            for _ in range(count)
        )
        return self.rows(site, *rows)

    def options(self, **keys: Any) -> Table:
        return Table.model_validate({"root": self.root, "columns": self.folder / "columns.yaml", **keys})

    def read(self, **keys: Any) -> Records:
        """All rows, those held out first."""
        found = read(self.options(**keys), may_be_empty=True)
        return joined(found.test, found.train)

    def refusal(self, **keys: Any) -> str:
        """The one-line refusal; nothing of a row may be in it."""
        with pytest.raises(DataError) as caught:
            self.read(**keys)
        text = str(caught.value)
        assert SECRET not in text
        assert str(self.folder) not in text
        assert "\n" not in text
        assert not any(
            one.isdigit() for one in text.replace("2026-03-09", "").replace("RFC 4180", "").replace("UTF-8", "")
        )
        return text


def joined(one: Records, other: Records) -> Records:
    import torch  # noqa: PLC0415

    stored = {name: torch.cat([one.stored[name], other.stored[name]]) for name in one.stored}
    return Records(stored, torch.cat([one.labels, other.labels]))


@pytest.fixture
def ward(tmp_path: Path) -> Ward:
    return Ward(tmp_path)


def as_rows(records: Records) -> list[tuple[float | None, ...]]:
    columns = [[None if math.isnan(value) else value for value in part.tolist()] for part in records.stored.values()]
    return sorted(zip(*columns, records.labels.tolist(), strict=True), key=str)


# --- what is read ----------------------------------------------------------------------------------------------------


def test_values_are_read_as_the_description_says(ward: Ward) -> None:
    ward.rows(
        "bergen", "50,0,20.5,2020-03-09,0", "51.0,male,0.0,,2.0", " 52 , 1.0 ,99,?,diseased", "-0,female,-9.00,,0"
    )
    assert as_rows(ward.read()) == sorted(
        [
            (50.0, 0.0, 20.5, 18330.0, 0),
            (51.0, 1.0, None, None, 1),
            (52.0, 1.0, 60.0, None, 1),
            (0.0, 0.0, None, None, 0),
        ],
        key=str,
    )


@pytest.mark.parametrize(
    "change",
    [
        lambda text: b"\xef\xbb\xbf" + text.encode(),
        lambda text: text.replace("\n", "\r\n").encode(),
        lambda text: text.replace("\n", "\n\n").encode(),
        lambda text: text.rstrip("\n").encode(),
        lambda text: text.replace("age", '" age "').replace("50", '"50"').encode(),
        lambda text: "\n".join(f'"Müller, {SECRET}",{line}' for line in text.splitlines()).encode(),
        lambda text: "\n".join(",".join(reversed(line.split(","))) for line in text.splitlines()).encode(),
    ],
    ids=["mark", "crlf", "blank lines", "no last newline", "quotes", "undeclared column", "other order"],
)
def test_any_form_of_csv_gives_the_same(ward: Ward, change: Callable[[str], bytes]) -> None:
    text = f"{HEADER}\n50,0,20.5,2020-03-09,0\n51,1,,,2\n"
    ward.write("bergen", change(text))
    assert as_rows(ward.read()) == [(50.0, 0.0, 20.5, 18330.0, 0), (51.0, 1.0, None, None, 1)]


def test_a_quoted_value_may_hold_commas_quotes_and_newlines(ward: Ward) -> None:
    ward.describe(columns={"x": {"type": "categorical", "values": {"a": 'one, "two"\nthree'}}})
    ward.write("bergen", 'x,num\n"one, ""two""\nthree",0\n')
    with pytest.raises(ConfigError, match=r"cannot be printed"):
        ward.read()
    ward.describe(columns={"x": {"type": "categorical", "values": {"a": 'one, "two"'}}})
    ward.write("bergen", 'x,num\n"one, ""two""",0\n')
    assert as_rows(ward.read()) == [(0.0, 0)]


def test_only_declared_columns_are_read(ward: Ward) -> None:
    ward.rows("bergen", f"{ROW},{SECRET},", header=f"{HEADER},name,age ")
    assert "column 'age' of site 'bergen': is there twice" in ward.refusal()
    ward.rows("bergen", f"{ROW},{SECRET},x", header=f"{HEADER},name,name")
    found = ward.read()
    assert set(found.stored) == {"age", "sex", "bmi", "seen"}


def test_without_a_label_all_rows_are_of_one_class(ward: Ward) -> None:
    ward.describe(label=None)
    ward.rows("bergen", "50,0,20.5,", header="age,sex,bmi,seen")
    assert ward.read().labels.tolist() == [0]


def test_one_column_is_a_table(ward: Ward) -> None:
    ward.describe(label=None, columns={"age": {"type": "integer", "min": 0, "max": 120}})
    ward.rows("bergen", "50", "", "51", header="age")
    assert as_rows(ward.read()) == [(50.0, 0), (51.0, 0)]


def test_blocks_make_no_difference(ward: Ward, monkeypatch: pytest.MonkeyPatch) -> None:
    ward.many("bergen")
    whole = as_rows(ward.read())
    monkeypatch.setattr(csv_file, "_BLOCK", 7)
    assert as_rows(ward.read()) == whole


# --- sites, patients and splits ------------------------------------------------------------------------------------


def test_each_file_of_a_folder_is_a_site(ward: Ward) -> None:
    ward.many("oslo", 30)
    ward.many("bergen", 20, seed=1)
    ward.rows("trondheim")
    (ward.root / "README.txt").write_text("x")
    (ward.root / ".hidden.csv").write_text("x")
    found = read(ward.options())
    assert found.site_names == ("bergen", "oslo", "trondheim")
    assert found.train.sites is not None
    assert found.test.sites is not None
    assert (found.train.sites.bincount(minlength=3) + found.test.sites.bincount(minlength=3)).tolist() == [20, 30, 0]


def test_a_column_may_name_the_sites_of_one_file(ward: Ward) -> None:
    ward.describe(site="hospital")
    rows = [f"{age},0,20,,{age % 2},{'oslo' if age % 3 else ' bergen '}" for age in range(60)]
    path = ward.rows("all", *rows, header=f"{HEADER},hospital")
    found = read(ward.options(root=path))
    assert found.site_names == ("bergen", "oslo")
    assert found.train.sites is not None
    names = [found.site_names[code] for code in found.train.sites.tolist()]
    assert names == ["oslo" if age % 3 else "bergen" for age in found.train.stored["age"].int().tolist()]
    with pytest.raises(
        ConfigError, match=r"^data.columns: names a column of sites, 'hospital', but data.root is a folder"
    ):
        read(ward.options())


def test_one_file_without_such_a_column_has_no_sites(ward: Ward) -> None:
    path = ward.many("bergen")
    for root in (path, ward.root):
        found = read(ward.options(root=root))
        assert (found.site_names, found.train.sites) == (None, None)


def test_the_split_follows_the_fraction_and_equal_rows_stay_together(ward: Ward) -> None:
    ward.many("bergen", 400)
    assert 70 < len(read(ward.options(test_fraction=0.25)).test) < 130
    ward.rows("bergen", *([ROW] * 20), *(["51,0,,,0"] * 20), *(["52,0,,,0"] * 20), *(["53,0,,,1"] * 20))
    found = read(ward.options(test_fraction=0.5), may_be_empty=True)
    assert len(found.train) % 20 == 0


def test_removing_a_row_moves_no_other_between_the_splits(ward: Ward) -> None:
    path = ward.many("bergen", 50)
    before = read(ward.options())
    _, *lines = path.read_text().splitlines()
    for gone in (0, 17, 49):
        ward.rows("bergen", *(line for place, line in enumerate(lines) if place != gone))
        after = read(ward.options())
        assert len(after.train) + len(after.test) == 49
        assert set(as_rows(after.train)) <= set(as_rows(before.train))
        assert set(as_rows(after.test)) <= set(as_rows(before.test))


def test_the_split_does_not_depend_on_how_values_are_written_or_the_file_is_called(ward: Ward) -> None:
    path = ward.many("bergen", 50)
    before = read(ward.options())
    lines = [
        ",".join(f" {value}.0 " if value.isdigit() else value for value in line.split(","))
        for line in path.read_text().splitlines()
    ]
    path.unlink()
    ward.rows("oslo", *lines[:0:-1])
    after = read(ward.options())
    assert as_rows(after.train) == as_rows(before.train)


PATIENTS = {"patient": "id"}


def with_patients(ward: Ward, site: str, rows: list[tuple[str, int]]) -> None:
    ward.describe(**PATIENTS)
    ward.rows(site, *(f"{age},0,20,,0,{name}" for name, age in rows), header=f"{HEADER},id")


def test_all_rows_of_a_patient_are_on_one_side(ward: Ward) -> None:
    with_patients(ward, "bergen", [(f" p{number % 30} ", number) for number in range(90)])
    found = read(ward.options())
    for part in (found.train, found.test):
        assert part.patients is not None
        assert part.patient_names is not None
        assert set(part.patients.bincount().tolist()) == {3}
        for code, age in zip(part.patients.tolist(), part.stored["age"].int().tolist(), strict=True):
            assert part.patient_names[code] == f"p{age % 30}"


def test_removing_a_patient_moves_no_other_between_the_splits(ward: Ward) -> None:
    rows = [(f"p{number % 30}", number) for number in range(90)]
    with_patients(ward, "bergen", rows)
    before = read(ward.options())
    for gone in ("p0", "p13"):
        with_patients(ward, "bergen", [row for row in rows if row[0] != gone])
        after = read(ward.options())
        assert set(as_rows(after.train)) <= set(as_rows(before.train))
        assert set(as_rows(after.test)) <= set(as_rows(before.test))
        assert len(after.train) + len(after.test) == 87


def test_one_number_at_two_hospitals_is_two_patients(ward: Ward) -> None:
    for site in ("bergen", "oslo"):
        with_patients(ward, site, [(f"{number}", number) for number in range(20)])
    found = read(ward.options())
    for part in (found.train, found.test):
        assert part.patients is not None
        assert set(part.patients.bincount().tolist()) == {1}


def test_a_folder_holds_several_files_of_one_hospital_and_a_patient_may_be_in_each(ward: Ward) -> None:
    ward.describe(**PATIENTS)
    for folder in ("bergen", "oslo"):
        (ward.root / folder).mkdir()
        for year in (2023, 2024):
            rows = (f"{number},0,20,,0,{number}{'.0' if year == 2024 else ''}" for number in range(20))
            ward.rows(f"{folder}/{year}", *rows, header=f"{HEADER},id")
    with_patients(ward, "trondheim", [(str(number), number) for number in range(20)])
    (ward.root / "notes").mkdir()
    (ward.root / "notes" / "read.txt").write_text("x")
    (ward.root / "bergen" / ".old.csv").write_text("x")
    found = read(ward.options())
    assert found.site_names == ("bergen", "oslo", "trondheim")
    for part in (found.train, found.test):
        assert part.patients is not None
        assert part.sites is not None
        assert part.patient_names is not None
        visits = part.patients.bincount()
        for code, site, age in zip(part.patients, part.sites, part.stored["age"].int().tolist(), strict=True):
            assert int(visits[code]) == (1 if int(site) == 2 else 2)
            assert part.patient_names[int(code)] == f"{age}"


def test_wrong_rows_of_one_file_among_several_are_named_by_their_hospital(ward: Ward) -> None:
    ward.describe(**PATIENTS)
    (ward.root / "bergen").mkdir()
    ward.rows("bergen/first", f"{ROW},p", header=f"{HEADER},id")
    ward.rows(f"bergen/{SECRET}", f"{ROW},", header=f"{HEADER},id")
    assert ward.refusal().startswith("column 'id' of site 'bergen': has a missing value")
    ward.rows("bergen", f"{ROW},p", header=f"{HEADER},id")
    assert ward.refusal().startswith("data.root: has two files for one site")


def test_a_hospitals_own_files_are_one_hospital_s_whatever_they_are_called(ward: Ward) -> None:
    for year in ("first", "second"):
        with_patients(ward, year, [(f"p{number}", number) for number in range(20)])
    found = read(ward.options())
    for part in (found.train.of_one_hospital(), found.test.of_one_hospital()):
        assert part.sites is None
        assert part.patients is not None
        assert part.patient_names is not None
        assert set(part.patients.bincount().tolist()) == {2}
        for code, age in zip(part.patients.tolist(), part.stored["age"].int().tolist(), strict=True):
            assert part.patient_names[code] == f"p{age}"


def test_fingerprints_know_patients_and_rows_again(ward: Ward) -> None:
    with_patients(ward, "bergen", [(f"p{number}", number) for number in range(40)])
    before = read(ward.options()).train
    with_patients(ward, "oslo", [])
    (ward.root / "oslo.csv").unlink()
    with_patients(ward, "bergen", [(f"p{number}", number) for number in range(60)])
    after = read(ward.options()).train
    assert len(after) > len(before)
    for unit in ("patient", "record"):
        prints = fingerprints(before, unit, lambda purpose: purpose)
        assert as_rows(known(after, unit, prints, lambda purpose: purpose)) == as_rows(before)


# --- what is refused -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "says"),
    [
        (f"{SECRET},0,20,,0", "column 'age' of site 'oslo': has a value outside of its range"),
        (f"{SECRET}x,0,20,,0", "column 'age' of site 'oslo': has a value that is not a number"),
        ("50.5,0,20,,0", "column 'age' of site 'oslo': has a value that is not a whole number"),
        ("2020-03-09,0,20,,0", "column 'age' of site 'oslo': has a value that is not a number"),
        ("nan,0,20,,0", "column 'age' of site 'oslo': has a value that is not a number"),
        ("1e999,0,20,,0", "column 'age' of site 'oslo': has a value that is not a number"),
        ("1_0,0,20,,0", "column 'age' of site 'oslo': has a value that is not a number"),
        ("٣,0,20,,0", "column 'age' of site 'oslo': has a value that is not a number"),
        (",0,20,,0", "column 'age' of site 'oslo': has a missing value"),
        ("-9.0,0,20,,0", "column 'age' of site 'oslo': has a missing value"),
        (f"50,{SECRET},20,,0", "column 'sex' of site 'oslo': has a value that is not listed"),
        ("50,?,20,,0", "column 'sex' of site 'oslo': has a missing value"),
        ("50,0,inf,,0", "column 'bmi' of site 'oslo': has a value that is not a number"),
        ('50,0,"20,5",,0', "column 'bmi' of site 'oslo': has a value that is not a number"),
        ("50,0,20,31.12.2020,0", "column 'seen' of site 'oslo': has a value that is not a date"),
        ("50,0,20,2020-02-30,0", "column 'seen' of site 'oslo': has a value that is not a date"),
        ("50,0,20,1066-10-14,0", "column 'seen' of site 'oslo': has a value outside of its range"),
        (f"50,0,20,,{SECRET}", "column 'num' of site 'oslo': has a value that is none of the classes"),
        ("50,0,20,,", "column 'num' of site 'oslo': has a row without a label"),
        ("50,0,20,,?", "column 'num' of site 'oslo': has a row without a label"),
        (f"50,0,20,,0,{SECRET}", "site 'oslo': has a row with more or fewer values than the header"),
        ("50,0,20", "site 'oslo': has a row with more or fewer values than the header"),
        (f"50,0,20,\0,0{SECRET}", "site 'oslo': is not text in lines"),
        ('50,0,"20', "site 'oslo': is not CSV as in RFC 4180"),
        (f'50,0,"20"{SECRET},,0', "site 'oslo': is not CSV as in RFC 4180"),
        (f"50,0,20,,{SECRET * 20_000}", "site 'oslo': is not CSV as in RFC 4180"),
        (f"50,0,20,,{SECRET * 200_000}", "site 'oslo': is not text in lines"),
    ],
)  # fmt: skip
def test_wrong_rows_are_named_by_column_and_site_alone(ward: Ward, row: str, says: str) -> None:
    ward.rows("bergen", ROW)
    ward.rows("oslo", ROW, row, ROW)
    assert ward.refusal().startswith(says)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "site 'oslo': has no header"),
        (b"\xef\xbb\xbf", "site 'oslo': has no header"),
        (b"age,sex,bmi,num\n50,0,20,0\n", "column 'seen' of site 'oslo': is missing"),
        (b"age;sex;bmi;seen;num\n50;0;20;;0\n", "site 'oslo': has semicolons or tabs"),
        (b"age,sex,sex,bmi,seen,num\n", "column 'sex' of site 'oslo': is there twice"),
        (f"{HEADER}\n{ROW}".encode("utf-16"), "site 'oslo': is not UTF-8 text"),
        (f"{HEADER}\n50,0,Müller,,0".encode("latin-1"), "site 'oslo': is not UTF-8 text"),
        (b"PK\x03\x04\0\0" + bytes(100), "site 'oslo': is not text in lines"),
        (bytes(10_000_000), "site 'oslo': is not text in lines"),
    ],
)  # fmt: skip
def test_wrong_files_are_named_by_site(ward: Ward, content: bytes, says: str) -> None:
    ward.rows("bergen", ROW)
    ward.write("oslo", content)
    assert ward.refusal().startswith(says)


def test_a_missing_patient_or_site_is_refused(ward: Ward) -> None:
    for name in ("", " ", "?", "-9", "-9.0"):
        with_patients(ward, "bergen", [("p", 1), (name, 2)])
        assert ward.refusal().startswith("column 'id' of site 'bergen': has a missing value")
    ward.describe(site="hospital")
    path = ward.rows("bergen", f"{ROW},oslo", f"{ROW},", header=f"{HEADER},hospital")
    assert ward.refusal(root=path).startswith("column 'hospital' of site 'bergen': has a missing value")
    ward.rows("bergen", f"{ROW},\x1b[2J{SECRET}", header=f"{HEADER},hospital")
    assert ward.refusal(root=path).startswith("column 'hospital' of site 'bergen': has a value whose name is no name")


def test_an_optional_column_may_be_missing_throughout(ward: Ward) -> None:
    """As after the last patient with a value has withdrawn."""
    ward.rows("bergen", "50,0,,,0", "51,1,?,,1")
    assert ward.read().stored["bmi"].isnan().all()
    ward.describe(columns={**DESCRIPTION["columns"], "bmi": {"type": "numeric", "min": 10, "max": 60}})
    assert ward.refusal().startswith("column 'bmi' of site 'bergen': has a missing value")


def test_hospitals_without_rows_are_no_error_as_long_as_one_has_some(ward: Ward) -> None:
    ward.rows("bergen")
    assert len(ward.read()) == 0
    with pytest.raises(DataError, match="has too few records for two splits"):
        read(ward.options())
    ward.many("oslo")
    assert len(read(ward.options()).train) > 0
    with pytest.raises(DataError, match="has too few records for two splits"):
        read(ward.options(test_fraction=0.0))  # a simulation tests


def test_parquet_is_read_as_csv_is(ward: Ward) -> None:
    path = ward.many("bergen")
    text = ward.read()
    rows = list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))
    values = {name: [float(row[name]) if name == "age" else row[name] for row in rows] for name in rows[0]}
    pq.write_table(pa.table(values), path.with_suffix(".parquet"))
    path.unlink()
    binary = ward.read()
    for name, column in text.stored.items():
        assert torch.equal(column.nan_to_num(-1), binary.stored[name].nan_to_num(-1))
    (ward.root / "bergen.parquet").write_bytes(b"PAR1")
    assert ward.refusal() == "site 'bergen': is not a Parquet file that can be read; write it again"


def test_wrong_places(ward: Ward, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^data\.root: is missing"):
        read(Table())
    with pytest.raises(ConfigError, match=r"^data\.columns: is not given"):
        read(Table(root=ward.root))
    assert ward.refusal() == "data.root: is a folder without a .csv or .parquet file; give one for each hospital"
    assert ward.refusal(root=ward.root / "bergen.csv").startswith("data.root: does not exist; --set data.root=PLACE")
    for name in ("bergen.csv", "bergen.parquet"):
        os.mkfifo(ward.root / name)
        assert ward.refusal() == "site 'bergen': is not a file; correct its path"
        (ward.root / name).unlink()
    (ward.root / "bergen.csv").mkdir()
    assert ward.refusal() == "site 'bergen': is not a file; correct its path"
    (ward.root / "bergen.csv").rmdir()
    outside = tmp_path / "outside.csv"
    outside.write_text(f"{HEADER}\n{ROW}\n")
    (ward.root / "bergen.csv").symlink_to(outside)
    assert ward.refusal().startswith("site 'bergen': is a link that leaves data.root")
    (ward.root / "bergen.csv").unlink()
    (ward.root / "bergen.csv").symlink_to(ward.root / "bergen.csv")
    assert "cannot be read" in ward.refusal() or "is not a file" in ward.refusal()
    (ward.root / "bergen.csv").unlink()
    ward.rows("bergen", ROW)
    (ward.root / "bergen.CSV").write_text(f"{HEADER}\n{ROW}\n")
    assert ward.refusal() == "data.root: has two files for one site; keep one, or put both into a folder of its name"
    (ward.root / "bergen.CSV").unlink()
    ward.rows(f"{SECRET}\x1b", ROW)
    assert ward.refusal().startswith("data.root: has a file whose name is no name of a site")


def test_too_much_is_refused(ward: Ward, monkeypatch: pytest.MonkeyPatch) -> None:
    ward.many("bergen")
    monkeypatch.setattr(table, "_MOST_ROWS", 39)
    with pytest.raises(DataError, match=r"^site 'bergen': has too many rows"):
        ward.read()
    monkeypatch.setattr(csv_file, "MOST_BYTES", 99)
    with pytest.raises(DataError, match=r"^site 'bergen': has a file larger than 1 GiB"):
        ward.read()


@given(st.data())
def test_any_bytes_are_read_or_refused(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    ward = Ward(tmp_path_factory.mktemp("ward"))
    content = f"{HEADER}\n{ROW}\n51,1,,,2\n".encode()
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(content)))
        end = data.draw(st.integers(start, min(start + 8, len(content))))
        put = data.draw(st.binary(max_size=6) | st.sampled_from([b'"', b",", b"\r", b"\n", b"\0", b"9", b"\xc2\xa0"]))
        content = content[:start] + put + content[end:]
    ward.write("bergen", content)
    try:
        found = ward.read()
    except DataError as error:
        assert str(error).startswith(("site 'bergen': ", "column '"))  # noqa: PT017  (or it is read)
    else:
        ages, bmi = found.stored["age"], found.stored["bmi"]
        assert bool(((ages >= 0) & (ages <= 120)).all())
        assert bool((bmi.isnan() | ((bmi >= 10) & (bmi <= 60))).all())


# --- real data -----------------------------------------------------------------------------------------------------

DESCRIPTIONS = Path(__file__).parents[3] / "simulations/scenarios/tables"


def _found(folder: Path) -> Path:
    if not folder.exists():
        pytest.skip(f"public data set not found: {folder.name}")
    return folder


def test_heart_disease_of_four_hospitals(shared_data: Path) -> None:
    found = read(Table(root=_found(shared_data / "heart"), columns=DESCRIPTIONS / "heart.yaml"))
    assert found.site_names == ("cleveland", "hungary", "switzerland", "va")
    assert len(found.train) + len(found.test) == 920
    assert found.train.sites is not None
    of_switzerland = found.train.sites == 2
    assert found.train.stored["chol"][of_switzerland].isnan().all()
    assert not found.train.stored["chol"][~of_switzerland].isnan().all()
    assert (found.train.labels == 1).double().mean().item() == pytest.approx(0.553, abs=0.03)


def test_adult(shared_data: Path) -> None:
    path = _found(shared_data / "adult" / "adult.csv")
    found = read(Table(root=path, columns=DESCRIPTIONS / "adult.yaml"))
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(found.train) + len(found.test) == len(rows)
    ages = [int(row["age"]) for row in rows]
    read_ages = found.train.stored["age"].sum() + found.test.stored["age"].sum()
    assert int(read_ages) == sum(ages)


def test_ranges_of_shipped_descriptions_are_not_those_of_the_data(shared_data: Path) -> None:
    """A description is public: not even a range in it may come from data."""
    schema = read_description(DESCRIPTIONS / "heart.yaml")
    found = read(Table(root=_found(shared_data / "heart"), columns=DESCRIPTIONS / "heart.yaml"))
    both = joined(found.train, found.test)
    for column in schema.columns:
        if isinstance(column, Number):
            values = both.stored[column.name]
            known_values = values[~values.isnan()]
            assert column.low < known_values.min()
            assert column.high > known_values.max()


def coded(ward: Ward, **keys: Any) -> None:
    codes = {"type": "codes", "values": ["E11", "I10", "250.00", "250"], "most": 2, **keys}
    ward.describe(columns={"age": {"type": "integer", "min": 0, "max": 120}, "dx": codes})


def codes_of(ward: Ward, *cells: str, **keys: Any) -> list[list[int]]:
    """The codes of rows with these cells, in that order."""
    coded(ward, **keys)
    ward.rows("a", *(f"{age},{cell},0" for age, cell in enumerate(cells)), header="age,dx,num")
    found = ward.read()
    assert found.stored["dx"].dtype == torch.bool
    rows = found.stored["dx"][found.stored["age"].argsort()]
    return [row.nonzero().flatten().tolist() for row in rows]


def test_codes_are_read_as_sets(ward: Ward) -> None:
    cells = ("E11|I10", "", "?", " I10 | E11 |", "E11|E11", "250.00", "250")
    assert codes_of(ward, *cells) == [[0, 1], [], [], [0, 1], [0], [2], [3]]
    assert codes_of(ward, "E11 I10", "none", separator=" ", missing="none") == [[0, 1], []]


def test_codes_that_are_dropped_are_those_beyond_the_list_and_then_the_last(ward: Ward) -> None:
    cells = ("X|E11", "250|I10|E11", "I10|X|I10|E11|250", "X")
    assert codes_of(ward, *cells, outside="drop") == [[0], [1, 3], [0, 1], []]


@pytest.mark.parametrize(
    ("cell", "says"),
    [
        (f"E11|{SECRET}", "has a code that is not listed; correct it, list it under values, or set outside: drop"),
        ("E11|e11", "has a code that is not listed"),
        ("E11,I10", "has a code that is not listed"),
        (
            "E11|I10|250",
            "has a row of more codes than most allows; correct it, raise most, or set outside: drop, which keeps",
        ),
    ],
)
def test_a_code_that_is_none_is_refused_without_a_word_of_it(ward: Ward, cell: str, says: str) -> None:
    coded(ward)
    ward.rows("a", f'31,"{cell}",0', header="age,dx,num")
    assert ward.refusal().startswith(f"column 'dx' of site 'a': {says}")


def test_rows_with_the_same_codes_stay_together_and_others_part(ward: Ward) -> None:
    coded(ward)
    rows = [f"50,{codes},0" for codes in ("E11", "I10", "E11|I10", "I10|E11", "250", "250.00", "")]
    ward.rows("a", *rows * 5, header="age,dx,num")
    found = read(ward.options(test_fraction=0.5))
    kinds = [{tuple(row) for row in part.stored["dx"].tolist()} for part in (found.train, found.test)]
    assert not kinds[0] & kinds[1]
    assert len(kinds[0] | kinds[1]) == 6
