"""What a report says of a critic: both runs side by side, and the one to use, by what was measured."""

import copy
from typing import Any

import pytest

from silogan.server.report.refinement import MARGIN, compare
from silogan.server.report.report import render_html
from tests.pages import Page
from tests.server.report.test_report import EVENTS, PNG, REPORT


def measured(logistic: float | None, boosting: float | None, pairs: float = 0.2) -> dict[str, Any]:
    scores = [{"learnt_from": "real"}, {"learnt_from": "synthetic", "logistic": {"auroc": logistic}}]
    scores[1]["boosting"] = {"auroc": boosting}
    return {"table": {"scores": scores, "distances": {"one_way": {"mean": 0.125}, "two_way": {"mean": pairs}}}}


@pytest.mark.parametrize(
    ("gain", "use", "words"),
    [
        (0.03, "with", "Use it with the critic: AUROC is higher by 0.030."),
        (0.004, "without", "Use the release alone, without training.refine: AUROC with the critic differs by +0.004"),
        (-0.004, "without", "differs by -0.004, no more than another seed may change it."),
        (-0.03, "without", "AUROC is lower by 0.030 with the critic."),
    ],
)
def test_the_better_one_is_to_be_used_and_the_simpler_one_where_they_tie(gain: float, use: str, words: str) -> None:
    assert 0.004 < MARGIN < 0.03
    found = compare(measured(0.8 + 2 * gain, 0.75), measured(0.8, 0.75))
    assert found["use"] == use
    assert words in found["advice"]
    assert found["control"] == {"logistic": 0.8, "boosting": 0.75, "one_way": 0.125, "two_way": 0.2}


def test_without_a_control_nothing_is_advised() -> None:
    for refined, control in ((measured(0.8, 0.7), None), ({"utility": {}}, measured(0.8, 0.7))):
        found = compare(refined, control)
        assert found["use"] is None
        assert "No control was measured" in found["advice"]


def test_a_classifier_that_was_not_measured_in_both_does_not_count() -> None:
    assert compare(measured(0.9, None), measured(0.8, 0.9))["use"] == "with"
    assert compare(measured(None, None), measured(0.8, 0.9))["use"] is None


def of_images(accuracy: float | None, auroc: float | None = None) -> dict[str, Any]:
    utility = {"accuracy_synthetic": accuracy, "accuracy_relabelled": accuracy}
    return {"utility": utility if auroc is None else {**utility, "auroc_synthetic": auroc}}


def test_images_are_compared_by_auroc_where_there_are_two_classes_and_else_by_accuracy() -> None:
    found = compare(of_images(0.93), of_images(0.9))
    assert (found["use"], found["advice"]) == ("with", "Use it with the critic: accuracy is higher by 0.030.")
    found = compare(of_images(0.93, 0.8), of_images(0.9, 0.85))
    assert found["use"] == "without"
    assert "AUROC is lower by 0.050 with the critic" in found["advice"]
    assert compare(of_images(None), of_images(0.9))["use"] is None
    text = page(found)
    assert "AUROC of a network that learnt from synthetic images 0.8 0.85" in text
    assert "Distance" not in text


def page(refinement: dict[str, Any] | None) -> str:
    return Page(render_html({**copy.deepcopy(REPORT), "refinement": refinement}, EVENTS, PNG)).text


def test_the_page_shows_both_side_by_side() -> None:
    text = page(compare(measured(0.9123, 0.8), measured(0.8456, 0.75, pairs=0.1875)))
    assert "Was the critic worth its share? Use it with the critic: AUROC is higher by 0.058." in text
    assert "AUROC, logistic regression 0.912 0.846" in text
    assert "Distance of pairs of columns 0.2 0.188" in text


def test_the_page_says_where_there_was_no_control_and_nothing_of_other_runs() -> None:
    text = page(compare(measured(0.9, 0.8), None))
    assert "No control was measured: nothing here says" in text
    assert "Distance of pairs" not in text
    assert "Was the critic worth" not in page(None)
