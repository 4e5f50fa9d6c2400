"""Attacks: rates with their intervals, predicates, distances, and what a copy gives away."""

import json
from typing import Any

import numpy as np
import pytest

from silogan.common.modality.table import Category, Number
from silogan.server.evaluation.risks import Rate, excess
from silogan.server.evaluation.row_distances import per_column
from silogan.server.evaluation.singling_out import count_single, predicates
from silogan.server.evaluation.table_evaluation import evaluate
from silogan.server.evaluation.table_rows import rows_of
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


def test_distances_are_gowers() -> None:
    number, category = Number("number", "x", 0, 100, optional=True), Category("category", "c", ("u", "v"), ((), ()))
    a, b = np.array([10.0, NAN]), np.array([10.0, 60.0, NAN])
    assert per_column(number, a, b).tolist() == [[0, 0.5, 1], [1, 1, 0]]
    a, b = np.array([0.0, NAN]), np.array([0.0, 1.0, NAN])
    assert per_column(category, a, b).tolist() == [[0, 1, 1], [1, 1, 0]]
