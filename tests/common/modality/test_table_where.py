"""What is wanted of columns, as parts of their cells."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from silogan.common.modality.table import Number
from silogan.common.modality.table_grid import grid_of
from silogan.common.modality.table_where import Wanted, Where, pieces_of

GRID = grid_of(Number("number", "x", 0, 99, 1.0, edges=(10.0, 11.0, 40.0), optional=True))
SPANS = st.lists(st.integers(0, 100), max_size=8, unique=True).map(
    lambda ends: tuple(zip(sorted(ends)[::2], sorted(ends)[1::2], strict=False))
)
WANTED = st.builds(Wanted, SPANS, st.booleans())


def steps_of(wanted: Wanted) -> set[int]:
    return {step for span in wanted.spans for step in range(*span)} | ({100} if wanted.missing else set())


@given(WANTED, WANTED)
def test_both_is_what_both_want(one: Wanted, other: Wanted) -> None:
    assert steps_of(one & other) == steps_of(one) & steps_of(other)
    assert bool(one) == bool(steps_of(one))


@given(WANTED)
def test_pieces_hold_the_wanted_steps_each_once_with_their_share(wanted: Wanted) -> None:
    pieces, (firsts, counts) = pieces_of(GRID, wanted), GRID.cells
    found = [
        step for first, size in zip(pieces.firsts, pieces.counts, strict=True) for step in range(first, first + size)
    ]
    assert sorted(found) == sorted(steps_of(wanted))
    for cell, share, first, size in zip(pieces.cells, pieces.shares, pieces.firsts, pieces.counts, strict=True):
        assert firsts[cell] <= first
        assert first + size <= firsts[cell] + counts[cell]
        assert share == size / counts[cell]


def test_without_a_wish_pieces_are_the_cells() -> None:
    pieces = pieces_of(GRID, None)
    assert pieces.counts.tolist() == [10, 1, 29, 60, 1]
    assert np.array_equal(pieces.shares, np.ones(5))


def test_classes_are_those_that_both_name() -> None:
    assert Where().of_classes((1, 2)).classes == (1, 2)
    assert Where(classes=(0, 2)).of_classes((1, 2)).classes == (2,)
