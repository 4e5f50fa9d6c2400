from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from silogan.common.errors import ConfigError
from silogan.common.modality.code_set import CodeSet
from silogan.common.modality.table import Category, Number, TableSchema
from silogan.common.modality.table_file import days_of, read_description, spelled

TEXT = """
label: {column: num, classes: {healthy: 0, diseased: [1, 2.0, "3"]}}
patient: id
missing: ["?", -9.0]
sensitive: [sex]
impossible: [{sex: male, smokes: "yes"}]
columns:
  age: {type: integer, min: 20, max: 90, unit: years}
  sex: {type: binary, values: {female: 0, male: 1}}
  smokes: {type: ordinal, values: ["no", "yes", 3]}
  bmi: {type: numeric, min: 10, max: 80.5, edges: [18.5, 25, 30], missing: 0, optional: true, outside: clamp}
  seen: {type: date, min: 1990-01-01, max: "2026-12-31", edges: [2000-01-01]}
"""


def write(folder: Path, values: Any) -> Path:
    path = folder / "columns.yaml"
    path.write_text(values if isinstance(values, str) else yaml.safe_dump(values, sort_keys=False), encoding="utf-8")
    return path


def refusal(folder: Path, values: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        read_description(write(folder, values))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_description_in_full(tmp_path: Path) -> None:
    found = read_description(write(tmp_path, TEXT))
    days = [
        date(*day).toordinal() - date(1970, 1, 1).toordinal() for day in ((1990, 1, 1), (2026, 12, 31), (2000, 1, 1))
    ]
    assert found == TableSchema(
        classes=("healthy", "diseased"),
        columns=(
            Number("number", "age", 20, 90, 1, unit="years"),
            Category("category", "sex", ("female", "male"), (("0", "female"), ("1", "male"))),
            Category("category", "smokes", ("no", "yes", "3"), (("no",), ("yes",), ("3",)), ordered=True),
            Number("number", "bmi", 10, 80.5, 0, (18.5, 25, 30), clamp=True, optional=True, missing=("0",)),
            Number("number", "seen", days[0], days[1], 1, (days[2],), date=True),
        ),
        label="num",
        label_spellings=(("0", "healthy"), ("1", "2", "3", "diseased")),
        patient="id",
        missing=("?", "-9"),
        sensitive=("sex",),
        impossible=((("sex", "male"), ("smokes", "yes")),),
    )


def test_without_a_label_there_is_one_class(tmp_path: Path) -> None:
    found = read_description(write(tmp_path, "columns: {age: {type: integer, min: 0, max: 99}}"))
    assert (found.classes, found.label, found.label_spellings) == (("all",), "", ())


def test_a_name_is_a_spelling_unless_it_spells_another_value(tmp_path: Path) -> None:
    found = read_description(write(tmp_path, "columns: {x: {type: categorical, values: {1: 2, 2: 1, b: []}}}"))
    column = found.columns[0]
    assert isinstance(column, Category)
    assert column.spellings == (("2",), ("1",), ("b",))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1, "1"), (1.0, "1"), ("1", "1"), (" 1.0 ", "1"), ("1.", "1"), ("1.500", "1.5"), (".7", "0.7"), (-9.0, "-9"),
        ("-9.00", "-9"), (0.5, "0.5"), (1e-5, "0.00001"), ("007", "007"), (".", "."), ("-.", "-."), ("", ""),
        ("a.0", "a.0"), ("1.0.0", "1.0.0"), (date(2026, 3, 9), "2026-03-09"), (1234567.5, "1234567.5"),
        ("1e5", "1e5"), ("²", "²"),
    ],
)  # fmt: skip
def test_spellings(value: Any, text: str) -> None:
    assert spelled(value) == text


@given(st.text() | st.integers() | st.floats(allow_nan=False, allow_infinity=False))
def test_a_spelling_is_spelled_as_it_is(value: str | float) -> None:
    assert spelled(spelled(value)) == spelled(value)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_different_numbers_have_different_spellings(value: float) -> None:
    assert float(spelled(value)) == value


@pytest.mark.parametrize(
    "text", ["2026-02-30", "20260309", "2026-W10-1", "2026-3-9", "0000-01-01", "9.3.2026", "²026-03-09", ""]
)
def test_what_is_no_date(text: str) -> None:
    assert days_of(text) is None


