"""Counts of cells and of pairs: bounded whatever was sent, and read back as what they are of."""

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from silogan.common.config.scenario import Scenario, parse_scenario
from silogan.common.modality.code_set import CodeSet
from silogan.common.modality.table import Category, Number, TableSchema
from silogan.common.modality.table_features import cells_of
from silogan.common.privacy.plan import PAIRS, SINGLES
from silogan.common.privacy.statistics import Pairs, Singles, Statistic, asked_for
from silogan.common.privacy.statistics.base import LARGEST
from silogan.common.privacy.statistics.pairs import Tables, noise_of_pairs
from silogan.common.privacy.statistics.singles import codes_of, noise_of_singles

SCHEMA = TableSchema(
    ("well", "ill", "dead"),
    (
        Number("number", "age", 0, 99, 1.0, edges=(20.0, 40.0, 60.0, 80.0)),
        Category("category", "sex", ("f", "m"), (("0",), ("1",)), optional=True),
        Number("number", "dose", 0, 1, edges=(0.5,), optional=True),
    ),
    label="state",
    label_spellings=(("w",), ("i",), ("d",)),
)
ROUNDING = 1e-9


def rows(count: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    rng = torch.Generator().manual_seed(seed)
    stored = {
        "age": torch.randint(100, (count,), generator=rng).double(),
        "sex": torch.randint(2, (count,), generator=rng).double(),
        "dose": torch.rand(count, generator=rng).double(),
    }
    for name in ("sex", "dose"):
        stored[name][torch.rand(count, generator=rng) < 0.2] = math.nan
    return SCHEMA.encode(stored), torch.randint(3, (count,), generator=rng)


def groups(*of_columns: list[int]) -> dict[str, Tensor]:
    return {"groups": torch.tensor([group for column in of_columns for group in column], dtype=torch.float32)}


AGES = groups([0, 0, 1, 1, 1], [0, 1, 2], [0, 0, 1])


def total(of: Statistic, records: Tensor, labels: Tensor) -> Tensor:
    empty = torch.zeros(of.slots, of.width, dtype=torch.float64)
    return empty.index_add_(0, *of.placed(records, labels)).flatten()


@given(st.integers(0, 2**32 - 1), st.data())
def test_every_row_adds_the_same_length_whatever_groups_were_sent(seed: int, data: st.DataObject) -> None:
    sent = []
    for cells in (5, 3, 3):
        wanted = data.draw(st.lists(st.integers(0, cells - 1), min_size=cells, max_size=cells))
        known = sorted(set(wanted))
        sent.append([known.index(group) for group in wanted])
    records, labels = rows(8, seed)
    for of in (Singles(SCHEMA), *(Pairs(SCHEMA, groups(*sent), by_class=by_class) for by_class in (True, False))):
        places, added = of.placed(records, labels)
        assert added.shape == (8, of.width)
        assert int(places.max()) < of.slots
        torch.testing.assert_close(added.norm(dim=1), torch.full((8,), LARGEST).double(), rtol=0, atol=ROUNDING)


@given(st.integers(0, 2**32 - 1))
def test_records_that_the_network_made_up_are_bounded_as_well(seed: int) -> None:
    wild = torch.randn(8, *SCHEMA.shape, generator=torch.Generator().manual_seed(seed)) * 1e30
    for of in (Singles(SCHEMA), Pairs(SCHEMA, AGES, by_class=True)):
        assert float(of.rows(wild, torch.zeros(8, dtype=torch.int64)).norm(dim=1).max()) <= LARGEST + ROUNDING


def test_singles_are_the_rows_in_each_cell_of_each_class() -> None:
    records, labels = rows(500)
    of = Singles(SCHEMA)
    found = of.counts(total(of, records, labels), noise=0.5)
    expected = torch.stack([records[labels == label, : SCHEMA.cells].sum(dim=0) for label in range(3)])
    torch.testing.assert_close(found.counts, expected.double())
    assert found.noise == pytest.approx(noise_of_singles(0.5, 3)) == pytest.approx(0.5 * math.sqrt(3) / LARGEST)


@pytest.mark.parametrize("by_class", [True, False])
def test_pairs_are_the_rows_in_each_two_groups(by_class: bool) -> None:
    records, labels = rows(500)
    of = Pairs(SCHEMA, AGES, by_class=by_class)
    found = of.tables(total(of, records, labels), noise=0.5)
    member = torch.nn.functional.one_hot(of.groups[cells_of(SCHEMA, records)]).sum(dim=1).double()
    if not by_class:
        member = torch.cat((member, torch.nn.functional.one_hot(labels).double()), dim=1)
    for slot in range(of.slots):
        own = member[labels == slot] if by_class else member
        torch.testing.assert_close(found.singles[slot], own.sum(dim=0))
        both = own.T @ own
        for place, a in enumerate(found.blocks):
            for b in found.blocks[place + 1 :]:
                torch.testing.assert_close(found.pairs[slot, a, b], both[a, b])
    assert found.pairs_noise == pytest.approx(noise_of_pairs(0.5, 3 if by_class else 4))


def test_what_is_released_does_not_depend_on_who_holds_which_rows() -> None:
    records, labels = rows(300)
    for of in (Singles(SCHEMA), Pairs(SCHEMA, AGES, by_class=True), Pairs(SCHEMA, AGES, by_class=False)):
        parts = [total(of, records[labels == label], labels[labels == label]) for label in range(3)]
        torch.testing.assert_close(sum(parts[1:], parts[0]), total(of, records, labels))


@pytest.mark.parametrize(
    ("sent", "problem"),
    [
        ({}, "are not groups"),
        ({"groups": torch.zeros(10)}, "are not groups"),
        ({"groups": torch.zeros(11, dtype=torch.float64)}, "are not groups"),
        ({"groups": torch.zeros(11), "more": torch.zeros(1)}, "are not groups"),
        (groups([0, 0, 1, 1, 1], [0, 1, 2], [0, 0, 2]), "do not count from 0"),
        (groups([1, 1, 1, 1, 1], [0, 1, 2], [0, 0, 1]), "do not count from 0"),
        (groups([-1, 0, 1, 1, 1], [0, 1, 2], [0, 0, 1]), "do not count from 0"),
        ({"groups": torch.full((11,), 0.5)}, "not whole"),
        ({"groups": torch.full((11,), math.nan)}, "not whole"),
        ({"groups": torch.full((11,), math.inf)}, "not whole"),
        ({"groups": torch.full((11,), 1e30)}, "do not count from 0"),
    ],
)
def test_groups_that_are_none_are_refused(sent: dict[str, Tensor], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        Pairs(SCHEMA, sent, by_class=True)


def test_one_column_has_pairs_with_the_class_alone() -> None:
    one = TableSchema(("a", "b"), (Number("number", "x", 0, 1, edges=(0.5,)),))
    with pytest.raises(ValueError, match="no pairs"):
        Pairs(one, groups([0, 1]), by_class=True)
    assert Pairs(one, groups([0, 1]), by_class=False).width == 2 + 2 + 4


def scenario(**model: object) -> Scenario:
    return parse_scenario({"name": "rows", "model": {"family": "mixture", **model}, "training": {"rounds": 0}})


def test_phases_take_their_statistics_and_nothing_that_was_not_asked_for() -> None:
    assert isinstance(asked_for(SINGLES, scenario(), SCHEMA, {}), Singles)
    assert asked_for(PAIRS, scenario(by_class=False), SCHEMA, AGES).slots == 1
    assert asked_for(PAIRS, scenario(by_class=True), SCHEMA, AGES).slots == 3
    with pytest.raises(ValueError, match="not needed"):
        asked_for(SINGLES, scenario(), SCHEMA, AGES)


def test_a_release_that_is_too_large_is_refused() -> None:
    wide = tuple(Category("category", f"c{n}", tuple(map(str, range(500))), ((),) * 500) for n in range(8))
    schema = TableSchema(tuple(map(str, range(20))), wide)
    sent = {"groups": torch.arange(500).repeat(8).float()}
    with pytest.raises(ValueError, match=r"above 33,554,432: ask for fewer"):
        asked_for(PAIRS, scenario(), schema, sent)


MAKERS: list[Callable[[], Statistic]] = [lambda: Singles(SCHEMA), lambda: Pairs(SCHEMA, AGES, by_class=True)]


@pytest.mark.parametrize("make", MAKERS)
def test_a_row_gives_the_same_bits_at_every_place(make: Callable[[], Statistic]) -> None:
    of, (records, labels) = make(), rows(64)
    _, together = of.placed(records, labels)
    for place in (0, 31, 63):
        assert torch.equal(of.placed(records[place : place + 1], labels[place : place + 1])[1][0], together[place])


CODED = replace(
    SCHEMA, code_sets=(CodeSet("codes", "dx", tuple("abcdef"), 3), CodeSet("codes", "drugs", ("p", "q", "r"), 1))
)
EVERY_WAY = [(by_class, code_pairs) for by_class in (True, False) for code_pairs in (True, False)]


def coded(count: int, seed: int = 0, chance: float = 0.2) -> tuple[Tensor, Tensor]:
    """Rows with codes; the record itself may claim more than its schema allows."""
    batch, labels = rows(count, seed)
    rng = torch.Generator().manual_seed(seed)
    return torch.cat((batch, (torch.rand(count, CODED.codes, generator=rng) < chance).float()), dim=1), labels


@given(st.integers(0, 2**32 - 1), st.floats(0, 1), st.data())
def test_a_row_with_codes_adds_at_most_the_same_length_whatever_was_sent(
    seed: int, chance: float, data: st.DataObject
) -> None:
    sent = []
    for cells in (5, 3, 3):
        wanted = data.draw(st.lists(st.integers(0, cells - 1), min_size=cells, max_size=cells))
        known = sorted(set(wanted))
        sent.append([known.index(group) for group in wanted])
    made = [Pairs(CODED, groups(*sent), by_class=by, code_pairs=pairs) for by, pairs in EVERY_WAY]
    records, labels = coded(8, seed, chance)
    wild = torch.randn(8, *CODED.shape, generator=torch.Generator().manual_seed(seed)) * 1e30
    for of in (Singles(CODED), *made):
        for batch in (records, wild):
            added = of.placed(batch, labels)[1]
            assert added.shape == (8, of.width)
            assert float(added.norm(dim=1).max()) <= LARGEST + ROUNDING
        full = torch.cat((records[:, : SCHEMA.shape[0]], torch.ones(8, CODED.codes)), dim=1)
        torch.testing.assert_close(
            of.placed(full, labels)[1].norm(dim=1), torch.full((8,), LARGEST).double(), rtol=0, atol=ROUNDING
        )


def kept(records: Tensor) -> Tensor:
    """The codes bool[N, codes] that count."""
    stored = CODED.decode(records)
    return torch.cat([stored[one.name] for one in CODED.code_sets], dim=1)


def test_codes_that_count_are_those_of_the_schema() -> None:
    records, _ = coded(200, chance=0.6)
    found = codes_of(CODED, records)
    assert found.shape == (200, CODED.most_codes)
    member = torch.nn.functional.one_hot(found, CODED.codes + 1)[:, :, :-1].sum(dim=1)
    assert torch.equal(member.bool(), kept(records))
    assert int(member.max()) == 1
    assert codes_of(SCHEMA, rows(5)[0]).shape == (5, 0)


def test_singles_count_codes_after_the_cells() -> None:
    records, labels = coded(500)
    of = Singles(CODED)
    found = of.counts(total(of, records, labels), noise=0.5)
    expected = torch.stack([kept(records)[labels == label].sum(dim=0) for label in range(3)])
    torch.testing.assert_close(found.counts[:, CODED.cells :], expected.double())
    cells = torch.stack([records[labels == label, : CODED.cells].sum(dim=0) for label in range(3)])
    torch.testing.assert_close(found.counts[:, : CODED.cells], cells.double())
    assert found.noise == pytest.approx(noise_of_singles(0.5, 3 + 4))


@pytest.mark.parametrize(("by_class", "code_pairs"), EVERY_WAY)
def test_pairs_with_codes_are_the_rows_that_have_both(by_class: bool, code_pairs: bool) -> None:
    records, labels = coded(500)
    of = Pairs(CODED, AGES, by_class=by_class, code_pairs=code_pairs)
    found: Tables = of.tables(total(of, records, labels), noise=0.5)
    member = torch.nn.functional.one_hot(of.groups[cells_of(CODED, records)]).sum(dim=1).double()
    if not by_class:
        member = torch.cat((member, torch.nn.functional.one_hot(labels).double()), dim=1)
    columns = member.shape[1]
    member = torch.cat((member, kept(records).double()), dim=1)
    for slot in range(of.slots):
        own = member[labels == slot] if by_class else member
        torch.testing.assert_close(found.singles[slot], own.sum(dim=0))
        torch.testing.assert_close(found.pairs[slot][found.known], (own.T @ own)[found.known])
    among = found.known[columns:, columns:]
    assert int(found.known[:columns, columns:].sum()) == columns * CODED.codes
    assert torch.equal(among, torch.ones_like(among).triu(1) if code_pairs else torch.zeros_like(among))
    assert not found.known.T[found.known].any()
    own_columns, k = 3 + (not by_class), CODED.most_codes
    assert found.pairs_noise == pytest.approx(noise_of_pairs(0.5, own_columns, k, code_pairs=code_pairs))
    pairs = math.comb(own_columns, 2) + own_columns * k + code_pairs * math.comb(k, 2)
    assert found.pairs_noise == pytest.approx(0.5 * math.sqrt(pairs / 0.6) / LARGEST)


def test_one_column_has_pairs_with_codes() -> None:
    one = (Number("number", "x", 0, 1, edges=(0.5,)),)
    schema = TableSchema(("a", "b"), one, code_sets=(CodeSet("codes", "dx", ("p", "q", "r"), 2),))
    assert Pairs(schema, groups([0, 1]), by_class=True).width == 2 + 3 + 3 * 2
    assert Pairs(schema, groups([0, 1]), by_class=True, code_pairs=True).width == 2 + 3 + 3 * 2 + 3


def test_codes_do_not_change_what_is_released_of_columns() -> None:
    """The layout of the columns stays, so that runs without codes are what they were."""
    records, labels = rows(50)
    plain, of = Pairs(SCHEMA, AGES, by_class=True), Pairs(CODED, AGES, by_class=True, code_pairs=True)
    without = torch.cat((records, torch.zeros(50, CODED.codes)), dim=1)
    assert torch.equal(plain.rows(records, labels) > 0, of.rows(without, labels)[:, : plain.width] > 0)
    assert not of.rows(without, labels)[:, plain.width :].any()


def test_a_row_with_codes_gives_the_same_bits_at_every_place() -> None:
    records, labels = coded(64)
    for of in (Singles(CODED), Pairs(CODED, AGES, by_class=True, code_pairs=True)):
        _, together = of.placed(records, labels)
        for place in (0, 31, 63):
            assert torch.equal(of.placed(records[place : place + 1], labels[place : place + 1])[1][0], together[place])


def test_a_scenario_says_whether_pairs_of_codes_are_counted() -> None:
    widths = [
        asked_for(PAIRS, scenario(code_pairs=code_pairs), CODED, AGES).width for code_pairs in (None, False, True)
    ]
    assert widths[0] == widths[1] == widths[2] - math.comb(CODED.codes, 2)
