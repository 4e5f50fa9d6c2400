"""Bounds of norms and factors: never too small a norm, never too large a factor."""

from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from silogan.client.mechanism.clip import REACH, SLACK, clip_factors, clipped_rows, gamma, squared_norms

FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)


@given(st.lists(st.lists(FLOATS, min_size=6, max_size=6), min_size=1, max_size=4))
def test_squared_norms_are_upper_bounds_of_exact_ones(rows: list[list[float]]) -> None:
    values = torch.tensor(rows, dtype=torch.float32).view(-1, 2, 3)
    for bound, row in zip(squared_norms(values).tolist(), values.flatten(1).tolist(), strict=True):
        exact = sum(Fraction(value) ** 2 for value in row)
        assert bound == float("inf") or Fraction(bound) >= exact


def test_the_allowance_for_rounding_is_small_where_numbers_are_ordinary() -> None:
    values = torch.randn(50, 16, 100, generator=torch.Generator().manual_seed(0))
    exact = values.double().square().sum(dim=(1, 2))
    assert float((squared_norms(values) / exact - 1).max()) < 2e-5


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 3e38])
def test_rows_that_are_not_finite_or_overflow_have_no_finite_norm(bad: float) -> None:
    found = squared_norms(torch.tensor([[[1.0, 2.0]], [[bad, 1.0]]]))
    assert found.isfinite().tolist() == [True, False]


@given(st.floats(1e-6, 1e6), st.floats(0, 1e38), st.floats(0, 1e38), st.booleans())
def test_factors_keep_norm_and_reach_below_their_limits(
    clip: float, squared: float, reach: float, counts: bool
) -> None:
    one = clip_factors(
        *(torch.tensor([value], dtype=torch.float64) for value in (squared, reach)), clip, torch.tensor([counts])
    )
    factor = one.values.double().item()
    assert 0 <= factor <= 1
    assert factor * squared**0.5 <= (1 - SLACK) * clip
    assert factor * reach**0.5 <= REACH * (1 - SLACK) * clip
    if not counts:
        assert factor == 0


def test_what_is_short_enough_is_hardly_changed_and_what_is_not_finite_is_dropped() -> None:
    squared = torch.tensor([0.25, 4.0, float("nan"), float("inf")], dtype=torch.float64)
    factors = clip_factors(squared, squared, 1.0, torch.ones(4, dtype=torch.bool))
    assert factors.values.tolist() == pytest.approx([1, (1 - SLACK) / 2, 0, 0], rel=1e-6)
    assert factors.dropped.tolist() == [False, False, True, True]
    assert not factors.keep(torch.full((8, 3), torch.nan), 2)[4:].any()
    assert not factors.all_count


def test_reach_alone_can_scale_a_unit_down() -> None:
    one, ten = (torch.tensor([value], dtype=torch.float64) for value in (1e-12, (10 * REACH) ** 2))
    assert clip_factors(one, ten, 1.0, torch.tensor([True])).values.item() == pytest.approx((1 - SLACK) / 10, rel=1e-6)


@given(st.lists(st.floats(-1e300, 1e300), min_size=3, max_size=3), st.floats(1e-3, 1e3))
def test_rows_are_no_longer_than_the_limit(row: list[float], clip: float) -> None:
    clipped = clipped_rows(
        torch.tensor([row, [torch.nan, 0, 0]], dtype=torch.float64), clip, torch.tensor([True, True])
    )
    assert float(clipped[0].norm()) <= (1 - SLACK) * clip * (1 + 1e-12)
    assert not clipped[1].any()


def test_a_bound_that_says_nothing_is_refused() -> None:
    assert gamma(1000) == pytest.approx(1000 * 2**-24, rel=1e-4)
    with pytest.raises(ValueError, match="no useful bound"):
        gamma(2**23)