def test_days_count_from_1970() -> None:
    assert (days_of("1970-01-01"), days_of("1969-12-31"), days_of("2000-03-01")) == (0, -1, 11017)


def change(path: str, value: Any) -> Any:
    whole = yaml.safe_load(TEXT)
    *parents, leaf = path.split("/")
    place = whole
    for key in parents:
        place = place[key]
    if value is None:
        del place[leaf]
    else:
        place[leaf] = value
    return whole


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        ("columns/age/mni", 3, "columns.age.mni: unknown key; did you mean 'columns.age.min'?"),
        ("columns/age/values", [1, 2], "columns.age.values: does not fit type 'integer'; remove it"),
        ("columns/age/min", "x", "columns.age.min: input should be a valid integer, not 'x'"),
        ("columns/age/min", 2.5, "columns.age.min: input should be a valid integer"),
        ("columns/age/min", None, "columns.age.min: is missing; add it to the description"),
        ("columns/age/min", 100, "columns.age: has no range"),
        ("columns/age/edges", [50, 40], "columns.age: has edges that do not rise within its range"),
        ("columns/age/edges", [50.5], "columns.age.edges.0: input should be a valid integer"),
        ("columns/age/resolution", 0, "columns.age.resolution: input should be greater than or equal to 1"),
        ("columns/age/resolution", 3, "columns.age: has a highest value that is not a multiple of its resolution"),
        ("columns/age/max", 10**9, "columns.age: has a resolution finer than"),
        ("columns/age/max", float("nan"), "columns.age.max: "),
        ("columns/bmi/max", float("inf"), "columns.bmi.max: "),
        ("columns/bmi/max", 1e300, "columns.bmi.high: "),
        ("columns/age/optional", "yes", "columns.age.optional: input should be a valid boolean"),
        ("columns/age/outside", "drop", "columns.age.outside: input should be 'refuse' or 'clamp'"),
        ("columns/age/missing", [[1]], "columns.age.missing.0: input should be a valid string"),
        ("columns/age/unit", "\x1b[2J", "columns.age.unit: has characters that cannot be printed"),
        ("columns/age/type", "intger", "columns.age.type: unknown value 'intger'; did you mean 'integer'?"),
        ("columns/age/type", None, "columns.age.type: is missing; give one of numeric, integer"),
        ("columns/sex/values", [True, False], "columns.sex.values: holds true, which YAML reads for yes"),
        ("columns/sex/values", {True: 1, False: 0}, "columns.sex.values: holds true, which YAML reads for yes"),
        ("columns/sex/values", [1, 2, 3], "columns.sex.values: value should have at most 2 items"),
        ("columns/sex/values", {"a": 1, "b": [1.0]}, "columns.sex: spells two values alike, '1'"),
        ("columns/sex/values", 3, "columns.sex.values: is neither a list of values nor values with their spellings"),
        ("columns/sex/values", {"?": 1, "b": 2}, "spells two values alike, '?'"),
        ("columns/sex/values", ["a" * 200, "b"], "columns.sex.values."),
        ("columns/seen/min", "1990-13-01", "columns.seen.min: is not a date as 2026-03-09"),
        ("columns/seen/min", 3, "columns.seen.min: is not a date as 2026-03-09"),
        ("columns/x", 3, "columns.x: is a section of keys, not 3"),
        ("columns/num", {"type": "integer", "min": 0, "max": 9}, "names column 'num' twice"),
        ("columns", {}, "columns: "),
        ("columns", [1], "columns: is a section of keys, not [1]"),
        ("columns", None, "columns: is missing; add it to the description"),
        ("colums", {}, "colums: unknown key; did you mean 'columns'?"),
        ("label", 3, "label: is a section of keys, not 3"),
        ("label/classes", None, "label.classes: is missing"),
        ("label/clases", [], "label.clases: unknown key; did you mean 'label.classes'?"),
        ("label/classes", [0, 0], "has the same class twice"),
        ("label/classes", [], "label.classes: "),
        ("patient", "age", "names column 'age' twice"),
        ("missing", [None], "missing.0: input should be a valid string"),
        ("sensitive", ["gender"], "has no column 'gender'"),
        ("impossible", [{"sex": "x"}], "calls 'sex = x' impossible, which is no value of a category"),
        ("impossible", [{}], "impossible.0: "),
    ],
)  # fmt: skip
def test_faults_name_column_and_key(tmp_path: Path, path: str, value: Any, says: str) -> None:
    assert says in refusal(tmp_path, change(path, value))


