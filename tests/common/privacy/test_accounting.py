"""What steps cost, held against closed forms, a second library and published values."""

import math
import time
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from dp_accounting import GaussianDpEvent, PoissonSampledDpEvent, get_epsilon_gaussian
from dp_accounting.pld import PLDAccountant
from dp_accounting.rdp import RdpAccountant
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq
from scipy.special import logsumexp
from scipy.stats import norm

from silogan.common.bounds import LEAST_NOISE, LEAST_SAMPLE_RATE, MOST_NOISE, MOST_STEPS
from silogan.common.errors import ConfigError
from silogan.common.privacy.accounting import (
    _ORDERS,
    PRV_EPSILON_ERROR,
    Mechanism,
    _rdp_curve,
    epsilon,
    epsilon_filtered,
    epsilon_of_information,
    epsilon_pld,
    epsilon_rdp,
    filter_order,
    find_noise_multiplier,
    information,
    merge,
)

DELTA = 1e-5
ERROR = 2 * PRV_EPSILON_ERROR  # PRV's stated error
Account = Callable[[list[Mechanism], float], float]
GRID = [
    Mechanism(1.0, 0.02, 50),
    Mechanism(4.0, 0.3, 200),
    Mechanism(2.0, 1.0, 10),
]


def one_step(sigma: float, q: float, delta: float) -> float:
    """Exact ε of one Poisson-subsampled Gaussian: the larger hockey-stick root of removing and of adding a unit.

    P = (1 - q)·N(0, σ²) + q·N(1, σ²) against Q = N(0, σ²); P/Q = 1 - q + q·exp((2x - 1)/2σ²) grows with x, so that the
    supremum over events is attained on a half line.
    """

    def where(ratio: float) -> float:
        return sigma**2 * math.log((ratio - 1 + q) / q) + 0.5

    def p_above(x: float) -> float:
        return (1 - q) * norm.sf(x / sigma) + q * norm.sf((x - 1) / sigma)

    def removing(eps: float) -> float:
        x = where(math.exp(eps))
        return p_above(x) - math.exp(eps) * norm.sf(x / sigma)

    def adding(eps: float) -> float:
        if math.exp(-eps) <= 1 - q:
            return 0.0
        x = where(math.exp(-eps))
        return norm.cdf(x / sigma) - math.exp(eps) * (1 - p_above(x))

    return brentq(lambda eps: max(removing(eps), adding(eps)) - delta, 0, 50)


@pytest.mark.parametrize("mechanism", GRID, ids=str)
def test_two_libraries_agree_within_their_errors_and_renyi_lies_above(mechanism: Mechanism) -> None:
    prv, pld, rdp = (account([mechanism], DELTA) for account in (epsilon, epsilon_pld, epsilon_rdp))
    assert prv == pytest.approx(pld, abs=ERROR)
    assert max(prv, pld) < rdp < 1.5 * prv


def test_the_published_value_is_reproduced() -> None:
    """T = 5000, q = 0.01, σ = 1, δ = 1e-5: 4.20 with tight accounting, 4.59 with Rényi accounting at its best order.

    Ours takes a bound between whole orders.
    """
    steps = [Mechanism(1.0, 0.01, 5000)]
    assert epsilon_pld(steps, 1e-5) == pytest.approx(4.20, abs=0.005)
    assert epsilon(steps, 1e-5) == pytest.approx(4.20, abs=ERROR)
    assert 4.59 < epsilon_rdp(steps, 1e-5) < 4.60


@pytest.mark.parametrize(("sigma", "q"), [(0.6, 0.5), (0.5, 0.01)])
def test_one_step_costs_what_the_closed_form_says(sigma: float, q: float) -> None:
    exact = one_step(sigma, q, DELTA)
    assert -1e-6 < epsilon([Mechanism(sigma, q, 1)], DELTA) - exact < ERROR
    assert -1e-6 < epsilon_pld([Mechanism(sigma, q, 1)], DELTA, discretization=1e-3) - exact < 1e-3


