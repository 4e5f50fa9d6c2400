"""Trade-off curves: closed forms, and each way of computing one against the other."""

import math
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from silogan.common.privacy.accounting import Mechanism, epsilon, epsilon_pld
from silogan.simulations.attacks.tradeoff import Family, Gaussians, ScaledPlans, family_of, gaussian_curve

NORMAL = NormalDist()


@given(mu=st.floats(0, 10), without=st.floats(1e-9, 1 - 1e-9))
def test_gaussian_curve_is_that_of_two_normal_distributions(mu: float, without: float) -> None:
    threshold = NORMAL.inv_cdf(1 - without)
    with_the_unit = 1 - NORMAL.cdf(threshold - mu)
    if with_the_unit < 1 - 1e-9:
        found = gaussian_curve(mu)(with_the_unit)
        assert found == pytest.approx(without, rel=1e-4, abs=1e-8)


def test_gaussian_epsilon_is_that_of_the_accountants() -> None:
    steps, sigma = 40, 3.667
    mu = math.sqrt(steps) / sigma
    exact = Gaussians().epsilon(mu, 1e-7)
    mechanism = [Mechanism(sigma, 1.0, steps)]
    assert exact <= epsilon(mechanism, 1e-7)
    assert exact == pytest.approx(epsilon(mechanism, 1e-7), abs=0.02)
    assert exact == pytest.approx(epsilon_pld(mechanism, 1e-7), abs=0.02)


def test_gaussian_epsilon_at_its_ends() -> None:
    assert Gaussians().epsilon(0.0, 1e-7) == 0
    assert Gaussians().epsilon(1e-9, 1e-7) == 0
    assert Gaussians().epsilon(50, 1e-7) == pytest.approx(50**2 / 2 + 50 * 5.2, rel=0.01)


@given(probability=st.floats(1e-6, 1 - 1e-6))
def test_plan_s_curve_is_below_the_exact_one_and_near(probability: float) -> None:
    exact = gaussian_curve(1.0)(probability)
    found = ScaledPlans([Mechanism(2.0, 1.0, 4)]).curve(1.0)(probability)
    assert found <= exact * (1 + 1e-9)
    assert found == pytest.approx(exact, rel=1e-3, abs=1e-6)


def test_subsampled_plan_tells_as_much_as_its_accountants_say() -> None:
    plan = [Mechanism(1.0, 0.1, 100)]
    family = ScaledPlans(plan)
    assert family.epsilon(1.0, 1e-5) == pytest.approx(epsilon(plan, 1e-5), abs=0.05)
    assert family.epsilon(0.0, 1e-5) == 0
    # δ(ε) read off the curve: the largest y - e^ε·f̄⁻¹(y)
    probabilities = np.linspace(1e-5, 1 - 1e-5, 5001)
    curve = family.curve(1.0)
    for loss in (1.0, 3.0):
        read = max(y - math.exp(loss) * curve(y) for y in probabilities)
        wanted = epsilon_pld(plan, read)
        assert wanted == pytest.approx(loss, abs=0.05)


@pytest.mark.parametrize("family", [Gaussians(), ScaledPlans([Mechanism(2.0, 0.3, 5)])])
def test_stronger_curves_tell_more(family: Family) -> None:
    strengths = (0.3, 0.9, 1.0, 2.0)
    for probability in (0.001, 0.1, 0.5, 0.9):
        least = [family.curve(strength)(probability) for strength in strengths]
        assert least == sorted(least, reverse=True)
        assert 0 <= least[-1] < least[0] < probability
    epsilons = [family.epsilon(strength, 1e-5) for strength in strengths]
    assert epsilons == sorted(epsilons)


def test_family_is_gaussian_where_all_take_part() -> None:
    assert isinstance(family_of([Mechanism(3.0, 1.0, 40), Mechanism(5.0, 1.0, 1)]), Gaussians)
    assert isinstance(family_of([Mechanism(3.0, 0.5, 40), Mechanism(5.0, 1.0, 1)]), ScaledPlans)
