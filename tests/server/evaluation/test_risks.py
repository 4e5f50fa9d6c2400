"""Attacks: rates with their intervals, predicates, distances, and what a copy gives away."""

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from silogan.common.modality.code_set import CodeSet
from silogan.common.modality.table import Category, Number, TableSchema
from silogan.server.evaluation.risks import Rate, excess, risks
from silogan.server.evaluation.row_distances import per_code_set, per_column
from silogan.server.evaluation.singling_out import Condition, count_single, predicates
from silogan.server.evaluation.table_evaluation import evaluate
from silogan.server.evaluation.table_rows import Rows, rows_of
from tests.server.evaluation.tables import SCHEMA, comparison, rows

NAN = float("nan")


def attacks(**changes: Any) -> dict[str, dict[str, Any]]:
    asked = comparison(*rows(600, 3), count=600, risks=True)._replace(**changes)
    return {one["name"]: one for one in evaluate(asked)["table"]["risks"]}


def test_attacks_are_named_and_off_unless_asked_for() -> None:
    assert list(attacks()) == [
        "singling out, one column",
        "singling out, several columns",
        "linking two halves of the columns",
        "inferring sex",
        "inferring state",
    ]
    table = evaluate(comparison(*rows(100, 3), count=100))["table"]
    assert (table["risks"], table["risks_reason"]) == (None, "evaluation.risks is false")


def test_a_copy_tells_a_sensitive_value_and_the_label() -> None:
    copied = comparison(None, None, count=600).train
    for name, one in attacks(synthetic=copied.records, labels=copied.labels).items():
        if name.startswith("inferring"):
            assert one["attack"]["low"] > one["control"]["high"], name
            assert one["excess"]["low"] > 0.2, name


def test_the_same_seed_attacks_alike_and_another_differs() -> None:
    first, again, other = (json.dumps(attacks(seed=seed)) for seed in (0, 0, 1))
    assert first == again != other


@pytest.mark.parametrize(
    ("successes", "attempts", "low", "high"),
    [(0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0), (5, 10, 0.2366, 0.7634), (1, 1000, 0.000177, 0.005644)],
)
def test_intervals_are_wilsons(successes: int, attempts: int, low: float, high: float) -> None:
    found = Rate.of(successes, attempts)
    assert found.value == successes / attempts
    assert (found.low, found.high) == (pytest.approx(low, abs=1e-4), pytest.approx(high, abs=1e-4))


def test_excess_is_what_the_control_leaves() -> None:
    found = excess(Rate.of(75, 100), Rate.of(50, 100))
    assert found is not None
    assert found.value == pytest.approx(0.5)
    assert 0 < found.low < 0.5 < found.high < 1
    less = excess(Rate.of(10, 100), Rate.of(20, 100))
    assert less is not None
    assert (less.value, less.low) == (0.0, 0.0)
    assert excess(Rate.of(10, 10), Rate.of(10, 10)) is None


@pytest.mark.parametrize("conditions", [1, 3])
def test_predicates_single_out_one_synthetic_row_and_differ(conditions: int) -> None:
    values = rows_of(SCHEMA, *rows(200, 1), "rows").values
    found = predicates(SCHEMA, values, conditions, 50, np.random.default_rng(0))
    assert 0 < len(found) <= 50
    assert len(set(found)) == len(found)
    assert count_single(found, values) == len(found)
    assert all(len(predicate) == conditions for predicate in found)
    assert found == predicates(SCHEMA, values, conditions, 50, np.random.default_rng(0))


CODED = TableSchema(
    ("all",),
    (Category("category", "sex", ("f", "m"), ((), ())),),
    code_sets=(CodeSet("codes", "dx", ("p", "q"), 2), CodeSet("codes", "drugs", tuple("abcdefgh"), 8)),
)


def coded(count: int, seed: int) -> Rows:
    """Rows with drugs at random, so that hardly two are alike; few have p, one has q, and the last has no code."""
    rng = np.random.default_rng(seed)
    codes = np.concatenate((rng.random((count, 2)) < 0.1, rng.random((count, 8)) < 0.5), axis=1)
    codes[:, 1], codes[-1] = np.arange(count) == 3, False
    return Rows(rng.integers(2, size=(count, 1)).astype(np.float64), None, codes)


def test_predicates_speak_of_codes_that_a_row_has() -> None:
    drawn = coded(300, 0)
    (alone,) = predicates(CODED, drawn.with_codes, 1, 50, np.random.default_rng(0))
    assert alone == (Condition(2, "=", 1.0),)  # q, behind sex and p
    several = predicates(CODED, coded(20, 0).with_codes, 3, 50, np.random.default_rng(0))
    assert any(one.column > 2 for predicate in several for one in predicate)
    assert all(one.value == 1 for predicate in several for one in predicate if one.column > 0)
    assert count_single(several, coded(20, 0).with_codes) == len(several) > 0


def test_a_copy_of_codes_links_patients_and_tells_what_goes_with_them() -> None:
    train, test = coded(200, 1), coded(200, 2)
    found = {one["name"]: one for one in risks(replace(CODED, sensitive=("sex",)), train, train, test, 0)}
    inferred = found["inferring sex"]
    assert inferred["attack"]["low"] > inferred["control"]["high"]
    singled = found["singling out, one column"]
    assert (singled["attempts"], singled["attack"]["value"]) == (1, 1)
    linked = found["linking two halves of the columns"]
    assert linked["attempts"] == 200
    assert linked["attack"]["value"] > linked["control"]["value"]


def test_distances_of_code_sets_are_jaccards() -> None:
    first, second = np.array([[1, 1, 0], [0, 0, 0]], bool), np.array([[1, 0, 1], [0, 0, 0], [1, 1, 0]], bool)
    assert per_code_set(first, second) == pytest.approx(np.array([[2 / 3, 1, 0], [1, 0, 1]]))


def test_distances_are_gowers() -> None:
    number, category = Number("number", "x", 0, 100, optional=True), Category("category", "c", ("u", "v"), ((), ()))
    a, b = np.array([10.0, NAN]), np.array([10.0, 60.0, NAN])
    assert per_column(number, a, b).tolist() == [[0, 0.5, 1], [1, 1, 0]]
    a, b = np.array([0.0, NAN]), np.array([0.0, 1.0, NAN])
    assert per_column(category, a, b).tolist() == [[0, 1, 1], [1, 1, 0]]
