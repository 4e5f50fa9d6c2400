"""Names that are proven are the sites; where there are none, a name stays with the node that first gave it."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from flwr.proto.node_pb2 import NodeInfo

from silogan.server.rounds.members import Members
from silogan.server.rounds.quarantine import ProtocolViolation, Quarantine

ROSTER = ["north", "south", "west"]


@pytest.fixture
def quarantine(tmp_path: Path) -> Quarantine:
    return Quarantine(tmp_path / "quarantine.json", after=1)


@pytest.fixture
def members(quarantine: Quarantine) -> Members:
    return Members(ROSTER, quarantine)


def grid(*nodes: NodeInfo) -> Any:
    return SimpleNamespace(get_nodes=lambda: list(nodes))


def named(node: int, name: str, since: str = "2026-01-01T00:00:00+00:00") -> NodeInfo:
    return NodeInfo(node_id=node, name=name, registered_at=since)


def unnamed(*nodes: int) -> Any:
    return grid(*(NodeInfo(node_id=node) for node in nodes))


def test_only_nodes_under_a_name_of_the_roster_are_asked(members: Members) -> None:
    nodes = grid(named(7, "south"), named(3, "stranger"), named(5, "north"), NodeInfo(node_id=1))
    assert members.connected(nodes) == [5, 7]
    assert [members.site_of(node) for node in (5, 7, 3, 1)] == ["north", "south", None, None]
    assert [members.title(node) for node in (5, 3)] == ["north", "node 3"]


def test_a_proven_name_cannot_be_claimed_by_another(members: Members) -> None:
    members.connected(grid(named(5, "north"), named(7, "south")))
    members.claim(5, "north")
    for node, site in ((5, "south"), (5, "west"), (9, "west"), (9, "north"), (5, "stranger")):
        with pytest.raises(ProtocolViolation, match="comes from a node that is not this site's"):
            members.claim(node, site)


def test_once_names_are_proven_no_node_is_taken_at_its_word(members: Members) -> None:
    members.connected(grid(named(5, "north")))
    assert members.connected(unnamed(1, 2)) == []
    with pytest.raises(ProtocolViolation):
        members.claim(1, "south")


def test_a_site_that_was_enrolled_anew_is_its_newest_node(members: Members) -> None:
    nodes = grid(named(1, "north", "2026-03-01"), named(9, "north", "2026-01-01"), named(4, "south"))
    assert members.connected(nodes) == [1, 4]
    assert members.site_of(9) is None


def test_without_names_all_are_asked_and_the_first_name_binds(members: Members) -> None:
    assert members.connected(unnamed(3, 1, 2)) == [1, 2, 3]
    members.claim(1, "north")
    members.claim(1, "north")
    for node, site in ((2, "north"), (1, "south"), (3, "stranger")):
        with pytest.raises(ProtocolViolation):
            members.claim(node, site)
    assert members.site_of(1) == "north"
    assert members.title(1) == "node 1"


def test_a_site_in_quarantine_is_not_asked(members: Members, quarantine: Quarantine) -> None:
    nodes = grid(named(5, "north"), named(7, "south"))
    quarantine.record("north", 1, "reply: is not finite")
    assert members.connected(nodes) == [7]
    assert members.quarantined == ["north"]
    quarantine.readmit("north")
    assert members.connected(nodes) == [5, 7]
    assert members.quarantined == []


def test_without_names_a_site_in_quarantine_is_not_asked_once_its_node_is_known(
    members: Members, quarantine: Quarantine
) -> None:
    quarantine.record("north", 1, "reply: is not finite")
    assert members.connected(unnamed(1, 2)) == [1, 2]
    members.claim(2, "north")
    assert members.connected(unnamed(1, 2)) == [1]