@pytest.mark.parametrize(("sigma", "steps", "delta"), [(1.0, 1, 1e-5), (3.0, 9, 1e-5), (10.0, 40, 1e-7)])
def test_with_everybody_in_every_batch_it_is_the_plain_gaussian(sigma: float, steps: int, delta: float) -> None:
    """Balle and Wang (2018): T Gaussians of noise σ are one of σ/√T."""
    exact = get_epsilon_gaussian(sigma / math.sqrt(steps), delta)
    mechanism = [Mechanism(sigma, 1.0, steps)]
    assert -1e-6 < epsilon(mechanism, delta) - exact < ERROR
    assert -1e-6 < epsilon_pld(mechanism, delta) - exact < 2e-3
    assert epsilon_rdp(mechanism, delta) > exact


def test_order_and_division_into_runs_do_not_matter() -> None:
    a, b = Mechanism(1.5, 0.1, 20), Mechanism(2.0, 1.0, 4)
    whole = epsilon([a, b], DELTA)
    assert epsilon([b, a], DELTA) == whole
    parts = [Mechanism(1.5, 0.1, 5), b, Mechanism(1.5, 0.1, 0), Mechanism(1.5, 0.1, 15)]
    assert epsilon(parts, DELTA) == whole
    assert epsilon_rdp(parts, DELTA) == epsilon_rdp([a, b], DELTA)
    unmerged = PLDAccountant(value_discretization_interval=1e-3)
    for part in (parts[3], parts[1], parts[0]):
        unmerged.compose(PoissonSampledDpEvent(part.sample_rate, GaussianDpEvent(part.noise_multiplier)), part.steps)
    assert epsilon_pld(parts, DELTA, discretization=1e-3) == pytest.approx(unmerged.get_epsilon(DELTA), abs=2e-3)
    assert whole == pytest.approx(unmerged.get_epsilon(DELTA), abs=ERROR)


def test_composition_costs_more_than_either_part_and_less_than_their_sum() -> None:
    a, b = Mechanism(1.5, 0.1, 20), Mechanism(2.0, 1.0, 4)
    alone = epsilon([a], DELTA), epsilon([b], DELTA)
    assert max(alone) < epsilon([a, b], DELTA) < sum(alone)


@pytest.mark.parametrize("account", [epsilon, epsilon_rdp, epsilon_pld])
def test_mechanisms_that_hardly_differ_cost_as_if_they_were_one(account: Account) -> None:
    """They are not merged, so that the accountant itself composes them."""
    apart = account([Mechanism(2.0, 1.0, 4), Mechanism(2.00001, 1.0, 4)], DELTA)
    assert apart == pytest.approx(account([Mechanism(2.0, 1.0, 8)], DELTA), abs=2e-3)


def test_merge_joins_equals_drops_nothings_and_sorts() -> None:
    parts = [Mechanism(2.0, 0.1, 3), Mechanism(1.0, 0.5, 1), Mechanism(2.0, 0.1, 4), Mechanism(9.0, 0.1, 0)]
    assert merge(parts) == (Mechanism(1.0, 0.5, 1), Mechanism(2.0, 0.1, 7))
    assert merge([]) == ()


@pytest.mark.parametrize("account", [epsilon, epsilon_rdp])
def test_more_steps_larger_batches_and_less_noise_cost_more(account: Account) -> None:
    base = account([Mechanism(1.2, 0.1, 20)], DELTA)
    assert account([Mechanism(1.2, 0.1, 30)], DELTA) > base
    assert account([Mechanism(1.2, 0.15, 20)], DELTA) > base
    assert account([Mechanism(1.0, 0.1, 20)], DELTA) > base
    assert account([Mechanism(1.2, 0.1, 20)], DELTA / 10) > base


@pytest.mark.parametrize("account", [epsilon, epsilon_rdp, epsilon_pld])
@pytest.mark.parametrize("nothing", [[], [Mechanism(1.0, 0.1, 0)]], ids=["no mechanism", "no steps"])
def test_nothing_costs_nothing(account: Account, nothing: list[Mechanism]) -> None:
    assert account(nothing, DELTA) == 0.0


def test_no_cost_is_negative() -> None:
    """δ = 0.5 alone pays for more than one such step."""
    for account in (epsilon, epsilon_rdp, epsilon_pld):
        assert account([Mechanism(2.0, 0.01, 1)], 0.5) == 0.0


def test_where_prv_has_no_digits_left_renyi_bounds_the_cost() -> None:
    steps = [Mechanism(1.0, 0.1, 10)]
    assert epsilon(steps, 1e-30) == epsilon_rdp(steps, 1e-30) > epsilon(steps, 1e-12) > 0


