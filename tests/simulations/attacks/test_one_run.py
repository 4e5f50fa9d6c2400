"""The statistics of one-run auditing: against other computations, and how often the bound may be wrong."""

import math
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.optimize import linprog

from silogan.simulations.attacks.one_run import SHARES, best_bound, largest_bound, lower_bound, refuted
from silogan.simulations.attacks.tradeoff import Curve, Gaussians, gaussian_curve, plan_curve

GAUSSIANS = Gaussians()
NORMAL = NormalDist()


def approximate(epsilon: float, delta: float) -> Curve:
    """The curve of all (ε, δ)-private mechanisms: f̄(x) = min(e^ε x + δ, 1 - e^-ε (1 - δ - x))."""
    return plan_curve(np.array([-epsilon, epsilon]), np.array([1 - math.exp(-epsilon) * (1 - delta), delta]))


def most_probable(epsilon: float, delta: float, canaries: int, guesses: int, correct: int) -> float:
    """The largest Σ_{j≥c} p_j that theorem 3.1 leaves, by linear programming: its constraints, term by term."""
    rows: list[NDArray[np.float64]] = []
    limits: list[float] = []
    count = np.arange(guesses + 1)
    for i in range(guesses):
        right = np.where(count > i, count, 0) / canaries
        wrong = np.where(count >= i, guesses - count, 0) / canaries
        rows += [right - math.exp(epsilon) * wrong, right - math.exp(-epsilon) * wrong]
        limits += [delta, 1 - math.exp(-epsilon) * (1 - delta)]
    found = linprog(
        -(count >= correct).astype(float), A_ub=np.array(rows), b_ub=limits, A_eq=np.ones((1, guesses + 1)), b_eq=[1]
    )
    assert found.status == 0
    return -float(found.fun)


@pytest.mark.parametrize(
    ("epsilon", "delta", "canaries", "guesses", "correct"),
    [(0.7, 0.01, 40, 5, 4), (1, 1e-3, 60, 30, 25), (2, 0.02, 30, 12, 12), (1.5, 0, 20, 20, 17), (0, 0.05, 9, 9, 9)],
)
def test_threshold_is_that_of_a_linear_programme(
    epsilon: float, delta: float, canaries: int, guesses: int, correct: int
) -> None:
    most = most_probable(epsilon, delta, canaries, guesses, correct)
    curve = approximate(epsilon, delta)
    assert 0 < most < 1
    assert not refuted(curve, canaries=canaries, guesses=guesses, correct=correct, probability=most * 0.9999)
    assert refuted(curve, canaries=canaries, guesses=guesses, correct=correct, probability=most * 1.0001)


def algorithm_3(mu: float, canaries: int, guesses: int, correct: int, tau: float) -> bool:
    """Algorithm 3 of the article in its own terms, r and h, with the normal distribution of the standard library."""
    r, h = tau * correct / canaries, tau * (guesses - correct) / canaries
    for i in range(correct - 1, -1, -1):
        raised = max(h, NORMAL.cdf(NORMAL.inv_cdf(r) - mu))
        r, h = r + i / (guesses - i) * (raised - h), raised
        if r + h >= guesses / canaries:  # both only grow
            return True
    return False


@pytest.mark.parametrize(
    ("canaries", "guesses", "correct"),
    [(100, 100, 80), (500, 40, 38), (1000, 1000, 700), (2000, 30, 30), (5000, 400, 390), (300, 50, 26)],
)
@pytest.mark.parametrize("tau", [0.05, 0.0075])
def test_gaussian_bound_is_that_of_the_article_s_algorithm(
    canaries: int, guesses: int, correct: int, tau: float
) -> None:
    found = lower_bound(GAUSSIANS, canaries=canaries, guesses=guesses, correct=correct, probability=tau)
    low, high = 1e-6, 20.0
    while high - low > 1e-6:
        middle = (low + high) / 2
        low, high = (middle, high) if algorithm_3(middle, canaries, guesses, correct, tau) else (low, middle)
    assert found <= low + 1e-6
    assert found == pytest.approx(low, rel=2e-3, abs=0.01)


def test_golden_values() -> None:
    """Figures of an audit of 300,000 canaries, as the article's own algorithm gives them."""
    found = lower_bound(GAUSSIANS, canaries=300_000, guesses=4500, correct=4480, probability=0.035)
    assert found == pytest.approx(1.2939, abs=0.002)
    assert algorithm_3(1.292, 300_000, 4500, 4480, 0.035)
    assert not algorithm_3(1.296, 300_000, 4500, 4480, 0.035)


@pytest.mark.parametrize(("delta", "possible"), [(0.06, True), (0.0499, False)])
def test_mechanism_that_seldom_tells_all_sets_the_limit(delta: float, possible: bool) -> None:
    """With probability δ it tells everything, else nothing: all guesses are right that often, and (0, δ) holds."""
    told = refuted(approximate(0.0, delta), canaries=200, guesses=200, correct=200, probability=0.05)
    assert told is not possible


