"""A mixture of products is fitted to counts as well as their noise allows, and no further."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from silogan.common.errors import UsageError
from silogan.common.modality.code_set import CodeSet
from silogan.common.modality.table import Category, Number, TableSchema
from silogan.common.modality.table_options import Mixture
from silogan.common.models.networks.mixture import MixtureOfProducts
from silogan.common.models.weights import Weights, part_of
from silogan.common.privacy.statistics.pairs import Pairs
from silogan.common.privacy.statistics.singles import Counts, Singles
from silogan.server.fitting.groups import groups_of
from silogan.server.fitting.mixture import Found, mixture_weights, shares_within
from silogan.server.release.where import parse_where

pytestmark = pytest.mark.usefixtures("one_thread")

ROWS = 20_000
SCHEMA = TableSchema(
    ("well", "ill"),
    (
        Number("number", "x", 0, 64, edges=tuple(map(float, range(1, 64)))),
        Category("category", "a", ("0", "1", "2"), ((), (), ())),
        Category("category", "b", ("0", "1"), ((), ()), optional=True),
    ),
)


def rows() -> tuple[Tensor, Tensor]:
    """The ill have larger x; b follows a, but in the ill against it; a tenth of b is missing."""
    rng = torch.Generator().manual_seed(0)
    labels = (torch.rand(ROWS, generator=rng) < 0.3).long()
    x = (10 + 20 * labels + 6 * torch.randn(ROWS, generator=rng)).clamp(0, 64).double()
    a = torch.randint(3, (ROWS,), generator=rng)
    follows = torch.rand(ROWS, generator=rng) < 0.9
    b = torch.where(follows, ((a > 0).long() + labels) % 2, torch.randint(2, (ROWS,), generator=rng)).double()
    b[torch.rand(ROWS, generator=rng) < 0.1] = math.nan
    return SCHEMA.encode({"x": x, "a": a.double(), "b": b}), labels


def counted(
    noise: float, *, by_class: bool = True, bins: int = 8, with_singles: bool = True, held: Tensor | None = None
) -> Found:
    """What hospitals with these rows release, or one that holds some of them, with so much noise in each entry."""
    records, labels = rows() if held is None else (part[held] for part in rows())
    rng = torch.Generator().manual_seed(1)

    def noisy(of: Singles | Pairs) -> Tensor:
        total = torch.zeros(of.slots, of.width, dtype=torch.float64).index_add_(0, *of.placed(records, labels))
        return (total + noise * torch.randn(total.shape, generator=rng, dtype=torch.float64)).flatten()

    single = Singles(SCHEMA)
    counts = single.counts(noisy(single), noise) if with_singles else None
    pairs = Pairs(SCHEMA, {"groups": groups_of(SCHEMA, bins, counts)}, by_class=by_class)
    return Found(pairs.tables(noisy(pairs), noise), by_class, pairs.groups, counts)


def drawn(weights: Weights, components: int) -> tuple[Tensor, Tensor]:
    network = MixtureOfProducts(SCHEMA, components)
    network.load_state_dict({**network.state_dict(), **part_of(weights, "generator")})
    found = network.sampler(SCHEMA).draw(ROWS, torch.Generator().manual_seed(2))
    assert found.labels is not None
    return SCHEMA.encode(found.records)[:, : SCHEMA.cells].double(), found.labels


def fitted(found: Found, components: int = 32, steps: int = 400) -> Weights:
    return mixture_weights(SCHEMA, found, components, steps, torch.Generator().manual_seed(3))


@pytest.mark.parametrize("by_class", [True, False])
def test_marginals_and_dependences_are_those_of_the_rows(by_class: bool) -> None:
    synthetic, labels = drawn(fitted(counted(1.0, by_class=by_class)), 32)
    real, own = rows()
    real = real[:, : SCHEMA.cells].double()
    assert float((labels.double().mean() - own.double().mean()).abs()) < 0.02
    for label in (0, 1):
        x, y = synthetic[labels == label], real[own == label]
        assert float((x.mean(dim=0) - y.mean(dim=0)).abs().max()) < 0.03
        of_three = slice(SCHEMA.blocks[1].start, None)
        if by_class:  # a with b, which turns round with the class: no count of two columns alone tells it
            both = (x[:, of_three].T @ x[:, of_three]) / len(x) - (y[:, of_three].T @ y[:, of_three]) / len(y)
            assert float(both.abs().max()) < 0.03


@pytest.mark.parametrize("by_class", [True, False])
def test_rows_of_a_hospital_are_as_its_own_release_says(by_class: bool) -> None:
    """The north has the large x and two thirds of the rows that are left; the east did not answer."""
    records, labels = rows()
    x = records[:, SCHEMA.blocks[0]].argmax(dim=1)
    in_north = (x > 20) | (torch.rand(ROWS, generator=torch.Generator().manual_seed(4)) < 0.3)
    how = {"by_class": by_class, "with_singles": False}
    whole, north, south = (counted(1.0, held=held, **how) for held in (None, in_north, ~in_north))
    rng, of = torch.Generator().manual_seed(3), Mixture(by_hospital=True).drawn(SCHEMA, ("north", "east", "south"))
    assert isinstance(of, TableSchema)
    weights = mixture_weights(SCHEMA, whole, 32, 400, rng, [north, None, south])
    network = MixtureOfProducts(of, 32, counted=SCHEMA)
    network.load_state_dict({**network.state_dict(), **part_of(weights, "generator")})
    together = network.sampler(of).draw(ROWS, torch.Generator().manual_seed(2)).records
    assert abs(float((together["hospital"] == 0).double().mean() - in_north.double().mean())) < 0.02
    for name, held in (("north", in_north), ("south", ~in_north)):
        found = network.sampler(of, parse_where(f"hospital = {name}", of)).draw(ROWS, torch.Generator().manual_seed(2))
        assert found.labels is not None
        assert set(found.records["hospital"].tolist()) == {0.0 if name == "north" else 2.0}
        shares = SCHEMA.encode(found.records)[:, : SCHEMA.cells].mean(dim=0)
        off = shares - records[held][:, : SCHEMA.cells].mean(dim=0)
        sums = torch.zeros(int(whole.groups.max()) + 1).index_add_(0, whole.groups, off)  # cells are alike everywhere
        assert float(sums.abs().max()) < 0.02
        assert abs(float(found.labels.double().mean() - labels[held].double().mean())) < 0.02
    with pytest.raises(UsageError, match="is met by no row of this generator"):
        network.sampler(of, parse_where("hospital = east", of))


def test_noise_is_not_learnt(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fit that goes on for as long as it may is farther from the rows than one that stops where noise begins."""
    found = counted(300.0, bins=16)
    (real, own), known = rows(), SCHEMA.cells

    def off(weights: Weights) -> float:
        synthetic, labels = drawn(weights, 64)
        pairs = [
            part[of == label, :known].double().T @ part[of == label, :known].double() / len(part)
            for part, of in ((synthetic, labels), (real, own))
            for label in (0, 1)
        ]
        return float((torch.stack(pairs[:2]) - torch.stack(pairs[2:])).abs().sum())

    stopped = off(fitted(found, 64, 600))
    monkeypatch.setattr(
        "silogan.server.fitting.mixture._thinned", lambda shares, _rng: (shares, shares)
    )  # so it never stops
    assert stopped < 0.95 * off(fitted(found, 64, 600))


