"""The ROC curve: known areas, ties, sure finds, and intervals."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from silogan.simulations.attacks.roc import area_under_curve, bootstrap, true_positive_rate

RNG = np.random.default_rng(0)
MEMBERS = RNG.random(500) < 0.4
SCORES = np.round(RNG.normal(size=500) + MEMBERS, 1)  # with ties


def test_area_is_that_of_scikit_learn() -> None:
    assert area_under_curve(SCORES, MEMBERS) == pytest.approx(roc_auc_score(MEMBERS, SCORES))


def test_true_positive_rate_allows_no_more_false_positives_than_it_says() -> None:
    others, members = np.arange(200.0), np.array([196.5, 197.5, 198.5, 300.0])
    scores, flags = np.concatenate((members, others)), np.arange(204) < 4
    # 1 % of 200 are the two at 198 and 199
    assert true_positive_rate(scores, flags) == 0.75
    assert true_positive_rate(scores, flags, 0.0) == 0.25
    assert true_positive_rate(np.zeros(204), flags) == 0


def test_interval_covers_the_figure_and_shrinks_with_more_scores() -> None:
    few = bootstrap(area_under_curve, SCORES, MEMBERS)
    many = bootstrap(area_under_curve, np.tile(SCORES, 9), np.tile(MEMBERS, 9))
    assert few.low < few.value < few.high
    assert few.value == pytest.approx(many.value)
    assert (few.high - few.low) / (many.high - many.low) == pytest.approx(3, rel=0.2)
    # the standard error of an area by Hanley and McNeil (1982) is about 0.02 here
    assert 0.05 < few.high - few.low < 0.12
