import json
import time
from dataclasses import replace
from typing import Any

import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from silogan.common.modality import parse_schema
from silogan.common.modality.code_set import CodeSet
from silogan.common.modality.image import ImageSchema
from silogan.common.modality.table import MOST_STEPS, Category, Column, Number, TableSchema
from silogan.common.yaml_text import write_yaml

NAN = float("nan")


def category(name: str, values: int, *, optional: bool = False) -> Category:
    names = tuple(f"v{number}" for number in range(values))
    return Category("category", name, names, tuple((one,) for one in names), optional=optional)


@st.composite
def numbers(draw: st.DrawFn, name: str) -> Number:
    optional, low = draw(st.booleans()), draw(st.integers(-1000, 1000))
    if not draw(st.booleans()):
        high = low + draw(st.floats(1e-3, 1e6))
        edges = sorted(draw(st.sets(st.floats(low, high, exclude_min=True, exclude_max=True), max_size=5)))
        return Number("number", name, low, high, edges=tuple(edges), optional=optional)
    resolution = draw(st.sampled_from([0.1, 0.25, 1.0, 3.0]))
    steps = draw(st.one_of(st.integers(1, 200), st.integers(1, MOST_STEPS - 1)))
    places = sorted(draw(st.sets(st.integers(1, steps), max_size=5)))
    edges = tuple(low + place * resolution for place in places)
    return Number("number", name, low, low + steps * resolution, resolution, edges, optional=optional)


@st.composite
def schemas(draw: st.DrawFn) -> TableSchema:
    columns: list[Column] = []
    for place in range(draw(st.integers(1, 4))):
        if draw(st.booleans()):
            columns.append(draw(numbers(f"c{place}")))
        else:
            columns.append(category(f"c{place}", draw(st.integers(1, 6)), optional=draw(st.booleans())))
    return TableSchema(("a", "b"), tuple(columns), "label", (("0",), ("1", "2")))


def values_of(column: Column) -> st.SearchStrategy[float]:
    if isinstance(column, Category):
        known: st.SearchStrategy[float] = st.integers(0, len(column.values) - 1).map(float)
    elif column.resolution:
        steps = round((column.high - column.low) / column.resolution)
        known = st.integers(0, steps).map(lambda step: column.low + step * column.resolution)
    else:
        known = st.floats(column.low, column.high)
    return st.one_of(known, st.just(NAN)) if column.optional else known


@given(st.data())
def test_what_is_encoded_is_decoded_to_its_resolution(data: st.DataObject) -> None:
    schema = data.draw(schemas())
    rows = data.draw(st.integers(0, 5))
    stored = {
        column.name: torch.tensor(
            data.draw(st.lists(values_of(column), min_size=rows, max_size=rows)), dtype=torch.float64
        )
        for column in schema.columns
    }
    batch = schema.encode(stored)
    assert batch.dtype == torch.float32
    assert batch.shape == (rows, *schema.shape)
    assert bool(((batch >= 0) & (batch <= 1)).all())
    assert bool((batch[:, : schema.cells].sum(dim=1) == len(schema.columns)).all())
    found = schema.decode(batch)
    for column in schema.columns:
        exact = isinstance(column, Category) or column.resolution
        tolerance = 1e-9 if exact else (column.high - column.low) * 1e-6
        assert torch.allclose(found[column.name], stored[column.name], rtol=1e-9, atol=tolerance, equal_nan=True)


def satisfies(column: Column, values: torch.Tensor) -> bool:
    known = values[~values.isnan()]
    if not column.optional and len(known) < len(values):
        return False
    if isinstance(column, Category):
        return bool(((known >= 0) & (known < len(column.values)) & (known == known.floor())).all())
    if column.resolution:
        steps = (known - column.low) / column.resolution
        if not torch.allclose(steps, steps.round(), atol=1e-6):
            return False
    return bool(((known >= column.low) & (known <= column.high)).all())


@given(st.data())
def test_any_batch_is_decoded_into_the_schema_and_then_stays(data: st.DataObject) -> None:
    schema = data.draw(schemas())
    number = st.one_of(st.floats(width=32), st.floats(0, 1, width=32), st.sampled_from([NAN, float("inf"), 1.0]))
    row = st.lists(number, min_size=schema.shape[0], max_size=schema.shape[0])
    batch = torch.tensor(data.draw(st.lists(row, min_size=1, max_size=4)), dtype=torch.float32)
    found = schema.decode(batch)
    for column in schema.columns:
        assert found[column.name].dtype == torch.float64
        assert satisfies(column, found[column.name]), (column, found[column.name])
    again = schema.decode(schema.encode(found))
    for column in schema.columns:
        tolerance = 1e-9 if isinstance(column, Category) or column.resolution else (column.high - column.low) * 1e-6
        assert torch.allclose(again[column.name], found[column.name], rtol=1e-9, atol=tolerance, equal_nan=True)


