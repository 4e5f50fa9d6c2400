"""The statistics of one-run auditing: closed forms, directions, and how often the bound may be wrong."""

import math
from bisect import bisect_right

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from simulations.one_run import SHARES, best_bound, largest_bound, lower_bound, p_value


@pytest.mark.parametrize("guesses", [1, 10, 1000, 66_000, 150_000])
def test_all_guesses_correct_have_a_closed_form(guesses: int) -> None:
    p = 0.05 ** (1 / guesses)
    bound = lower_bound(canaries=200_000, guesses=guesses, correct=guesses, delta=0.0)
    assert bound == pytest.approx(max(0.0, math.log(p / (1 - p))), abs=1e-4)


def test_66_000_correct_guesses_are_what_an_epsilon_of_ten_needs() -> None:
    few, many = (lower_bound(canaries=n, guesses=n, correct=n, delta=0.0) for n in (65_000, 67_000))
    assert few < 10 < many


@pytest.mark.parametrize(
    ("guesses", "correct", "epsilon", "delta"),
    [(5, 4, 0.7, 0.01), (30, 25, 1.0, 1e-3), (12, 12, 2.0, 0.02), (7, 0, 1, 0)],
)
def test_p_value_is_that_of_the_article_s_loop(guesses: int, correct: int, epsilon: float, delta: float) -> None:
    """Appendix D of the article, term by term."""
    canaries, accuracy = 40, 1 / (1 + math.exp(-epsilon))

    def probability(value: int) -> float:
        return math.comb(guesses, value) * accuracy**value * (1 - accuracy) ** (guesses - value)

    alpha = total = 0.0
    for i in range(1, correct + 1):
        total += probability(correct - i)
        alpha = max(alpha, total / i)
    expected = min(1.0, sum(map(probability, range(correct, guesses + 1))) + 2 * canaries * delta * alpha)
    found = p_value(canaries=canaries, guesses=guesses, correct=correct, epsilon=epsilon, delta=delta)
    assert found == pytest.approx(expected, rel=1e-9)


@given(guesses=st.integers(1, 400), epsilon=st.floats(0, 6))
def test_randomised_response_is_seldom_above_its_own_bound(guesses: int, epsilon: float) -> None:
    """Exactly: the correct guesses of randomised response are binomial, so the chance of a wrong bound is a sum."""
    accuracy = 1 / (1 + math.exp(-epsilon))

    def bound(correct: int) -> float:
        return lower_bound(canaries=guesses, guesses=guesses, correct=correct, delta=0.0)

    fewest_wrong = bisect_right(range(guesses + 1), epsilon + 1e-5, key=bound)
    assert binom.sf(fewest_wrong - 1, guesses, accuracy) <= 0.05 + 1e-9


def test_best_of_all_bounds_of_randomised_response_is_right_and_near() -> None:
    """The whole procedure, with its many numbers of guesses, on answers that are (2, 0)-DP."""
    rng, epsilon, canaries = np.random.default_rng(5), 2.0, 500
    bounds: list[float] = []
    for _ in range(150):
        inserted = rng.random(canaries) < 0.5
        truthful = rng.random(canaries) < 1 / (1 + math.exp(-epsilon))
        answers = np.where(truthful, inserted, ~inserted) + 0.1 * rng.random(canaries)
        bounds.append(best_bound([answers], inserted, 0.0).epsilon)
    assert np.mean(np.array(bounds) > epsilon) <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 150)
    assert max(bounds) < epsilon + 0.6
    assert np.median(bounds) > epsilon - 0.9


@given(guesses=st.integers(1, 300), part=st.floats(0, 1), delta=st.sampled_from([0.0, 1e-6, 1e-4]))
def test_more_correct_guesses_never_lower_the_bound(guesses: int, part: float, delta: float) -> None:
    correct = min(guesses - 1, int(part * guesses))
    fewer, more = (
        lower_bound(canaries=1000, guesses=guesses, correct=count, delta=delta) for count in (correct, correct + 1)
    )
    assert fewer <= more + 1e-5


@given(guesses=st.integers(2, 300), delta=st.floats(1e-7, 1e-4))
def test_delta_lowers_the_bound(guesses: int, delta: float) -> None:
    pure, with_delta = (lower_bound(canaries=1000, guesses=guesses, correct=guesses - 1, delta=d) for d in (0.0, delta))
    assert with_delta <= pure + 1e-5


def test_the_parts_of_the_error_are_all_there_is_to_spend() -> None:
    assert sum(part for _, part in SHARES) == pytest.approx(1)
    assert all(0 < share < 1 for share, _ in SHARES)


def test_scores_that_tell_everything_reach_the_largest_bound_and_chance_none() -> None:
    rng = np.random.default_rng(1)
    inserted = rng.random(2000) < 0.5
    sure = best_bound([inserted.astype(np.float64)], inserted, 1e-6)
    assert sure.correct == sure.guesses
    assert sure.epsilon == pytest.approx(largest_bound(2000, 1e-6))
    assert best_bound([rng.random(2000)], inserted, 1e-6).epsilon < 0.5
    with_chance = best_bound([rng.random(2000), inserted.astype(np.float64)], inserted, 1e-6)
    assert sure.epsilon - 0.3 < with_chance.epsilon < sure.epsilon


def test_no_guess_shows_nothing() -> None:
    assert lower_bound(canaries=100, guesses=0, correct=0, delta=0.0) == 0
