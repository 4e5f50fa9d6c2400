"""The SuperLink's database is lost, or another one: hospitals are registered again, by the keys of the coordinator."""

from pathlib import Path

import pytest

from silogan.server.operations import database
from silogan.server.operations.coordinator import Coordinator
from silogan.server.operations.database import DATABASE
from silogan.server.operations.dispatcher import Dispatcher
from silogan.server.operations.nodes import key_bytes
from silogan.server.operations.submission import Submission
from tests.hostile.coordinators import Link, add_run, make_coordinator, new_line, server


@pytest.fixture
def coordinator(tmp_path: Path) -> Coordinator:
    made = make_coordinator(tmp_path / "server")
    for name in ("bergen", "oslo"):
        made.enrolment.enrol(name, new_line(), 300)
    return made


@pytest.fixture
def link(coordinator: Coordinator) -> Link:
    made = Link()
    assert tell(coordinator, made) == {}
    assert len(made.keys) == 2
    return made


def tell(coordinator: Coordinator, link: Link) -> dict[str, str]:
    return coordinator.enrolment.tell(link)  # type: ignore[arg-type]


def test_hospitals_are_registered_again_in_an_empty_database(coordinator: Coordinator, link: Link) -> None:
    link.lose()
    assert tell(coordinator, link) == {}
    for site in coordinator.enrolment.all().values():
        assert link.keys[site.node] == key_bytes(site.public_key)


def test_what_a_lost_database_does_not_know_is_not_taken_back_for_ever(coordinator: Coordinator, link: Link) -> None:
    """Enrol with a new key, remove and enrol: the old numbers are nobody's in the new database."""
    coordinator.enrolment.enrol("bergen", new_line(), 300)
    coordinator.enrolment.remove("oslo")
    link.lose()
    coordinator.enrolment.enrol("oslo", new_line(), 200)
    assert tell(coordinator, link) == {}
    sites = coordinator.enrolment.all()
    assert [site.retired for site in sites.values()] == [(), ()]
    assert {site.node for site in sites.values()} == set(link.keys)


def test_a_number_that_is_another_hospitals_is_not_believed(coordinator: Coordinator, link: Link) -> None:
    """As after a restored backup of the database beside newer hospitals."""
    sites = coordinator.enrolment.all()
    bergen, oslo = sites["bergen"], sites["oslo"]
    link.keys[bergen.node], link.keys[oslo.node] = link.keys[oslo.node], link.keys[bergen.node]
    assert tell(coordinator, link) == {}
    sites = coordinator.enrolment.all()
    assert (sites["bergen"].node, sites["oslo"].node) == (oslo.node, bergen.node)


def test_a_key_that_was_taken_back_is_said_and_stops_nobody_else(coordinator: Coordinator, link: Link) -> None:
    line = coordinator.enrolment.all()["bergen"].public_key
    coordinator.enrolment.remove("bergen")
    tell(coordinator, link)
    coordinator.enrolment.enrol("bergen", line, 300)
    coordinator.enrolment.enrol("tromso", new_line(), 100)
    problems = tell(coordinator, link)
    assert list(problems) == ["bergen"]
    assert "have the hospital create a new key" in problems["bergen"]
    assert coordinator.enrolment.all()["tromso"].node in link.keys


def test_a_run_that_the_new_database_does_not_know_can_be_stopped(
    coordinator: Coordinator, link: Link, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("silogan.server.operations.dispatcher._ASK_SECONDS", 0.0)
    stopped = add_run(coordinator, 1, Submission("stopped", 7))
    queued = add_run(coordinator, 2, Submission("queued"))
    link.status = "unknown"
    dispatcher = Dispatcher(coordinator.runs, coordinator.enrolment, link, supervise=True)  # type: ignore[arg-type]
    dispatcher.step()
    assert coordinator.runs.get(stopped).number == 0
    assert link.started == [queued]


@pytest.mark.parametrize("content", [b"no database at all", b"SQLite format 3\x00" + b"\xff" * 4096])
def test_a_damaged_database_is_put_aside(coordinator: Coordinator, content: bytes, tmp_path: Path) -> None:
    (coordinator.folder / DATABASE).write_bytes(content)
    assert database.is_damaged(coordinator.folder)
    assert server(coordinator.folder, "backup", tmp_path / "b.tar.gz").code == 0  # of all the rest
    mended = server(coordinator.folder, "repair")
    assert mended.code == 0, mended.out
    assert "`silogan server start` registers the hospitals again" in mended.out
    assert not (coordinator.folder / DATABASE).exists()
    assert [path.read_bytes() for path in coordinator.folder.glob(f"{DATABASE}.damaged-*")] == [content]


def test_a_coordinator_starts_with_a_damaged_database_put_aside(
    coordinator: Coordinator, monkeypatch: pytest.MonkeyPatch
) -> None:
    (coordinator.folder / DATABASE).write_bytes(b"no database at all")
    said: list[str] = []

    class Programs:
        """None: what is looked at is before they start."""

        def __init__(self, *_: object) -> None:
            pass

        def run(self, **_: object) -> None:
            assert not (coordinator.folder / DATABASE).exists()

    monkeypatch.setattr(Coordinator, "services", lambda _: [])
    monkeypatch.setattr("silogan.server.operations.coordinator.Supervisor", Programs)
    monkeypatch.setattr("silogan.server.operations.coordinator.open_log", lambda _: None)
    coordinator.start(as_root=True, say=said.extend)
    assert "a new one is made" in said[0]
    assert "2 hospitals enrolled" in "\n".join(said)