def test_cells_add_up_and_the_same_seed_gives_the_same_fit() -> None:
    found = counted(20.0)
    first, second = fitted(found, steps=60), fitted(found, steps=60)
    assert all(torch.equal(first[name], second[name]) for name in first)
    cells = first["generator.cells"]
    for block in SCHEMA.blocks:
        torch.testing.assert_close(cells[:, block].sum(dim=1), torch.ones(32))
    torch.testing.assert_close(first["generator.chances"].sum(), torch.tensor(1.0))
    torch.testing.assert_close(first["generator.classes"].sum(dim=1), torch.ones(32))


def test_without_privacy_it_is_fitted_as_well() -> None:
    weights = fitted(counted(0.0), steps=60)
    assert all(tensor.isfinite().all() for tensor in weights.values())


def test_counts_below_nothing_give_a_distribution_all_the_same() -> None:
    found = counted(1.0)
    counts = Counts(-found.tables.singles.new_ones(2, SCHEMA.cells), 10.0)
    shares = shares_within(SCHEMA, Found(found.tables, True, found.groups, counts))
    assert float(shares.min()) >= 0
    for group in found.groups.unique():
        assert float(shares[found.groups == group].sum()) == pytest.approx(1, abs=1e-5)


def test_numbers_are_cut_into_groups_of_as_many_rows() -> None:
    found = counted(1.0)
    x = found.groups[SCHEMA.blocks[0]]
    assert len(x.unique()) == 8
    held = torch.zeros(8).index_add_(0, x, rows()[0][:, SCHEMA.blocks[0]].sum(dim=0))
    assert float(held.min()) > 0.08 * ROWS
    assert float(held.max()) < 0.18 * ROWS


