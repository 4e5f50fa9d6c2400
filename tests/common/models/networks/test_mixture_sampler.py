"""Draws from a mixture of products: its distribution, and under a condition exactly what is left of it."""

from collections.abc import Callable
from itertools import product

import numpy as np
import pytest
import torch

from silogan.common.errors import UsageError
from silogan.common.modality.code_set import CodeSet
from silogan.common.modality.table import Number, TableSchema
from silogan.common.modality.table_grid import grid_of
from silogan.common.modality.table_where import Where
from silogan.common.models.networks.base import Sampler
from silogan.common.models.networks.mixture import MixtureOfProducts
from silogan.server.release.generator import ReleasedGenerator, together
from silogan.server.release.where import parse_where
from tests.server.release.tables import CODES, DRUGS, category, mixture, schema

SMALL = schema(
    category("sex", ("F", "M")),
    category("stage", ("I", "II", "III"), ordered=True, optional=True),
    Number("number", "age", 0, 9, 1.0, edges=(4.0, 7.0), optional=True),
)
CONDITIONS = ["sex = F", "age > 5", "age != 5 and stage is missing", "num = healthy and age >= 3 and stage <= II"]
Table = np.ndarray
"""float64[classes, values of each column and missing ...], the probability of every row."""


def closed_form(network: MixtureOfProducts, of: TableSchema, holds: Callable[..., bool] = lambda *_: True) -> Table:
    """The probability of every row that meets a condition, given that it does."""
    chances, classes, cells = (tensor.double().numpy() for tensor in (network.chances, network.classes, network.cells))
    factors = [classes]
    for column, block in zip(of.columns, of.blocks, strict=True):
        _, counts = grid_of(column).cells
        counts = counts[: block.stop - block.start]
        factors.append((cells[:, block] / counts).repeat(counts, axis=1))
    joint = np.einsum("k,ka,kb,kc,kd->abcd", chances, *factors)
    for row in product(*map(range, joint.shape)):
        joint[row] *= holds(*row)
    return joint / joint.sum()


