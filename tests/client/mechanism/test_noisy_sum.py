"""The grid and the release: sensitivity, noise, and no output that is impossible."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kstest

from silogan.client.mechanism.clip import REACH, SLACK, gamma
from silogan.client.mechanism.dpsgd.rules.linear import sum_of_products
from silogan.client.mechanism.noisy_sum import POSITIONS, PRODUCTS, grid_step, group_size, release
from silogan.client.mechanism.randomness import Randomness
from silogan.client.mechanism.units import MOST_UNITS
from silogan.common.seeding import derive_key


@given(st.floats(1e-6, 1e6), st.integers(1, 2**24))
def test_the_step_is_a_power_of_two_and_small_beside_c(clip: float, size: int) -> None:
    step = grid_step(clip, size)
    assert math.frexp(step)[0] == 0.5
    assert step * math.sqrt(size) <= 2.0**-12 * clip < 2 * step * math.sqrt(size)


@given(st.integers(1, 5000), st.integers(1, 512))
def test_all_rounding_together_is_less_than_the_slack(positions: int, units: int) -> None:
    """The proof in `noisy_sum.py` with its own constants, in parts of C."""
    size = group_size(positions, units)
    assert units % size == 0
    at_once = min(positions, POSITIONS)
    reach = REACH * (1 - SLACK)
    in_products = 4 * gamma(size * at_once + 1) * size * reach
    of_products = 4 * gamma(PRODUCTS) * PRODUCTS * size * reach
    in_float64 = 2 * 2.0**-53 * MOST_UNITS * MOST_UNITS * REACH
    assert in_products + of_products + 2.0**-24 * reach + in_float64 + 2.0**-12 < SLACK


def test_a_release_is_the_rounded_sum_and_noise_of_the_stated_size() -> None:
    total = torch.linspace(-50, 50, 40_000, dtype=torch.float64)
    found = release(total, clip_norm=0.5, noise_multiplier=3.0, randomness=Randomness.secure())
    assert found.dtype == torch.float64
    assert kstest(((found - total) / 1.5).numpy(), "norm").pvalue > 1e-9
    steps = found / grid_step(0.5, 40_000)
    assert torch.equal(steps, steps.round())


def test_every_piece_of_a_long_release_has_noise_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Noise that came again would fall out of a difference of two pieces."""
    monkeypatch.setattr("silogan.client.mechanism.noisy_sum._AT_ONCE", 10_000)
    found = release(torch.zeros(35_000, dtype=torch.float64), 1.0, 1.0, Randomness.secure())
    assert len(found) == 35_000
    assert kstest(found.numpy(), "norm").pvalue > 1e-9
    first, *others = found[:30_000].view(3, -1)
    for other in others:
        assert abs(float(torch.corrcoef(torch.stack((first, other)))[0, 1])) < 0.06  # six deviations


def test_releases_never_repeat_without_a_seed_and_do_with_one() -> None:
    def draw(randomness: Randomness) -> torch.Tensor:
        return release(torch.zeros(64, dtype=torch.float64), clip_norm=1.0, noise_multiplier=1.0, randomness=randomness)

    assert not torch.equal(draw(Randomness.secure()), draw(Randomness.secure()))
    assert torch.equal(draw(Randomness(derive_key(1, "a"))), draw(Randomness(derive_key(1, "a"))))


@pytest.mark.parametrize(
    ("positions", "units", "expected"), [(1, 64, 16), (16, 64, 8), (49, 64, 4), (196, 64, 2), (1024, 64, 1), (49, 6, 2)]
)
def test_groups_are_as_large_as_the_proof_allows(positions: int, units: int, expected: int) -> None:
    assert group_size(positions, units) == expected


def test_zeros_have_no_sign() -> None:
    """A sum just below 0 and one of exactly 0 must not be told apart by the sign of a released zero."""
    for total in (-1e-12, 0.0, 1e-12):
        sums = torch.full((20_000,), total, dtype=torch.float64)
        found = release(sums, clip_norm=1.0, noise_multiplier=1e-4, randomness=Randomness.secure())
        zeros = found[found == 0]
        assert len(zeros)
        assert not torch.signbit(zeros).any()


def test_products_are_added_up_in_float64() -> None:
    b, a = torch.ones(40, 3, 7), torch.full((40, 7, 2), 1e-9)
    b[0] = 1e9
    found = sum_of_products(b, a)
    assert found.dtype == torch.float64
    assert found[0, 0].item() == pytest.approx(7 * (1 + 39e-9), abs=2e-6)