def test_without_counts_groups_have_as_many_cells() -> None:
    groups = groups_of(SCHEMA, 4, None)[SCHEMA.blocks[0]]
    assert groups.tolist() == [float(cell // 16) for cell in range(64)]


def test_a_cell_that_holds_most_rows_is_a_group_by_itself() -> None:
    counts = torch.zeros(2, SCHEMA.cells).double()
    counts[0, 0], counts[0, 1:64] = 9000.0, 10.0
    groups = groups_of(SCHEMA, 4, Counts(counts, 1.0))[SCHEMA.blocks[0]]
    assert (groups == 0).sum() == 1
    assert len(groups.unique()) == 4


def test_groups_of_noise_are_groups_all_the_same() -> None:
    for seed in range(20):
        counts = 100 * torch.randn(2, SCHEMA.cells, generator=torch.Generator().manual_seed(seed)).double()
        for bins in (2, 3, 16):
            Pairs(SCHEMA, {"groups": groups_of(SCHEMA, bins, Counts(counts, 100.0))}, by_class=True)


CODED = replace(SCHEMA, code_sets=(CodeSet("codes", "dx", ("p", "q", "r", "s"), 4),))


def coded() -> tuple[Tensor, Tensor]:
    """q follows p, r is rare among the ill, and s goes with nothing."""
    records, labels = rows()
    rng = torch.Generator().manual_seed(5)

    def some(chance: float) -> Tensor:
        return torch.rand(ROWS, generator=rng) < chance

    p = some(0.3)
    q, r, s = torch.where(p, some(0.6), some(0.1)), some(0.4) & ((labels == 0) | some(0.2)), some(0.2)
    return torch.cat((records, torch.stack((p, q, r, s), dim=1).float()), dim=1), labels


def counted_with_codes(noise: float, *, by_class: bool, code_pairs: bool) -> Found:
    """What hospitals with such rows release, numbers cut into four."""
    records, labels = coded()
    single, rng = Singles(CODED), torch.Generator().manual_seed(1)

    def noisy(of: Singles | Pairs) -> Tensor:
        total = torch.zeros(of.slots, of.width, dtype=torch.float64).index_add_(0, *of.placed(records, labels))
        return (total + noise * torch.randn(total.shape, generator=rng, dtype=torch.float64)).flatten()

    counts = single.counts(noisy(single), noise)
    of = Pairs(CODED, {"groups": groups_of(CODED, 4, counts)}, by_class=by_class, code_pairs=code_pairs)
    return Found(of.tables(noisy(of), noise), by_class, of.groups, counts)


@pytest.mark.parametrize(("by_class", "code_pairs"), [(True, True), (False, True), (False, False)])
def test_codes_depend_on_each_other_where_their_pairs_were_counted(by_class: bool, code_pairs: bool) -> None:
    (records, labels), found = coded(), counted_with_codes(1.0, by_class=by_class, code_pairs=code_pairs)
    weights = mixture_weights(CODED, found, 32, 400, torch.Generator().manual_seed(3))
    network = MixtureOfProducts(CODED, 32)
    network.load_state_dict({**network.state_dict(), **part_of(weights, "generator")})
    drawn = network.sampler(CODED).draw(ROWS, torch.Generator().manual_seed(2))
    assert drawn.labels is not None
    synthetic, real = drawn.records["dx"].double(), records[:, CODED.code_blocks[0]].double()
    assert float((synthetic.mean(dim=0) - real.mean(dim=0)).abs().max()) < 0.02
    off = [float((part[:, 0] * part[:, 1]).mean()) for part in (synthetic, real)]
    assert (abs(off[0] - off[1]) < 0.02) is code_pairs
    r = [float(part[of == 1, 2].mean()) for part, of in ((synthetic, drawn.labels), (real, labels))]
    assert abs(r[0] - r[1]) < 0.02
