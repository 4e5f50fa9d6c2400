"""Conditions as text: what they want, and one line for whatever is none."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from silogan.common.errors import UsageError
from silogan.common.modality.table_grid import grid_of
from silogan.common.modality.table_where import Where
from silogan.server.release.where import parse_where
from tests.server.release.tables import CODES, DRUGS, category, schema

SCHEMA = schema()


def wanted(text: str, column: str) -> list[float]:
    """The values of a column that a condition wants; NaN if missing ones are."""
    found, grid = parse_where(text, SCHEMA).columns[column], grid_of(SCHEMA.column(column))
    steps = [step for span in found.spans for step in range(*span)] + [grid.count] * found.missing
    return grid.values(np.array(steps, np.int64)).tolist()


@pytest.mark.parametrize(
    ("text", "column", "values"),
    [
        ("age > 87", "age", [88, 89, 90]),
        ("age >= 87.5", "age", [88, 89, 90]),
        ("age < 22", "age", [20, 21]),
        ("age <= 20", "age", [20]),
        ("age=60", "age", [60]),
        ("age>=87 and age<=89 and age!=88", "age", [87, 89]),
        ("age in (30, 25, 30, 31)", "age", [25, 30, 31]),
        ("age > -1e300 and age < 21", "age", [20]),
        ("sex = F", "sex", [0]),
        ("sex != 'F'", "sex", [1]),
        ('kin = "none, or unknown"', "kin", [2]),
        ("kin in (wife, 'none, or unknown')", "kin", [1, 2]),
        ("stage >= III", "stage", [2, 3]),
        ("stage < 'II' AND stage IS NOT missing", "stage", [0]),
        ("'oldpeak' > 6", "oldpeak", [6.1, 6.2]),
        ("oldpeak = 0.3", "oldpeak", [0.3]),
        ("oldpeak < -2.4", "oldpeak", [-2.6, -2.5]),
        ("born >= 1989-12-31", "born", [7304]),
        ("bmi > 59.9975", "bmi", [59.998, 59.999, 60]),
    ],
)
def test_tests_want_the_values_that_they_say(text: str, column: str, values: list[float]) -> None:
    assert wanted(text, column) == values


def test_missing_values_meet_only_that_they_are_missing() -> None:
    assert np.isnan(wanted("chol is missing", "chol")).tolist() == [True]
    assert len(wanted("chol is not missing", "chol")) == 501
    assert not np.isnan(wanted("chol != 100", "chol")).any()


def test_the_label_s_column_stands_for_the_class() -> None:
    assert parse_where("num = 'ill, or worse' and age > 30", SCHEMA).classes == (1,)
    assert parse_where("num != 'ill, or worse'", SCHEMA).classes == (0,)
    assert parse_where("num in (healthy, 'ill, or worse')", SCHEMA).classes == (0, 1)


def test_columns_with_odd_names_are_quoted() -> None:
    odd = schema(category("it's = and", ("a and b", "(")), category("is", ("in", "and")))
    found = parse_where("\"it's = and\" = 'a and b' and is = 'in'", odd)
    assert [one.spans for one in found.columns.values()] == [((0, 1),), ((0, 1),)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("agee > 3", "unknown column 'agee'; did you mean 'age'?"),
        ("ward_no = 3", "unknown column 'ward_no'; use one of age, sex"),
        ("sex = Female", "'sex' has no value 'Female'; "),
        ("kin = wive", "'kin' has no value 'wive'; did you mean 'wife'?"),
        ("num = sick", "'num' has no value 'sick'; "),
        ("age > NaN", "'NaN' is not a number; write it as 60 or 0.5"),
        ("age < inf", "'inf' is not a number; "),
        ("age > 1e999", "'1e999' is not a number; "),
        ("age > 1" + "0" * 400, "000… is not a number; "),
        ("age = sixty", "'sixty' is not a number; "),
        ("born > 60", "'60' is not a date; write it as 2026-03-09"),
        ("born > 1960-02-30", "'1960-02-30' is not a date; "),
        ("age > 200", "no value of 'age' meets what is asked of it; its values lie from 20 to 90, in steps of 1"),
        ("age = 60.5", "no value of 'age' meets what is asked of it"),
        ("age > 50 and sex = F and age < 40", "no value of 'age' meets what is asked of it"),
        ("sex = F and sex = M", "no value of 'sex' meets what is asked of it; use one of F, M"),
        ("age is missing", "none is missing"),
        ("sex < M", "the values of 'sex' have no order; use = or in (...)"),
        ("num > healthy", "the values of 'num' have no order"),
        ("", "ends where a column should follow; as in: sex = F and age > 60"),
        ("age", "ends where =, !=, <, <=, >, >=, in or is should follow"),
        ("age >", "ends where a value should follow"),
        ("age > 60 and", "ends where a column should follow"),
        ("age > 60 or age < 30", "has 'or' in the place of and"),
        ("age == 60", "has '=' in the place of a value"),
        ("age in ()", "has ')' in the place of a value"),
        ("age in (60", "ends where , or ) should follow"),
        ("age in 60", "has '60' in the place of ("),
        ("age is not 60", "has '60' in the place of missing"),
        ("sex = 'F", 'cannot be read from "\'F" on; close the quote'),
        ('sex = "F', "close the quote"),
        ("sex ! F", "cannot be read from '! F' on"),
        ("(" * 9_000, "has '(' in the place of a column"),
        ("age in " + "(" * 9_000, "has '(' in the place of a value"),
        ("x" * 10_001, "has 10,001 characters, above 10,000; ask for less"),
        ("age\x1b[2J > 3", "unknown column 'age\\x1b[2J'"),
    ],
)
def test_anything_else_is_one_line(text: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_where(text, SCHEMA)
    assert message in str(caught.value)
    assert str(caught.value).startswith("--where: ")
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 2_500


WORDS = ["age", "sex", "chol", "num", "kin", "born", "F", "60", "-1", "1e9", "in", "is", "not", "missing", "and", "or"]
SIGNS = ["=", "!=", "<", "<=", ">", ">=", "(", ")", ",", "'", '"', "!", "\0", "\n", "é", "NaN", "1960-01-01", "'wife'"]


@given(st.lists(st.sampled_from(WORDS + SIGNS), max_size=12), st.sampled_from(["", " "]))
def test_any_text_is_a_condition_or_one_line(words: list[str], between: str) -> None:
    try:
        found = parse_where(between.join(words), SCHEMA)
    except UsageError as error:
        said = str(error)
    else:
        said = "" if found.columns or found.classes else "\0"
    assert said.isprintable()


def test_whether_rows_meet_it() -> None:
    rows = {column.name: torch.tensor([60.0, float("nan"), 61.0], dtype=torch.float64) for column in SCHEMA.columns}
    labels = torch.tensor([0, 0, 1])
    assert parse_where("age > 60", SCHEMA).holds(SCHEMA, rows, labels).tolist() == [False, False, True]
    assert parse_where("chol is missing", SCHEMA).holds(SCHEMA, rows, labels).tolist() == [False, True, False]
    assert parse_where("num = healthy", SCHEMA).holds(SCHEMA, rows, labels).tolist() == [True, True, False]
    assert Where().holds(SCHEMA, rows, labels).tolist() == [True, True, True]


def test_sets_of_codes_contain_codes() -> None:
    of = schema(category("sex", ("F", "M")), code_sets=(CODES, DRUGS))
    found = parse_where("dx contains I10 and sex = F and dx contains 'J45, old' and drugs contains C09AA", of)
    assert found.codes == {"dx": (1, 3), "drugs": (1,)}
    assert set(found.columns) == {"sex"}
    dx = torch.tensor([[0, 1, 0, 1, 0], [1, 1, 0, 1, 1], [0, 0, 0, 1, 0]]).bool()
    records = {"sex": torch.zeros(3).double(), "dx": dx, "drugs": torch.ones(3, 2).bool()}
    assert found.holds(of, records, torch.zeros(3, dtype=torch.int64)).tolist() == [True, True, False]
    assert found.of_classes((1,)).codes == found.codes


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("dx = I10", "has '=' in the place of contains"),
        ("dx contains", "ends where a code should follow"),
        ("dx contains I11", "'dx' has no code 'I11'; did you mean 'I10'?"),
        ("sex contains F", "has 'contains' in the place of"),
        ("xd contains I10", "unknown column 'xd'"),
        ("drugs contains A10BA and drugs contains C09AA", "no row has more than 1 codes in 'drugs'; ask for fewer"),
    ],
)
def test_a_condition_on_codes_that_is_none_is_one_line(text: str, message: str) -> None:
    of = schema(category("sex", ("F", "M")), code_sets=(CODES, replace(DRUGS, most=1)))
    with pytest.raises(UsageError) as caught:
        parse_where(text, of)
    assert message in str(caught.value)
