"""Figures of synthetic rows: right where the answer is known, absent with a reason where there is none."""

import json
import math
from typing import Any

import pytest
import torch

from silogan.common.errors import DataError
from silogan.common.modality.table import TableSchema
from silogan.server.evaluation import EVALUATORS
from silogan.server.evaluation.table_evaluation import evaluate
from tests.server.evaluation.tables import SCHEMA, comparison, rows, shuffled

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def good() -> dict[str, Any]:
    """Of rows like the real ones."""
    return evaluate(comparison(*rows(1200, 3), risks=True))


def scores(found: dict[str, Any], of: str) -> dict[str, Any]:
    return next(one for one in found["table"]["scores"] if one["learnt_from"] == of)


def test_rows_like_the_real_ones_are_worth_as_much(good: dict[str, Any]) -> None:
    for kind in ("logistic", "boosting"):
        synthetic, real = (scores(good, of)[kind]["auroc"] for of in ("synthetic", "real"))
        assert real > 0.9
        assert abs(synthetic - real) < 0.03
    assert good["utility"]["auroc_synthetic"] == scores(good, "synthetic")["logistic"]["auroc"]
    assert {one["learnt_from"] for one in good["table"]["scores"]} == {
        *("synthetic", "real", "hospital bergen", "hospital oslo", "hospital lund")
    }
    assert good["table"]["violations"] == {"rows": 1200, "violating": 0, "by_rule": {}}
    for measure in ("one_way", "two_way", "association"):
        distance = good["table"]["distances"][measure]
        assert distance["mean"] < 1.6 * distance["floor_mean"] + 0.01
    assert good["table"]["coverage"]["groups"]["synthetic"] > 0.95
    json.dumps(good, allow_nan=False)


def test_rows_without_dependences_are_worth_nothing(good: dict[str, Any]) -> None:
    stored, labels = rows(1200, 3)
    found = evaluate(comparison(shuffled(stored, 4), labels))
    assert abs(found["utility"]["auroc_synthetic"] - 0.5) < 0.25
    assert found["table"]["distances"]["association"]["mean"] > 2 * good["table"]["distances"]["association"]["mean"]
    assert found["table"]["violations"]["by_rule"].keys() == {"sex = F and kin = husband"}


def test_what_breaks_the_schema_is_counted_by_its_column() -> None:
    stored, labels = rows(600, 3)
    stored = {name: column.clone() for name, column in stored.items()}
    stored["age"][0], stored["age"][1], stored["sex"][2], stored["kin"][3] = 91.0, 40.5, math.nan, 7.0
    found = evaluate(comparison(stored, labels))["table"]["violations"]
    assert found["violating"] == 4
    assert found["by_rule"] == {"values of age": 2, "values of sex": 1, "values of kin": 1}


def test_copies_of_patients_are_found_by_attacks_and_fresh_rows_are_not(good: dict[str, Any]) -> None:
    asked = comparison(None, None, risks=True)
    copies = evaluate(asked._replace(synthetic=asked.train.records, labels=asked.train.labels))

    def excess(found: dict[str, Any], name: str) -> dict[str, float]:
        return next(one for one in found["table"]["risks"] if one["name"].startswith(name))["excess"]

    for attack in ("singling out, several", "linking"):
        assert excess(copies, attack)["low"] > 0.2
        assert excess(good, attack)["low"] == 0


def test_subgroups_are_those_of_sensitive_columns(good: dict[str, Any]) -> None:
    found = good["table"]["subgroups"]
    assert [(one["column"], one["group"]) for one in found] == [("sex", "F"), ("sex", "M")]
    assert sum(one["records"] for one in found) == 1200
    assert all(one["auroc"]["logistic_synthetic"] > 0.85 for one in found)


def test_a_release_without_rows_has_real_figures_alone() -> None:
    found = evaluate(comparison(None, None))
    assert found["utility"]["auroc_synthetic"] is None
    assert found["utility_reason"] == "there are no rows to learn from"
    assert found["utility"]["auroc_real"] > 0.9
    assert found["table"]["distances"] is None
    assert found["table"]["risks"] is None


@pytest.mark.parametrize("label", [0, 1])
def test_synthetic_rows_of_one_class_teach_nothing_and_say_so(label: int) -> None:
    stored, _ = rows(300, 3)
    found = evaluate(comparison(stored, torch.full((300,), label), count=300))
    assert found["utility"]["auroc_synthetic"] is None
    assert found["utility_reason"] == "all rows to learn from are of one class"


def test_a_column_that_is_missing_throughout_is_no_fault() -> None:
    stored, labels = rows(300, 3)
    nothing = {**stored, "dose": torch.full((300,), math.nan).double()}
    assert evaluate(comparison(nothing, labels, count=300))["utility"]["auroc_synthetic"] > 0.6


@pytest.mark.parametrize(("part", "problem"), [("sex", "have no column 'sex'"), (None, "are empty")])
def test_rows_that_do_not_fit_are_refused(part: str | None, problem: str) -> None:
    stored, labels = rows(10, 3)
    kept = {name: column for name, column in stored.items() if name != part}
    if part is None:
        kept, labels = {name: column[:0] for name, column in kept.items()}, labels[:0]
    with pytest.raises(DataError, match=problem):
        evaluate(comparison(kept, labels, count=50))


def test_the_same_comparison_gives_the_same_figures() -> None:
    stored, labels = rows(300, 3)
    first, second = (evaluate(comparison(stored, labels, count=300, risks=True)) for _ in range(2))
    assert first == second


def test_tables_have_their_evaluator() -> None:
    assert EVALUATORS[TableSchema.kind] is not None
    assert SCHEMA.kind in EVALUATORS
