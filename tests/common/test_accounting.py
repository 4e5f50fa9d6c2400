"""What steps cost, held against closed forms, a second library and published values."""

import math
from collections.abc import Callable

import pytest
from dp_accounting import GaussianDpEvent, PoissonSampledDpEvent, get_epsilon_gaussian
from dp_accounting.pld import PLDAccountant
from scipy.optimize import brentq
from scipy.stats import norm

from common.accounting import (
    PRV_EPSILON_ERROR,
    Mechanism,
    epsilon,
    epsilon_pld,
    epsilon_rdp,
    find_noise_multiplier,
    merge,
)
from common.errors import ConfigError

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
    with pytest.raises(ConfigError, match=r"privacy\.epsilon: no noise is accountable for 1e-06"):
        find_noise_multiplier(1e-6, 1e-5, 1.0, 5)