def test_a_multiple_belongs_to_the_cell_that_it_begins() -> None:
    """In floats 0.3 is less than three times 0.1."""
    column = Number("number", "x", 0, 1, 0.1, (0.3, 0.7))
    cells, _ = column.located(torch.tensor([0.2, 0.3, 0.6, 0.7, 1.0], dtype=torch.float64))
    assert cells.tolist() == [0, 1, 1, 2, 2]


def test_multiples_of_a_cell_are_equally_likely() -> None:
    column = Number("number", "x", 0, 5, 1)
    places = torch.linspace(0, 1, 6001, dtype=torch.float64)
    whole = Number("number", "x", 0, 5, 1, (3,))
    assert column.known_cells == 6
    found = whole.placed(torch.zeros(6001, dtype=torch.int64), places)
    assert found.unique(return_counts=True)[1].tolist() == pytest.approx([2000] * 3, abs=2)


def test_what_lies_between_two_multiples_counts_as_the_nearer_and_what_lies_outside_as_an_end() -> None:
    schema = TableSchema(("all",), (Number("number", "x", 0, 10, 1),))
    stored = {"x": torch.tensor([-5.0, 1.4, 1.6, 99.0])}
    assert schema.decode(schema.encode(stored))["x"].tolist() == [0, 1, 2, 10]


@given(schemas())
def test_plain_values_give_the_same_schema(schema: TableSchema) -> None:
    plain = schema.to_plain()
    assert plain["kind"] == "table"
    for again in (parse_schema(json.loads(json.dumps(plain))), parse_schema(yaml.safe_load(write_yaml(plain)))):
        assert again == schema
        assert hash(again) == hash(schema)
    assert parse_schema({**plain, "label": "other"}) != schema


@given(schemas(), schemas())
def test_a_difference_is_told_exactly_where_there_is_one(one: TableSchema, other: TableSchema) -> None:
    assert (one.difference(other) == "") == (one == other)
    assert one.difference(one) == ""


def test_what_differs_is_named() -> None:
    columns = tuple(category(f"c{place}", 2) for place in range(5))
    table = TableSchema(("a", "b"), columns, "label", (("0",), ("1",)))
    assert table.difference(replace(table, patient="id", label="class")) == "label, patient"
    assert table.difference(replace(table, columns=(*columns[:4], category("c4", 3)))) == "column 'c4'"
    assert table.difference(replace(table, columns=columns[::-1])) == "order of the columns"
    codes = CodeSet("codes", "dx", ("p", "q"), 2)
    with_codes = replace(table, code_sets=(codes,))
    assert (table.difference(with_codes), with_codes.difference(table)) == ("column 'dx'", "column 'dx'")
    assert with_codes.difference(replace(with_codes, code_sets=(replace(codes, most=1),))) == "column 'dx'"
    others = tuple(category(f"d{place}", 2) for place in range(5))
    assert table.difference(replace(table, columns=others)) == "column 'c0', column 'c1', column 'c2' and 7 more"
    images = ImageSchema(8, 1, ("a", "b"))
    assert (table.difference(images), images.difference(table)) == ("kind", "kind")
    assert images.difference(replace(images, size=9, classes=("a",))) == "size, classes"


PLAIN = TableSchema(
    ("a", "b"),
    (category("sex", 2), Number("number", "age", 0, 100, 1)),
    "label",
    (("0",), ("1",)),
    impossible=((("sex", "v0"),),),
).to_plain()


