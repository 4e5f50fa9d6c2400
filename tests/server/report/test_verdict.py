"""Verdicts: the worst of what was measured decides, and nothing measured is said to be so."""

from typing import Any

import pytest

from silogan.server.report.verdict import Verdict, Word


def report(**changes: Any) -> dict[str, Any]:
    """A report of a run whose images are usable."""
    utility = {"accuracy_synthetic": 0.9, "accuracy_real": 0.95, "per_class_recall_synthetic": [0.8, 0.9, None]}
    found = {"private": True, "classes": ["a", "b", "c"], "utility": utility, "fidelity": {"coverage": 0.6}}
    return {**found, "utility_reason": None, "fidelity_reason": None, **changes}


def with_utility(**changes: Any) -> dict[str, Any]:
    return report(utility={**report()["utility"], **changes})


@pytest.mark.parametrize(
    ("found", "word"),
    [
        (report(), Word.usable),
        (report(fidelity=None), Word.usable),
        (with_utility(accuracy_synthetic=0.88), Word.weak),  # (0.88 - 1/3) / (0.95 - 1/3) = 0.886
        (with_utility(accuracy_synthetic=0.889), Word.usable),  # 0.901
        (with_utility(accuracy_synthetic=0.6), Word.failed),  # 0.43
        (with_utility(accuracy_synthetic=0.3), Word.failed),  # worse than chance
        (with_utility(per_class_recall_synthetic=[0.4, 0.9, 0.9]), Word.weak),
        (with_utility(per_class_recall_synthetic=[0.0, 0.9, 0.9]), Word.failed),
        (report(fidelity={"coverage": 0.2}), Word.weak),
        (report(fidelity={"coverage": 0.01}), Word.failed),
        (report(private=False), Word.failed),
        (report(configuration={"model": {"draws": False}}), Word.failed),
        (with_utility(auroc_synthetic=0.6, auroc_real=0.95), Word.failed),  # of two classes AUROC counts
        (with_utility(auroc_synthetic=0.93, auroc_real=0.95, accuracy_synthetic=0.1), Word.usable),
        (with_utility(dice_synthetic=0.88, dice_real=0.9, dice_blind=0.5), Word.usable),  # (0.88 - 0.5) / 0.4 = 0.95
        (with_utility(dice_synthetic=0.8, dice_real=0.9, dice_blind=0.5), Word.weak),
        (with_utility(dice_synthetic=0.6, dice_real=0.9, dice_blind=0.5), Word.failed),
        (with_utility(dice_synthetic=0.88, dice_real=0.9, dice_blind=None), Word.usable),  # no mask to learn from
        (with_utility(dice_synthetic=0.1, dice_real=None, dice_blind=0.5), Word.usable),  # no reference
        (with_utility(dice_synthetic=None, dice_real=None, dice_blind=None), Word.usable),
        (report(utility={}, fidelity=None, utility_reason="evaluation.enabled is false"), Word.unmeasured),
        (with_utility(accuracy_real=None, per_class_recall_synthetic=None) | {"fidelity": None}, Word.unmeasured),
        (report(utility={"accuracy_synthetic": 0.5, "accuracy_real": 0.2}, fidelity=None), Word.unmeasured),
    ],
)
def test_the_worst_figure_decides(found: dict[str, Any], word: Word) -> None:
    assert Verdict.of(found).word == word


def test_reasons_give_figure_and_threshold() -> None:
    verdict = Verdict.of(report())
    assert verdict.reasons == (
        "92 % of what real records teach beyond chance (accuracy 0.900, real 0.950), usable from 90 %",
        "the class found least is found in 80 % of cases, usable from 50 %",
        "60 % of real images have a synthetic one nearby, usable from 30 %",
    )
    assert str(verdict).startswith("usable: 92 % of")


def test_what_was_not_measured_says_why() -> None:
    found = report(utility={}, fidelity=None, utility_reason="evaluation.enabled is false")
    assert str(Verdict.of(found)) == "unmeasured: not compared with real records: evaluation.enabled is false"