@given(mu=st.floats(0.05, 3), guesses=st.integers(1, 60), rest=st.integers(0, 60))
def test_tail_of_independent_gaussian_answers_is_never_refuted(mu: float, guesses: int, rest: int) -> None:
    """Exactly: where each canary has an answer of its own, right with probability Φ(μ/2), correct ones are binomial."""
    canaries = guesses  # no abstention: those who abstain only loosen the bound
    right = NORMAL.cdf(mu / 2)
    tail = 0.0
    for count in range(guesses, max(0, guesses - rest) - 1, -1):
        tail += math.comb(guesses, count) * right**count * (1 - right) ** (guesses - count)
        if tail > 1e-12:
            assert not refuted(
                gaussian_curve(mu), canaries=canaries, guesses=guesses, correct=count, probability=min(tail, 0.999999)
            )


def test_bound_of_a_gaussian_mechanism_is_right_and_near() -> None:
    """The whole procedure on the best answers that μ allows: seldom above μ, and how far below."""
    rng, mu, canaries = np.random.default_rng(5), 1.5, 2000
    found: list[float] = []
    for _ in range(200):
        inserted = rng.random(canaries) < 0.5
        found.append(best_bound([rng.standard_normal(canaries) + mu * inserted], inserted, GAUSSIANS).strength)
    assert np.mean(np.array(found) > mu) <= 0.05
    assert np.median(found) > 0.55 * mu
    strong = rng.standard_normal(100_000) + mu * (flags := rng.random(100_000) < 0.5)
    assert 0.7 * mu < best_bound([strong], flags, GAUSSIANS).strength < mu


def test_bound_is_right_for_a_mechanism_that_sometimes_tells_all() -> None:
    """All canaries share one draw of whether they are told: one fifth of the runs would refute a binomial bound."""
    rng, canaries, told = np.random.default_rng(6), 400, 0
    curve = approximate(1.5, 0.2)  # telling all with probability δ is (ε, δ)-private for any ε
    for _ in range(100):
        tells = rng.random() < 0.2
        right = rng.random(canaries) < (0.999 if tells else 0.5)
        told += tells
        correct = int(right.sum())
        assert not refuted(curve, canaries=canaries, guesses=canaries, correct=correct, probability=0.05)
    assert told > 10


@pytest.mark.parametrize(("noise", "caught"), [(1.0, 0.0), (0.5, 1.0), (0.4, 1.0)])
def test_power_at_the_size_of_a_quick_audit(noise: float, caught: float) -> None:
    rng, mu = np.random.default_rng(7), 1.7254
    verdicts: list[bool] = []
    for _ in range(20):
        inserted = rng.random(40_000) < 0.5
        score = rng.standard_normal(40_000) + mu / noise * inserted
        verdicts.append(best_bound([score], inserted, GAUSSIANS).strength > mu)
    assert np.mean(verdicts) == caught


@given(guesses=st.integers(1, 300), part=st.floats(0, 1), probability=st.sampled_from([0.05, 0.01]))
def test_more_correct_guesses_never_lower_the_bound(guesses: int, part: float, probability: float) -> None:
    correct = min(guesses - 1, int(part * guesses))
    fewer, more = (
        lower_bound(GAUSSIANS, canaries=1000, guesses=guesses, correct=count, probability=probability)
        for count in (correct, correct + 1)
    )
    assert fewer <= more


@given(guesses=st.integers(2, 300), wrong=st.integers(0, 20), probability=st.floats(0.001, 0.1))
def test_more_confidence_never_raises_the_bound(guesses: int, wrong: int, probability: float) -> None:
    correct = max(0, guesses - wrong)
    surer, less_sure = (
        lower_bound(GAUSSIANS, canaries=1000, guesses=guesses, correct=correct, probability=tau)
        for tau in (probability / 2, probability)
    )
    assert surer <= less_sure


def test_the_parts_of_the_error_are_all_there_is_to_spend() -> None:
    assert sum(part for _, part in SHARES) == pytest.approx(1)
    assert all(0 < share < 1 for share, _ in SHARES)


def test_scores_that_tell_everything_reach_the_largest_bound_and_chance_none() -> None:
    rng = np.random.default_rng(1)
    inserted = rng.random(2000) < 0.5
    sure = best_bound([inserted.astype(np.float64)], inserted, GAUSSIANS)
    assert sure.correct == sure.guesses
    assert sure.strength == pytest.approx(largest_bound(2000, GAUSSIANS))
    assert best_bound([rng.random(2000)], inserted, GAUSSIANS).strength < 0.2
    with_chance = best_bound([rng.random(2000), inserted.astype(np.float64)], inserted, GAUSSIANS)
    assert sure.strength - 0.3 < with_chance.strength < sure.strength


def test_no_guess_shows_nothing() -> None:
    assert lower_bound(GAUSSIANS, canaries=100, guesses=0, correct=0, probability=0.05) == 0