def frequencies(sampler: Sampler, of: TableSchema, shape: tuple[int, ...], rows: int) -> Table:
    found, rng = np.zeros(shape), torch.Generator().manual_seed(3)
    for _ in range(rows // 50_000):
        drawn = sampler.draw(50_000, rng)
        assert drawn.labels is not None
        steps = [grid_of(column).steps(drawn.records[column.name].numpy()) for column in of.columns]
        np.add.at(found, (drawn.labels.numpy(), *steps), 1)
    return found


def assert_alike(found: Table, expected: Table) -> None:
    """Pearson's χ² of the frequencies, which for exact draws has mean and variance of a known size."""
    count = found.sum()
    assert not found[expected == 0].any()
    is_there = expected > 0
    expected = expected[is_there] * count
    chi_squared = ((found[is_there] - expected) ** 2 / expected).sum()
    freedom = is_there.sum() - 1
    spread = np.sqrt(2 * freedom + (1 / expected).sum())
    assert abs(chi_squared - freedom) < 5 * spread


def test_rows_are_as_frequent_as_the_mixture_says() -> None:
    network = mixture(SMALL, 6)
    expected = closed_form(network, SMALL)
    assert_alike(frequencies(network.sampler(SMALL), SMALL, expected.shape, 400_000), expected)


@pytest.mark.parametrize("text", CONDITIONS)
def test_under_a_condition_rows_are_those_of_the_mixture_that_meet_it(text: str) -> None:
    network, where = mixture(SMALL, 6), parse_where(text, SMALL)

    def holds(label: int, sex: int, stage: int, age: int) -> bool:
        values = {"sex": sex, "stage": stage if stage < 3 else np.nan, "age": age if age < 10 else np.nan}
        row = {name: torch.tensor([value], dtype=torch.float64) for name, value in values.items()}
        return bool(where.holds(SMALL, row, torch.tensor([label])))

    expected = closed_form(network, SMALL, holds)
    assert 0 < (expected > 0).mean() < 1
    assert_alike(frequencies(network.sampler(SMALL, where), SMALL, expected.shape, 400_000), expected)


def test_classes_that_are_asked_for_are_drawn_and_rows_follow_them() -> None:
    network = mixture(SMALL, 6)
    expected = closed_form(network, SMALL)
    labels = torch.arange(60_000) % 2
    drawn = network.sampler(SMALL).draw(60_000, torch.Generator().manual_seed(0), labels)
    assert drawn.labels is not None
    assert torch.equal(drawn.labels, labels)
    for label in range(2):
        found = float((drawn.records["sex"][labels == label] == 0).double().mean())
        assert abs(found - expected[label, 0].sum() / expected[label].sum()) < 5 * 0.5 / np.sqrt(30_000)


def test_a_row_that_forward_makes_is_as_likely_as_one_that_is_drawn() -> None:
    network = mixture(SMALL, 6)
    expected = closed_form(network, SMALL)
    z = torch.randn(100_000, network.latent_dim, generator=torch.Generator().manual_seed(1))
    records = SMALL.decode(network(z, torch.zeros(100_000, dtype=torch.int64)))
    found = [float((records["stage"] == stage).double().mean()) for stage in range(3)]
    assert np.abs(found - expected[0].sum(axis=(0, 2))[:3] / expected[0].sum()).max() < 5 * 0.5 / np.sqrt(100_000)


def test_a_seed_determines_the_rows_and_another_draws_others() -> None:
    sampler = mixture(SMALL).sampler(SMALL)

    def rows(seed: int) -> torch.Tensor:
        return sampler.draw(1000, torch.Generator().manual_seed(seed)).records["age"].nan_to_num(-1.0)

    assert torch.equal(rows(1), rows(1))
    assert not torch.equal(rows(1), rows(2))


def test_what_no_component_has_is_met_by_no_row() -> None:
    network = mixture(SMALL, 3)
    network.cells[:, 0], network.cells[:, 1] = 0.0, 1.0
    with pytest.raises(UsageError, match="is met by no row of this generator; ask for less"):
        network.sampler(SMALL, parse_where("sex = F", SMALL))
    with pytest.raises(UsageError, match="is met by no row"):
        network.sampler(SMALL, Where(classes=()))
    drawn = network.sampler(SMALL, parse_where("sex = M", SMALL)).draw(1000, torch.Generator())
    assert (drawn.records["sex"] == 1).all()


def test_many_conditions_of_small_probability_leave_the_components_their_order() -> None:
    """The product of many probabilities is below the smallest float; only the order of components counts."""
    wide = schema(*(category(f"c{number}", ("a", "b")) for number in range(200)))
    network = mixture(wide, 2)
    network.chances.fill_(0.5)
    for column in range(200):
        network.cells[:, 2 * column] = torch.tensor([1e-3, 0.9e-3])
        network.cells[:, 2 * column + 1] = 1 - network.cells[:, 2 * column]
    network.classes.copy_(torch.eye(2))
    text = " and ".join(f"c{number} = a" for number in range(200))
    drawn = network.sampler(wide, parse_where(text, wide)).draw(5000, torch.Generator())
    assert drawn.labels is not None
    assert (drawn.labels == 0).all()


CODED = schema(category("sex", ("F", "M")), code_sets=(CodeSet("codes", "dx", ("a", "b", "c"), 3), DRUGS))


def with_codes(network: MixtureOfProducts, holds: Callable[..., bool] = lambda *_: True) -> Table:
    """The probability of every row of `CODED`: class, sex, and each of five codes or not."""
    assert network.codes is not None
    chances, classes, cells, codes = (
        tensor.double().numpy() for tensor in (network.chances, network.classes, network.cells, network.codes)
    )
    each = [np.stack((1 - codes[:, code], codes[:, code]), axis=1) for code in range(5)]
    joint = np.einsum("k,ka,kb,kc,kd,ke,kf,kg->abcdefg", chances, classes, cells, *each)
    for row in product(*map(range, joint.shape)):
        joint[row] *= holds(*row)
    return joint / joint.sum()


@pytest.mark.parametrize(
    ("where", "holds"),
    [
        (None, lambda *_: True),
        (Where(codes={"dx": (1,)}), lambda *row: row[3]),
        (Where(codes={"dx": (0, 2), "drugs": (1,)}), lambda *row: row[2] and row[4] and row[6]),
    ],
)
def test_codes_are_as_frequent_as_the_mixture_says_also_where_some_are_wanted(
    where: Where | None, holds: Callable[..., bool]
) -> None:
    network = mixture(CODED, 6)
    expected, found = with_codes(network, holds), np.zeros((2,) * 7)
    drawn = network.sampler(CODED, where).draw(60_000, torch.Generator().manual_seed(4))
    assert drawn.labels is not None
    codes = torch.cat((drawn.records["dx"], drawn.records["drugs"]), dim=1).long()
    np.add.at(found, (drawn.labels.numpy(), drawn.records["sex"].long().numpy(), *codes.T.numpy()), 1)
    assert_alike(found, expected)
    assert where is None or bool(where.holds(CODED, drawn.records, drawn.labels).all())


def test_forward_makes_codes_as_likely_as_they_are_drawn() -> None:
    network = mixture(CODED, 6)
    expected = with_codes(network)[0]
    z = torch.randn(100_000, network.latent_dim, generator=torch.Generator().manual_seed(1))
    records = CODED.decode(network(z, torch.zeros(100_000, dtype=torch.int64)))
    both = float((records["dx"][:, 0] & records["drugs"][:, 1]).double().mean())
    assert abs(both - expected[:, 1, :, :, :, 1].sum() / expected.sum()) < 5 * 0.5 / np.sqrt(100_000)


def test_sets_of_too_many_codes_are_drawn_again() -> None:
    of = schema(category("sex", ("F", "M")), code_sets=(CODES,))
    network = mixture(of, 1)
    assert network.codes is not None
    network.codes.fill_(0.5)
    drawn = together(ReleasedGenerator(network, of, (), "s").draw(40_000, torch.Generator().manual_seed(0)))
    sizes = drawn.records["dx"].sum(dim=1)
    ways = torch.tensor([1.0, 5.0, 10.0, 10.0])  # of choosing 0, 1, 2 or 3 of five
    assert int(sizes.max()) == 3
    assert float((sizes.bincount() / 40_000 - ways / 26).abs().max()) < 5 * 0.5 / 200


def test_a_mixture_without_codes_has_the_weights_that_it_had() -> None:
    plain, with_codes = ({name for name in mixture(of).state_dict() if "." not in name} for of in (SMALL, CODED))
    assert plain == {"chances", "classes", "cells"}
    assert with_codes == {"chances", "classes", "cells", "codes"}