def test_a_meaningless_cost_is_still_bounded() -> None:
    steps = [Mechanism(0.05, 0.1, 1000)]
    assert epsilon(steps, DELTA) == epsilon_rdp(steps, DELTA) > 1000


@pytest.mark.parametrize(
    ("target", "delta", "q", "steps"), [(3.0, 1e-5, 1.0, 5), (10.0, 1e-4, 0.5, 5), (0.5, 1e-6, 1.0, 100)]
)
def test_the_noise_found_is_enough_and_hardly_more(target: float, delta: float, q: float, steps: int) -> None:
    sigma = find_noise_multiplier(target, delta, q, steps)
    assert sigma == float(f"{sigma:.4g}")
    assert epsilon([Mechanism(sigma, q, steps)], delta) <= target
    assert epsilon([Mechanism(sigma * 0.995, q, steps)], delta) > target


def test_the_noise_for_full_batches_is_that_of_the_plain_gaussian() -> None:
    sigma = find_noise_multiplier(3.0, 1e-5, 1.0, 5)
    assert get_epsilon_gaussian(sigma / math.sqrt(5), 1e-5) == pytest.approx(3.0, abs=ERROR)


def test_a_budget_that_no_noise_can_keep_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"privacy\.epsilon: no noise_multiplier reaches ε = 1e-06"):
        find_noise_multiplier(1e-6, 1e-5, 1.0, 5)


# --- Rényi: whole orders, the bound between them, and the filter ------------------------------------------------------

STEPS = [(0.6, 0.5), (1.0, 0.1), (1.0, 1e-3), (5.0, 0.18), (30.0, 0.02), (2.0, 1.0)]


@pytest.mark.parametrize(("sigma", "q"), STEPS)
def test_renyi_is_what_another_library_finds_at_whole_orders_and_an_upper_bound_between(sigma: float, q: float) -> None:
    theirs = RdpAccountant(orders=_ORDERS.tolist())
    theirs.compose(PoissonSampledDpEvent(q, GaussianDpEvent(sigma)))
    ours = _rdp_curve(sigma, q)
    whole = np.equal(np.mod(_ORDERS, 1), 0) & (_ORDERS <= 256)
    np.testing.assert_allclose(ours[whole], np.asarray(theirs._rdp)[whole], rtol=1e-6)
    between = ~whole & (_ORDERS < 12)
    exact = np.array([integrated(sigma, q, order) for order in _ORDERS[between]])
    assert (ours[between] >= exact * (1 - 1e-6)).all()


def integrated(sigma: float, q: float, order: float) -> float:
    """The Rényi divergence of a step by numerical integration of its definition."""
    z = np.linspace(-15 * sigma, 15 * sigma + 2 * order, 200_001)
    ratio = np.logaddexp(math.log(1 - q) if q < 1 else -math.inf, math.log(q) + (2 * z - 1) / (2 * sigma**2))
    return logsumexp(order * ratio + norm.logpdf(z, scale=sigma) + math.log(z[1] - z[0])) / (order - 1)


@pytest.mark.parametrize("delta", [1e-3, 1e-5, 1e-9])
@pytest.mark.parametrize("budget", [0.1, 1.0, 3.0, 10.0, 30.0])
def test_the_filter_s_order_admits_the_most_of_a_gaussian(budget: float, delta: float) -> None:
    def admitted(order: int) -> float:
        """Largest 1/σ² that (α, α/2σ²)-RDP allows."""
        left = budget - math.log1p(-1 / order) + (math.log(delta) + math.log(order)) / (order - 1)
        return 2 * left / order

    best = max(map(admitted, range(2, 5000)))
    chosen = admitted(filter_order(budget, delta))
    assert 0.97 * best <= chosen <= best


@pytest.mark.parametrize("budget", [1.0, 3.0, 10.0])
def test_the_filter_costs_less_than_a_tenth_more_noise(budget: float) -> None:
    """Five equal studies; the table in the docstring of `silogan.client.ledger.ledger.charged_epsilon`."""
    order, five = filter_order(budget, 1e-5), 5 * 500
    exact = find_noise_multiplier(budget, 1e-5, 0.1, five)
    assert epsilon_filtered([Mechanism(exact, 0.1, five)], 1e-5, order) > budget
    assert epsilon_filtered([Mechanism(1.08 * exact, 0.1, five)], 1e-5, order) <= budget


