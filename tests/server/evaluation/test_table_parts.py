"""The parts of a table's evaluation: groups, scores, coverage, pictures, and what is None with a reason."""

import json
import math
from typing import Any

import numpy as np
import pytest
import torch

from silogan.common.config.scenario import Evaluation
from silogan.common.errors import DataError
from silogan.common.modality.image import ImageSchema
from silogan.common.modality.table import Category, Number, TableSchema
from silogan.server.evaluation import Comparison, Labelled
from silogan.server.evaluation.table_classifiers import CLASSIFIERS
from silogan.server.evaluation.table_evaluation import RELEASED, evaluate
from silogan.server.evaluation.table_groups import by_cell, by_mass, by_width
from silogan.server.evaluation.table_rows import rows_of
from silogan.server.evaluation.table_scores import auroc, scores_of
from tests.server.evaluation.tables import SCHEMA, age_alone, comparison, rows

COUNT = 300


def asked(**changes: Any) -> Comparison:
    return comparison(*rows(COUNT, 3), count=COUNT, risks=True)._replace(**changes)


def test_scores_are_those_of_the_definition() -> None:
    labels = np.array([0, 0, 1, 1])
    assert auroc(np.array([[0.9, 0.1], [0.6, 0.4], [0.7, 0.3], [0.1, 0.9]]), labels) == 0.75
    assert auroc(np.full((4, 2), 0.5), labels) == 0.5
    found = scores_of(np.eye(3)[[0, 1, 1, 2]], np.array([0, 0, 1, 2]))
    assert (found.accuracy, found.balanced_accuracy) == (0.75, pytest.approx(5 / 6))


def test_a_class_absent_from_test_rows_is_left_out_of_the_mean() -> None:
    chances = np.array([[0.8, 0.1, 0.1], [0.2, 0.7, 0.1], [0.3, 0.6, 0.1]])
    assert auroc(chances, np.array([0, 1, 1])) == 1.0


def test_numbers_are_cut_by_mass_width_and_cell() -> None:
    whole = TableSchema(("all",), (Number("number", "age", 18, 81, 1.0, optional=True),))
    real = rows_of(whole, {"age": torch.tensor([18.0] * 6 + [19, 40, 41, 80, math.nan, math.nan])}, None, "rows")
    mass, width, cell = by_mass(whole, real, 2)[0], by_width(whole, real, 16)[0], by_cell(whole, real)[0]
    assert mass.groups == ("18", "19 to 81", "missing")
    assert mass.shares(real).tolist() == [6 / 12, 4 / 12, 2 / 12]
    assert (width.groups[0], width.groups[-2], len(width.groups), width.ends) == (
        "18 to 21",
        "78 to 81",
        17,
        ("18", "81"),
    )
    assert (cell.groups[0], len(cell.groups)) == ("18", 65)


def test_dates_are_named_as_dates() -> None:
    whole = TableSchema(("all",), (Number("number", "seen", 0, 364, 1.0, date=True),))
    real = rows_of(whole, {"seen": torch.arange(365, dtype=torch.float64)}, None, "rows")
    (grouping,) = by_mass(whole, real, 2)
    assert grouping.groups == ("1970-01-01 to 1970-07-01", "1970-07-02 to 1970-12-31")
    assert grouping.ends == ("1970-01-01", "1970-12-31")


def test_coverage_tells_what_is_never_drawn() -> None:
    synthetic, labels = rows(COUNT, 3)
    synthetic = {**synthetic, "sex": torch.zeros(COUNT).double()}
    found = evaluate(asked(synthetic=synthetic, labels=labels))["table"]["coverage"]
    assert found["groups"]["real"] == 1
    assert found["groups"]["synthetic"] < 1
    assert found["sensitive_pairs"] == {"present": 4, "synthetic": 0.5, "real": 1}


def test_pictures_are_shares_of_all_rows() -> None:
    table = evaluate(asked())["table"]
    assert {column["name"] for column in table["marginals"]} == {"age", "sex", "kin", "dose", "state"}
    for column in table["marginals"]:
        assert len(column["groups"]) == len(column["real"]) == len(column["synthetic"])
        assert sum(column["real"]) == pytest.approx(1)
        assert sum(column["synthetic"]) == pytest.approx(1)
    matrix = np.array(table["pairs"]["matrix"])
    assert matrix.shape == (5, 5)
    assert np.allclose(matrix, matrix.T)
    assert all(len(curve) == 101 and curve == sorted(curve) for curve in table["roc"].values())


def test_many_values_are_drawn_as_the_most_frequent_and_others() -> None:
    names = tuple(f"c{code}" for code in range(40))
    whole = TableSchema(("a", "b"), (Category("category", "code", names, ((),) * 40),))
    part = Labelled({"code": torch.arange(400, dtype=torch.float64) % 40}, torch.arange(400) % 2)
    found = evaluate(asked(synthetic=part.records, labels=part.labels, train=part, test=part, schema=whole))["table"]
    (column,) = (one for one in found["marginals"] if one["name"] == "code")
    assert column["groups"][-1] == "32 others"
    assert column["real"][-1] == pytest.approx(0.8)
    assert found["coverage"]["sensitive_pairs"] == {"present": 0, "synthetic": None, "real": None}


