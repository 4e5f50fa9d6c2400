"""The grid of a column: values of the schema, each of the cell that the schema puts it into."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from silogan.common.modality.table import Column, Number
from silogan.common.modality.table_grid import grid_of
from tests.server.release.tables import COLUMNS, category

AWKWARD: tuple[Column, ...] = (
    Number("number", "third", 0, 10, 1 / 3),
    Number("number", "one", 0, 1, 1.0),
    Number("number", "edges", 0, 10, 1.0, edges=(2.0, 7.0)),
    Number("number", "negative", -1, -0.1, 0.1),
    Number("number", "tiny", 1e-9, 3e-9),
    Number("number", "huge", -1e15, 1e15),
    Number("number", "huge multiples", 0, 4e12, 1e6),
    Number("number", "narrow cells", 0, 1e6, edges=(1e-3, 1.0)),
    Number("number", "weeks", 0, 700, 7.0, date=True),
)


@pytest.mark.parametrize("column", [*COLUMNS, *AWKWARD], ids=lambda column: column.name)
def test_every_value_is_of_the_schema_and_of_its_cell(column: Column) -> None:
    grid = grid_of(column)
    firsts, counts = grid.cells
    assert (len(firsts), firsts[0], firsts[-1]) == (column.known_cells + 1, 0, grid.count)
    assert np.isnan(grid.values(firsts[-1:]))[0]
    assert grid.steps(np.array([np.nan]))[0] == grid.count
    for ends in (firsts[:-1], firsts[:-1] + counts[:-1] - 1):
        values = grid.values(ends)
        cells, _ = column.located(torch.from_numpy(values))
        # edges that are no multiples, or miss one by a rounding error, may leave a cell none: it has a neighbour's
        alone = counts[:-1] == 1
        assert (cells.numpy() == np.arange(column.known_cells))[~alone].all()
        assert (np.abs(cells.numpy() - np.arange(column.known_cells)) <= alone).all()
        assert np.array_equal(grid.steps(values), ends)
        if isinstance(column, Number):
            assert ((values >= column.low) & (values <= column.high)).all()


@pytest.mark.parametrize("column", COLUMNS, ids=lambda column: column.name)
def test_cells_share_all_steps_where_edges_are_values(column: Column) -> None:
    firsts, counts = grid_of(column).cells
    assert np.array_equal(firsts[1:], np.cumsum(counts)[:-1])


def test_multiples_are_written_without_rounding() -> None:
    grid = grid_of(Number("number", "oldpeak", -2.6, 6.2, 0.1))
    assert grid.decimals == 1
    written = [f"{value:.1f}" for value in grid.values(np.arange(grid.count)).tolist()]
    assert written[0] == "-2.6"
    assert written[26] == "0.0"
    assert written[-1] == "6.2"
    assert [float(text) for text in written] == grid.values(np.arange(grid.count)).tolist()


def test_a_number_without_resolution_has_decimals_far_finer_than_its_cells() -> None:
    grid = grid_of(Number("number", "bmi", 12, 60))
    assert (grid.step, grid.decimals, grid.count) == (0.001, 3, 48_001)


@given(st.floats(-10, 20))
def test_first_steps_are_those_that_comparing_finds(value: float) -> None:
    for column in (Number("number", "x", -1, 11, 0.75), category("c", ("a", "b", "c"))):
        grid = grid_of(column)
        values = grid.values(np.arange(grid.count))
        assert grid.first(value) == (values < value).sum()
        assert grid.first(value, above=True) == (values <= value).sum()