def test_a_file_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^description '.*none.yaml': cannot be read"):
        read_description(tmp_path / "none.yaml")
    assert "is not valid YAML" in refusal(tmp_path, "columns: [")
    assert "is not a set of keys" in refusal(tmp_path, "- 1")
    assert "has an anchor or alias" in refusal(tmp_path, "columns: {a: &x {type: integer}, b: *x}")


def test_the_shipped_descriptions_are_right() -> None:
    shipped = sorted((Path(__file__).parents[3] / "simulations/scenarios/tables").glob("*.yaml"))
    assert shipped
    for path in shipped:
        found = read_description(path)
        assert found.num_classes == (2 if found.label else 1)


CODES: dict[str, Any] = {"type": "codes", "values": ["E11", "I10", "250.00"], "most": 2}


def coded(**keys: Any) -> dict[str, Any]:
    return {"missing": ["?"], "columns": {"age": {"type": "integer", "min": 0, "max": 9}, "dx": CODES | keys}}


def test_a_code_set_is_described_by_its_codes(tmp_path: Path) -> None:
    found = read_description(write(tmp_path, coded(separator=";", outside="drop", missing="none")))
    assert [column.name for column in found.columns] == ["age"]
    values = ("E11", "I10", "250.00")
    assert found.code_sets == (CodeSet("codes", "dx", values, 2, separator=";", drop=True, missing=("none",)),)
    assert read_description(write(tmp_path, coded())).code_sets == (CodeSet("codes", "dx", values, 2),)


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"values": ["E11", 250.00]}, "columns.dx.values.1: holds 250.0, which YAML does not read as text (quote"),
        ({"values": [True]}, "columns.dx.values.0: holds True, which YAML does not read as text (quote"),
        ({"values": ["E11", "E11"], "most": 1}, "columns.dx: has the same code twice"),
        ({"values": ["E11", "a|b"]}, "columns.dx: has a code that holds its separator, or blanks around it, 'a|b'"),
        ({"values": [" E11", "b"]}, "columns.dx: has a code that holds its separator, or blanks around it, ' E11'"),
        ({"values": ["\x1b[2J"]}, "columns.dx.values.0: has characters that cannot be printed"),
        ({"values": [str(code) for code in range(513)]}, "columns.dx.values: tuple should have at most 512 items"),
        ({"values": ["?"], "most": 1}, "description: spells two values alike, '?'"),
        ({"missing": "E11"}, "columns.dx: spells a code and a missing value alike, 'E11'"),
        ({"most": 4}, "columns.dx: may have 4 codes in a row, but lists 3"),
        ({"most": 0}, "columns.dx.most: input should be greater than or equal to 1, not 0"),
        ({"separator": "||"}, "columns.dx.separator: string should have at most 1 character, not '||'"),
        ({"separator": "\n"}, "columns.dx: has a separator that cannot be printed"),
        ({"optional": True}, "columns.dx.optional: input should be False, not True"),
        ({"outside": "clamp"}, "columns.dx.outside: input should be 'refuse' or 'drop'"),
        ({"min": 3}, "columns.dx.min: does not fit type 'codes'; remove it"),
    ],
)
def test_a_code_set_that_is_none_is_refused(tmp_path: Path, keys: dict[str, Any], says: str) -> None:
    assert says in refusal(tmp_path, coded(**keys))


def test_code_sets_stand_beside_another_column_and_are_few(tmp_path: Path) -> None:
    assert "columns: are code sets alone; describe another" in refusal(tmp_path, {"columns": {"dx": CODES}})
    many = {f"dx{place}": {**CODES, "values": [str(code) for code in range(300)]} for place in range(2)}
    assert "has 600 codes, above 512" in refusal(tmp_path, {"columns": {"age": coded()["columns"]["age"], **many}})
    named = coded()
    named["sensitive"] = ["dx"]
    assert "has no column 'dx'" in refusal(tmp_path, named)