def test_classifiers_of_the_release_need_no_rows() -> None:
    found = evaluate(
        asked(
            baselines={"age alone": age_alone},
            classify=lambda batch: batch[:, :2].flip(1),
        )
    )
    baselines = found["table"]["baselines"]
    assert baselines["age alone"]["auroc"] > 0.7
    assert found["utility"]["auroc_released"] == baselines[RELEASED]["auroc"]


def test_rows_are_ranked_by_the_odds_of_a_class_however_certain_it_is() -> None:
    """Logits of both classes that grow with certainty alone, up to where a chance is 1 in float64."""

    def certain(batch: torch.Tensor) -> torch.Tensor:
        return 500 * age_alone(batch) + torch.randint(1000, (len(batch), 1), generator=torch.Generator().manual_seed(0))

    found = evaluate(asked(baselines={"plain": age_alone, "certain": certain}))["table"]["baselines"]
    assert found["certain"]["auroc"] == pytest.approx(found["plain"]["auroc"])


def of_one_class() -> dict[str, Any]:
    train, test = (part._replace(labels=part.labels * 0) for part in (asked().train, asked().test))
    only = TableSchema(("all",), SCHEMA.columns)
    return {"schema": only, "labels": torch.zeros(COUNT, dtype=torch.int64), "train": train, "test": test}


def of_one_row() -> dict[str, Any]:
    one = Labelled(*rows(1, 3))
    return {"synthetic": one.records, "labels": one.labels, "train": one, "test": one}


def without(name: str) -> dict[str, Any]:
    """All rows without a known value of a column."""

    def emptied(records: Any) -> Any:
        return {**records, name: torch.full_like(records[name], math.nan)}

    train, test = (part._replace(records=emptied(part.records)) for part in (asked().train, asked().test))
    return {"synthetic": emptied(rows(COUNT, 3)[0]), "train": train, "test": test}


def of_a_third_class() -> dict[str, Any]:
    """Which real rows alone belong to."""
    test = asked().test
    more = torch.where(torch.arange(COUNT) % 3 == 0, 2, test.labels)
    whole = TableSchema(("a", "b", "c"), SCHEMA.columns, sensitive=("sex",))
    return {"schema": whole, "test": test._replace(labels=more)}


NOTHING = torch.zeros(COUNT, dtype=torch.int64)
CASES: dict[str, Any] = {
    "one synthetic class": ("all rows to learn from are of one class", lambda: {"labels": NOTHING}),
    "one test class": ("the rows are all of one class", lambda: {"test": asked().test._replace(labels=NOTHING)}),
    "no synthetic rows": ("there are no rows to learn from", lambda: {"synthetic": None, "labels": None}),
    "no synthetic labels": ("the rows have no labels", lambda: {"labels": None}),
    "one class": ("the rows have one class", of_one_class),
    "one row of each": ("all rows to learn from are of one class", of_one_row),
    "a class that nobody taught": (None, of_a_third_class),
    "a column missing throughout": (None, lambda: without("dose")),
    "a constant column": (
        None,
        lambda: {"synthetic": {**rows(COUNT, 3)[0], "age": torch.full((COUNT,), 60.0).double()}},
    ),
    "one column": (None, lambda: {"schema": TableSchema(("well", "ill"), SCHEMA.columns[:1])}),
    "no real ceiling": (None, lambda: {"settings": Evaluation(real_ceiling=False, risks=True)}),
}
"""Comparisons that have little to measure, and the reason why there is no AUROC of synthetic rows."""


@pytest.mark.parametrize("case", CASES)
def test_whatever_is_missing_is_none_with_a_reason(case: str) -> None:
    reason, changes = CASES[case]
    found = evaluate(asked(**changes()))
    json.dumps(found, allow_nan=False)
    assert found.get("utility_reason") == reason
    assert (found["utility"]["auroc_synthetic"] is None) == (reason is not None)
    for one in found["table"]["scores"]:
        assert all((one[name]["auroc"] is None) == (one[name]["reason"] is not None) for name in CLASSIFIERS)
    for one in found["table"]["risks"] or []:
        assert (one["excess"] is None) == (one["reason"] is not None)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"labels": NOTHING[:3]}, "synthetic rows: have columns or labels of different lengths"),
        ({"labels": NOTHING + 2}, "synthetic rows: have a label that is not from 0 to 1"),
        ({"schema": ImageSchema(8, 1, ("a", "b"))}, "rows: are not of a table"),
    ],
)
def test_rows_that_do_not_match_are_refused(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(DataError, match=says):
        evaluate(asked(**changes))