def changed(path: tuple[str | int, ...], value: Any) -> dict[str, Any]:
    plain: Any = json.loads(json.dumps(PLAIN))
    place = plain
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return plain


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("columns",), []),
        (("columns",), 3),
        (("columns",), [3]),
        (("columns",), [{}]),
        (("columns",), [{"type": []}]),
        (("columns",), [{1: 2, "type": "number"}]),
        (("columns",), [PLAIN["columns"][0]] * 2),
        (("columns",), [PLAIN["columns"][0]] * 100_000),
        (("columns", 0, "values"), [f"{n}" for n in range(100_000)]),
        (("columns", 0, "values"), ["v0", "v0"]),
        (("columns", 0, "spellings"), [["x"], ["x"]]),
        (("columns", 0, "spellings"), [["x"]]),
        (("columns", 0, "name"), "\x1b[2J"),
        (("columns", 0, "name"), "label"),
        (("columns", 0, "more"), 1),
        (("columns", 1, "low"), NAN),
        (("columns", 1, "low"), "0"),
        (("columns", 1, "low"), True),
        (("columns", 1, "high"), 1e300),
        (("columns", 1, "high"), 0),
        (("columns", 1, "resolution"), 1e-300),
        (("columns", 1, "resolution"), -1),
        (("columns", 1, "resolution"), 3),
        (("columns", 1, "edges"), [5, 4]),
        (("columns", 1, "edges"), [0]),
        (("columns", 1, "edges"), [0.5]),
        (("columns", 1, "edges"), [float(n) for n in range(1, 100_000)]),
        (("columns", 1, "date"), 1),
        (("classes",), []),
        (("classes",), ["a"]),
        (("classes",), ["a", "a"]),
        (("classes",), ["a"] * 100_000),
        (("label_spellings",), [["0"], ["0"]]),
        (("label_spellings",), [["0"]] * 100_000),
        (("label",), ""),
        (("label",), "x" * 10_000),
        (("missing",), ["0"]),
        (("missing",), ["v1"]),
        (("sensitive",), ["gender"]),
        (("impossible",), [[["sex", "v7"]]]),
        (("impossible",), [[["age", "3"]]]),
        (("impossible",), [[]]),
        (("impossible",), [[["sex", "v0"]]] * 100_000),
        (("impossible",), [[["sex"]]]),
        (("more",), 1),
    ],
)
def test_hostile_plain_values_are_refused_quickly(path: tuple[str | int, ...], value: Any) -> None:
    hostile = changed(path, value)
    start = time.process_time()
    with pytest.raises((ValidationError, ValueError, TypeError)):
        parse_schema(hostile)
    assert time.process_time() - start < 1


def test_the_plain_values_themselves_are_right() -> None:
    """Otherwise everything above could be refused for another reason."""
    assert parse_schema(json.loads(json.dumps(PLAIN))).to_plain() == PLAIN


def test_a_table_may_not_have_too_many_cells() -> None:
    columns = tuple(category(f"c{place}", 500) for place in range(9))
    with pytest.raises(ValidationError, match=r"has 4500 cells, above 4096"):
        TableSchema(("all",), columns)


def test_dates_are_whole_days_and_shown_as_dates() -> None:
    column = Number("number", "seen", 0, 365, 1, (31,), date=True)
    assert column.cell_names() == ("1970-01-01 to 1970-02-01", "1970-02-01 to 1971-01-02")
    for low, high, resolution in ((0, 10, 0), (0.5, 10.5, 1), (0, 10, 0.5), (-1e6, 0, 1), (0, 3e6, 1)):
        with pytest.raises(ValidationError, match="whole days of the years 1 to 9998"):
            Number("number", "seen", low, high, resolution, date=True)


CODED = TableSchema(
    ("all",),
    (category("c", 2), Number("number", "x", 0, 1)),
    code_sets=(CodeSet("codes", "dx", ("a", "b", "c", "d"), 2), CodeSet("codes", "drugs", ("p", "q"), 1)),
)


@given(st.data())
def test_codes_are_encoded_and_decoded(data: st.DataObject) -> None:
    def codes(of: CodeSet) -> torch.Tensor:
        row = st.sets(st.integers(0, len(of.values) - 1), max_size=of.most)
        rows = data.draw(st.lists(row, min_size=3, max_size=3))
        return torch.tensor([[place in found for place in range(len(of.values))] for found in rows])

    stored = {"c": torch.tensor([0.0, 1, 1]).double(), "x": torch.rand(3).double()}
    stored |= {one.name: codes(one) for one in CODED.code_sets}
    batch = CODED.encode(stored)
    assert batch.shape == (3, CODED.cells + 1 + 6)
    found = CODED.decode(batch)
    assert all(torch.equal(found[one.name], stored[one.name]) for one in CODED.code_sets)
    possible = CODED.possible(found)
    assert possible is not None
    assert possible.all()


def test_any_batch_gives_rows_of_few_codes_and_of_too_many_the_first_count() -> None:
    wild = torch.randn(50, *CODED.shape) * 1e30
    wild[::7] = NAN
    found = CODED.decode(wild)
    for one in CODED.code_sets:
        assert found[one.name].dtype == torch.bool
        assert int(found[one.name].sum(dim=1).max()) <= one.most
    full = {**CODED.decode(torch.zeros(1, *CODED.shape)), "dx": torch.tensor([[False, True, True, True]])}
    possible = CODED.possible(full)
    assert possible is not None
    assert not possible.any()
    assert CODED.encode(full)[0, CODED.code_blocks[0]].tolist() == [0, 1, 1, 0]


def test_a_schema_with_codes_survives_yaml() -> None:
    assert parse_schema(yaml.safe_load(write_yaml(CODED.to_plain()))) == CODED
    with pytest.raises(ValidationError, match="names column 'dx' twice"):
        TableSchema(("all",), (category("dx", 2),), code_sets=CODED.code_sets)