@given(
    st.lists(
        st.builds(Mechanism, st.floats(0.7, 50.0), st.sampled_from([0.01, 0.1, 1.0]), st.integers(1, 50)), max_size=3
    ),
    st.sampled_from([1.0, 8.0]),
)
@settings(max_examples=30)
def test_the_filter_is_an_upper_bound_and_adds_up(mechanisms: list[Mechanism], budget: float) -> None:
    order = filter_order(budget, DELTA)
    cost = epsilon_filtered(mechanisms, DELTA, order)
    assert cost >= epsilon_rdp(mechanisms, DELTA)
    assert cost >= epsilon(mechanisms, DELTA)
    more = [*mechanisms, Mechanism(2.0, 0.1, 3)]
    assert epsilon_filtered(more, DELTA, order) > cost or cost == 0.0
    assert epsilon_filtered([], DELTA, order) == 0.0


# --- whatever the numbers are ----------------------------------------------------------------------------------------

sigmas, rates = st.floats(LEAST_NOISE, MOST_NOISE), st.floats(LEAST_SAMPLE_RATE, 1.0) | st.sampled_from([0.5, 1.0])
wide = st.floats(-6.0, 0.0).map(lambda exponent: 10.0**exponent)


@given(sigmas | st.floats(0.2, 30.0), rates | wide, st.integers(1, MOST_STEPS), st.floats(1e-15, 0.9) | wide)
@settings(max_examples=60)
def test_no_mechanism_takes_long_or_much_and_all_have_a_bound(sigma: float, q: float, steps: int, delta: float) -> None:
    began = time.process_time()
    cost = epsilon([Mechanism(sigma, q, steps)], delta)
    assert 0 <= cost <= epsilon_rdp([Mechanism(sigma, q, steps)], delta) < math.inf
    assert time.process_time() - began < 2


@given(st.floats(1e-3, 1e4), rates | wide, st.integers(1, MOST_STEPS), st.floats(1e-15, 0.9) | wide, st.booleans())
@settings(max_examples=40)
def test_finding_noise_never_takes_long_or_much(
    target: float, q: float, steps: int, delta: float, warm_start: bool
) -> None:
    began = time.process_time()
    tracemalloc.start()
    beside = (Mechanism(3.0, 1.0, 1),) if warm_start else ()
    try:
        sigma = find_noise_multiplier(target, delta, q, steps, beside)
    except ConfigError:  # no noise is enough, or the warm start alone is too much
        sigma = None
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert time.process_time() - began < 2 * 3  # what the watch of the memory costs besides
    assert most < 200e6
    if sigma is not None:
        assert epsilon([*beside, Mechanism(sigma, q, steps)], delta) <= target


@pytest.mark.parametrize(
    "values",
    [
        *((0.0, 0.1, 1), (-1.0, 0.1, 1), (math.nan, 0.1, 1), (math.inf, 0.1, 1), ("1", 0.1, 1), (True, 0.1, 1)),
        *((1.0, 0.0, 1), (1.0, 1.1, 1), (1.0, math.nan, 1), (1.0, 0.1, -1), (1.0, 0.1, 1.0), (1.0, 0.1, True)),
    ],
    ids=str,
)
def test_a_mechanism_that_cannot_be_is_not_even_made(values: Any) -> None:
    with pytest.raises(ValueError, match="validation error"):
        Mechanism(*values)


@pytest.mark.parametrize(("budget", "delta"), [(0.1, 1e-6), (1.0, 1e-5), (5.0, 1e-5), (10.0, 1e-5), (50.0, 1e-4)])
def test_information_is_that_of_google_s_gaussian(budget: float, delta: float) -> None:
    sigma = 1 / math.sqrt(information(budget, delta))
    assert get_epsilon_gaussian(sigma, delta) == pytest.approx(budget, rel=1e-6)
    assert epsilon_of_information(information(budget, delta), delta) == pytest.approx(budget, rel=1e-9)


def test_half_of_an_epsilon_is_less_than_a_third_of_the_information() -> None:
    assert information(5.0, 1e-5) / information(10.0, 1e-5) == pytest.approx(0.31416, abs=1e-5)
