"""Classifiers over cells: what they add up, and that they fit any release that a study may ask for."""

import torch

from silogan.common.modality.table import Category, Number, TableSchema
from silogan.common.models.networks.bayes import TreeBayes, bayes
from silogan.common.privacy.statistics.pairs import Pairs
from silogan.server.fitting.groups import groups_of

SCHEMA = TableSchema(
    ("well", "ill"),
    (
        Number("number", "x", 0, 8, edges=(2.0, 4.0, 6.0), optional=True),
        Category("category", "a", ("0", "1", "2"), ((), (), ())),
    ),
)
ROWS = SCHEMA.encode({"x": torch.tensor([1.0, 7.0, torch.nan]).double(), "a": torch.tensor([0.0, 2.0, 1.0]).double()})


def test_logits_add_up_what_is_said_of_each_column_and_its_parent() -> None:
    network = bayes(SCHEMA, 2, tree=True)
    assert isinstance(network, TreeBayes)
    network.groups.copy_(torch.tensor([0, 0, 1, 1, 2, 3, 4, 5]))
    network.offsets.copy_(torch.tensor([0.25, 0.5]))
    network.alone[1] = torch.tensor([1.0, 2, 4, 8, 16, 32])
    torch.testing.assert_close(network.naive(ROWS)[:, 1], torch.tensor([9.5, 34.5, 20.5]))
    torch.testing.assert_close(network(ROWS), network.naive(ROWS))
    network.parents.copy_(torch.tensor([1, 1]))
    network.given[1, :3] = torch.tensor([[100.0, 0, 0], [0, 0, 200], [0, 400, 0]])  # of x, in each group of a
    torch.testing.assert_close((network(ROWS) - network.naive(ROWS))[:, 1], torch.tensor([100.0, 200.0, 400.0]))


def test_it_has_room_for_all_groups_of_a_release() -> None:
    for bins in (2, 3, 16):
        pairs = Pairs(SCHEMA, {"groups": groups_of(SCHEMA, bins, None)}, by_class=True)
        network = bayes(SCHEMA, bins, tree=True)
        assert network.alone.shape[1] == pairs.blocks[-1].stop
