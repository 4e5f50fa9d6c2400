"""Naive Bayes and its tree say what counts say, as far as noise lets them."""

import pytest
import torch
from torch import Tensor

from silogan.common.modality.table import TableSchema
from silogan.common.models.networks.bayes import NaiveBayes, TreeBayes, bayes
from silogan.common.models.weights import part_of
from silogan.server.fitting.bayes import bayes_weights, label_counts
from silogan.server.fitting.mixture import Found
from tests.server.fitting.test_mixture import CODED, SCHEMA, coded, counted, counted_with_codes, rows

pytestmark = pytest.mark.usefixtures("one_thread")


def fitted(found: Found, bins: int = 8, of: TableSchema = SCHEMA) -> NaiveBayes:
    network = bayes(of, bins, tree=found.by_class)
    network.load_state_dict(part_of(part_of(bayes_weights(of, found, bins), "generator"), "bayes"))
    return network


def accuracy(logits: Tensor, labels: Tensor) -> float:
    return float((logits.argmax(dim=1) == labels).double().mean())


@pytest.mark.parametrize("by_class", [True, False])
def test_naive_bayes_is_that_of_the_rows(by_class: bool) -> None:
    network, (records, labels) = fitted(counted(1.0, by_class=by_class)), rows()
    groups = network.groups_of(records)
    for label in (0, 1):
        inside = labels == label
        counts = torch.bincount(groups[inside].flatten(), minlength=network.alone.shape[1])
        expected = (inside.sum() / len(inside)).log() + (counts[groups] / inside.sum()).log().sum(dim=1)
        frequent = (counts[groups] > 1000).all(dim=1)
        assert frequent.sum() > 5000
        torch.testing.assert_close(network.naive(records)[frequent, label], expected[frequent], atol=0.02, rtol=0)


def test_the_tree_finds_what_naive_bayes_cannot() -> None:
    """b follows a, but in the ill against it: alone neither says anything of the class."""
    network, (records, labels) = fitted(counted(30.0)), rows()
    assert isinstance(network, TreeBayes)
    assert network.parents.tolist() == [0, 1, 1]
    blind = records.clone()
    blind[:, SCHEMA.blocks[0]] = torch.nn.functional.one_hot(torch.tensor(0), 64).float()  # one and the same x
    apart = network(blind) - network.naive(blind)
    follows = (records[:, SCHEMA.blocks[1]].argmax(dim=1) > 0) == (records[:, SCHEMA.blocks[2]].argmax(dim=1) == 1)
    known = records[:, SCHEMA.blocks[2]].argmax(dim=1) < 2
    assert (apart[known & follows].argmax(dim=1) == 0).all()
    assert (apart[known & ~follows].argmax(dim=1) == 1).all()
    assert accuracy(network(records), labels) > accuracy(network.naive(records), labels) + 0.01


def test_what_noise_explains_joins_no_columns() -> None:
    for noise in (3000.0, 10_000.0):
        network, (records, _) = fitted(counted(noise, bins=4), bins=4), rows()
        assert isinstance(network, TreeBayes)
        assert network.parents.tolist() == [0, 1, 2]
        assert torch.equal(network(records), network.naive(records))


def test_there_is_no_tree_where_pairs_are_those_of_everybody() -> None:
    network, (records, labels) = fitted(counted(1.0, by_class=False)), rows()
    assert not isinstance(network, TreeBayes)
    assert torch.equal(network(records), network.naive(records))
    assert accuracy(network(records), labels) > 0.85


@pytest.mark.parametrize("by_class", [True, False])
def test_counts_of_a_class_are_as_noisy_as_they_say_and_less_than_those_of_single_columns(by_class: bool) -> None:
    noisy, exact = (counted(noise, by_class=by_class, with_singles=False) for noise in (200.0, 0.0))
    (found, variance), (known, _) = (label_counts(SCHEMA, of) for of in (noisy, exact))
    assert float(((found - known).square() / variance).mean()) == pytest.approx(1, abs=0.6)
    if by_class:
        assert float(variance.max()) < 0.7 * noisy.tables.singles_noise**2


def test_without_privacy_unseen_groups_are_possible_all_the_same() -> None:
    network = fitted(counted(0.0))
    assert all(tensor.isfinite().all() for tensor in network.state_dict().values())
    assert network(rows()[0][:100]).isfinite().all()


def test_counts_below_nothing_give_finite_chances() -> None:
    found = counted(1e6)
    assert all(tensor.isfinite().all() for tensor in fitted(found).state_dict().values())


@pytest.mark.parametrize(("by_class", "code_pairs"), [(True, True), (True, False), (False, True), (False, False)])
def test_rows_with_codes_are_classified_by_their_columns(by_class: bool, code_pairs: bool) -> None:
    plain, found = (
        counted(0.0, by_class=by_class, bins=4),
        counted_with_codes(0.0, by_class=by_class, code_pairs=code_pairs),
    )
    counts, expected = label_counts(CODED, found)[0], label_counts(SCHEMA, plain)[0]
    torch.testing.assert_close(counts, expected)
    network, of_columns = fitted(found, 4, CODED), fitted(plain, 4)
    records = coded()[0][:1000]
    torch.testing.assert_close(network(records), of_columns(rows()[0][:1000]), atol=1e-4, rtol=1e-4)
