"""What a guarantee leaves to an attacker."""

import math

import pytest

from silogan.common.pages.guarantee import largest_success


def test_largest_success_is_the_bound_of_the_hypothesis_test() -> None:
    assert largest_success(0.0, 0.0) == pytest.approx(0.01)
    assert largest_success(1.0, 1e-5) == pytest.approx(math.e * 0.01 + 1e-5)
    assert largest_success(5.0, 0.0) == pytest.approx(1 - 0.99 * math.exp(-5))
    assert largest_success(1e6, 1e-5) == 1.0
