"""Alias tables draw each cell exactly as often as its weight says, and one of weight 0 never."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from silogan.common.models.networks.alias import AliasTables, _coins  # pyright: ignore[reportPrivateUsage]

WEIGHTS = st.lists(
    st.lists(st.one_of(st.just(0.0), st.floats(1e-12, 1e6)), min_size=5, max_size=5), min_size=1, max_size=8
).map(np.array)


def drawn_by(chances: np.ndarray, aliases: np.ndarray) -> np.ndarray:
    """What the coins draw: the closed form."""
    size = chances.shape[1]
    found = chances.clip(max=1) / size
    for row, cell in np.ndindex(*chances.shape):
        found[row, aliases[row, cell]] += (1 - min(1, chances[row, cell])) / size
    return found


@given(WEIGHTS)
def test_coins_have_the_distribution_of_the_weights(weights: np.ndarray) -> None:
    totals = weights.sum(axis=1, keepdims=True)
    expected = np.where(totals > 0, weights / np.where(totals > 0, totals, 1), 0.2)
    found = drawn_by(*_coins(weights))
    assert np.abs(found - expected).max() < 1e-13
    assert not found[(weights == 0) & (totals > 0)].any()  # exactly 0, whatever rounding does


@pytest.mark.parametrize("size", [1, 2, 3, 64, 513])
def test_tables_of_any_size_are_exact(size: int) -> None:
    weights = np.random.default_rng(size).exponential(size=(7, size)) ** 3
    expected = weights / weights.sum(axis=1, keepdims=True)
    assert np.abs(drawn_by(*_coins(weights)) - expected).max() < 1e-13


def test_draws_are_as_frequent_as_said_row_by_row() -> None:
    weights = np.array([[1.0, 0.0, 3.0, 6.0], [0.0, 0.0, 0.0, 5.0], [2.0, 2.0, 2.0, 2.0]])
    rows = np.arange(300_000) % 3
    cells = AliasTables(weights).draw(rows, np.random.default_rng(1))
    for row, expected in enumerate(weights / weights.sum(axis=1, keepdims=True)):
        found = np.bincount(cells[rows == row], minlength=4) / 100_000
        assert np.abs(found - expected).max() < 5 * np.sqrt(0.25 / 100_000)
        assert not found[expected == 0].any()
