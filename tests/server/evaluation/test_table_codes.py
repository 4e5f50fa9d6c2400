"""Figures of codes: right where the answer is known, absent with a reason where there is none."""

import json
from dataclasses import replace
from typing import Any

import pytest
import torch

from silogan.common.errors import DataError
from silogan.server.evaluation.table_evaluation import evaluate
from silogan.server.evaluation.table_rows import rows_of
from tests.server.evaluation.tables import CODED, coded, coded_comparison, comparison, rows

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def good() -> dict[str, Any]:
    """Of rows like the real ones."""
    return evaluate(coded_comparison(*coded(4000, 3)))


def test_codes_like_the_real_ones_are_as_far_off_as_real_ones(good: dict[str, Any]) -> None:
    found = good["table"]["codes"]
    assert (found["samples"], found["test"]) == (4000, 4000)
    assert found["lift"]["pairs"] == 28
    assert found["lift"]["correlation"] > 0.9
    assert abs(found["lift"]["correlation"] - found["lift"]["floor"]) < 0.06
    off = found["frequencies"]
    assert off["mean"] < 2 * off["floor_mean"] + 0.005
    assert off["largest"] < 0.05
    assert abs(found["per_row"]["synthetic"] - found["per_row"]["test"]) < 0.1
    assert len(found["most_frequent"]) == 8
    test = coded(4000, 2)[0]["dx"].double().mean(dim=0)
    assert found["most_frequent"][0]["test"] == pytest.approx(float(test.max()))
    assert found["most_frequent"][0]["code"] == f"dx {'abcdefgh'[int(test.argmax())]}"
    json.dumps(good, allow_nan=False)


def test_codes_without_dependences_have_no_lift_to_compare(good: dict[str, Any]) -> None:
    found = evaluate(coded_comparison(*coded(4000, 3, chained=False), real_ceiling=False))["table"]["codes"]
    assert found["lift"]["correlation"] < 0.5 < found["lift"]["floor"]


def test_classifiers_learn_from_codes() -> None:
    stored, labels = coded(4000, 3)
    constant = {name: torch.zeros_like(column) for name, column in stored.items()}
    asked = coded_comparison({**constant, "dx": stored["dx"]}, labels, real_ceiling=False)
    (learnt,) = [one for one in evaluate(asked)["table"]["scores"] if one["learnt_from"] == "synthetic"]
    assert min(learnt[name]["auroc"] for name in ("logistic", "boosting")) > 0.65


def test_few_rows_have_a_reason() -> None:
    stored, labels = coded(4000, 3)
    none = {**stored, "dx": torch.zeros_like(stored["dx"])}
    found = evaluate(coded_comparison(none, labels, real_ceiling=False))["table"]["codes"]
    assert found["per_row"]["synthetic"] == 0
    assert found["lift"]["correlation"] is None
    assert "or all have one lift" in found["lift"]["reason"]


def test_too_many_codes_break_the_schema() -> None:
    stored, labels = coded(100, 3)
    asked = coded_comparison(stored, labels, real_ceiling=False)
    narrow = replace(CODED, code_sets=(replace(CODED.code_sets[0], most=2),))
    broken = evaluate(asked._replace(schema=narrow))
    many = int((stored["dx"].sum(dim=1) > 2).sum())
    assert broken["table"]["violations"]["by_rule"] == {"number of codes of dx": many}
    assert many > 10


def test_tables_without_codes_have_none_and_codes_that_are_missing_are_refused() -> None:
    assert evaluate(comparison(*rows(200, 3), real_ceiling=False))["table"]["codes"] is None
    stored, labels = rows(20, 3)
    with pytest.raises(DataError, match="have no column 'dx'"):
        rows_of(CODED, stored, labels, "synthetic rows")
