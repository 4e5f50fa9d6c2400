"""A relaxed mixture draws what the mixture draws, follows a critic's slopes, and comes to a mixture again."""

import copy

import pytest
import torch

from silogan.common.modality.table import Category, TableSchema
from silogan.common.models.networks.mixture import MixtureOfProducts
from silogan.server.fitting.relaxed import RelaxedMixture

SCHEMA = TableSchema(
    ("well", "ill"),
    (
        Category("category", "ward", ("a", "b", "c"), (("a",), ("b",), ("c",))),
        Category("category", "smoker", ("no", "yes"), (("no",), ("yes",))),
    ),
    label="state",
    label_spellings=(("well",), ("ill",)),
)
ROWS = 20_000


@pytest.fixture
def mixture() -> MixtureOfProducts:
    """Two components; the first is ill in half of its rows, and has all of ward c."""
    found = MixtureOfProducts(SCHEMA, 2)
    found.chances.copy_(torch.tensor([0.6, 0.4]))
    found.classes.copy_(torch.tensor([[0.5, 0.5], [0.9, 0.1]]))
    found.cells.copy_(torch.tensor([[0.1, 0.2, 0.7, 0.3, 0.7], [0.5, 0.5, 0.0, 0.9, 0.1]]))
    return found


def rng() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_it_begins_at_the_mixture(mixture: MixtureOfProducts) -> None:
    before = copy.deepcopy(mixture.state_dict())
    RelaxedMixture(mixture, 1.0).fold()
    for name, tensor in mixture.state_dict().items():
        torch.testing.assert_close(tensor, before[name], atol=1e-6, rtol=0)


@pytest.mark.parametrize("temperature", [0.3, 1.0])
def test_rows_are_as_frequent_as_the_mixtures_whatever_the_temperature(
    mixture: MixtureOfProducts, temperature: float
) -> None:
    with torch.no_grad():
        ours, our_labels = RelaxedMixture(mixture, temperature).draw(ROWS, rng())
    theirs, labels = mixture.draw(ROWS, 2, rng())
    assert labels is not None
    assert set(ours.unique().tolist()) <= {0.0, 1.0}
    for rows, its in ((ours, our_labels), (theirs, labels)):
        assert float(its.double().mean()) == pytest.approx(0.6 * 0.5 + 0.4 * 0.1, abs=0.015)
        assert float((its.bool() & (rows[:, 2] == 1)).double().mean()) == pytest.approx(0.6 * 0.5 * 0.7, abs=0.015)
        both = (rows[:, 2] == 1) & (rows[:, 4] == 1)  # dependent, through the component
        assert float(both.double().mean()) == pytest.approx(0.6 * 0.7 * 0.7, abs=0.015)


def test_a_critic_that_likes_a_cell_makes_it_likelier_and_classes_stay(mixture: MixtureOfProducts) -> None:
    relaxed, classes = RelaxedMixture(mixture, 1.0), mixture.joint.sum(dim=0)
    liked = float(mixture.chances @ mixture.cells[:, 2])
    optimizer, random = torch.optim.Adam(relaxed.parameters(), lr=0.05), rng()
    for _ in range(20):
        rows, _ = relaxed.draw(200, random)
        optimizer.zero_grad()
        (-rows[:, 2]).mean().backward()
        optimizer.step()
    relaxed.fold()
    assert float(mixture.chances @ mixture.cells[:, 2]) > liked + 0.1
    assert float(mixture.chances[0]) > 0.62  # by the component that has it, too
    torch.testing.assert_close(mixture.joint.sum(dim=0), classes, atol=1e-5, rtol=0)
    ones = torch.ones(2)
    for block in SCHEMA.blocks:
        torch.testing.assert_close(mixture.cells[:, block].sum(dim=1), ones)
    torch.testing.assert_close(mixture.classes.sum(dim=1), ones)
    torch.testing.assert_close(mixture.chances.sum(), torch.tensor(1.0))
