"""No coordinator keeps a node waiting: the real programs of a node, over TLS, with one that does not do its part."""

import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from flwr.app import ConfigRecord, RecordDict
from flwr.proto.fab_pb2 import Fab, GetFabResponse
from flwr.proto.message_pb2 import PullObjectRequest, PullObjectResponse

from silogan.client.ledger.policy import template
from silogan.client.node import service
from silogan.client.node.connection import Connection
from silogan.client.node.joining import prepare_connection
from silogan.client.node.node import Node
from silogan.common.modality.image_options import Digits
from silogan.common.operations.supervise import Supervisor
from tests.hostile.coordinator import Asked, Coordinator

pytestmark = pytest.mark.slow
STOPPED, NEXT = 1, 2
"""Two runs."""


def content() -> RecordDict:
    return RecordDict({"header": ConfigRecord({"word": "x" * 1000})})


@pytest.fixture
def coordinator(tmp_path: Path) -> Generator[Coordinator]:
    (tmp_path / "coordinator").mkdir()
    made = Coordinator(tmp_path / "coordinator")
    yield made
    made.close()


@contextmanager
def at_work(coordinator: Coordinator, folder: Path, *names: str) -> Iterator[Supervisor]:
    """A node's own programs, or some of them, started again at once; they have ended afterwards."""
    node = Node.create(folder, template(epsilon=1.0, delta=1e-5, unit="record"))
    registration, _ = node.add_cohort(name="digits", site="bergen", data=Digits(), declared_size=1000)
    prepare_connection(folder, registration, server=coordinator.address, ca=coordinator.ca)
    services = service.services(folder, Connection.load(folder))
    wanted = [replace(one, restart_seconds=0.5) for one in services if not names or one.name in names]
    supervisor = Supervisor(folder, wanted)
    thread = threading.Thread(target=supervisor.run)
    thread.start()
    try:
        yield supervisor
    finally:
        supervisor.stop()
        thread.join()


def until(condition: Callable[[], bool], seconds: float = 150.0) -> bool:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.1)
    return condition()


def test_a_run_that_is_stopped_while_its_message_is_fetched_frees_the_node(
    coordinator: Coordinator, tmp_path: Path
) -> None:
    coordinator.queue = [Asked.of(content(), STOPPED), Asked.of(content(), NEXT)]
    # A SuperLink answers so to whoever asks for an object of a run that has ended.
    coordinator.answers["pull-object"] = lambda request: 403 if request.run_id == STOPPED else None
    with at_work(coordinator, tmp_path / "node"):
        assert until(lambda: NEXT in coordinator.replies)
    assert STOPPED not in coordinator.replies


def test_a_message_that_never_comes_is_given_up_when_its_answer_would_be_too_late(
    coordinator: Coordinator, tmp_path: Path
) -> None:
    coordinator.queue = [Asked.of(content(), STOPPED, ttl=8.0), Asked.of(content(), NEXT)]

    def withheld(request: PullObjectRequest) -> PullObjectResponse | None:
        waits = request.run_id == STOPPED
        return PullObjectResponse(object_found=True, object_available=False) if waits else None

    coordinator.answers["pull-object"] = withheld
    with at_work(coordinator, tmp_path / "node"):
        assert until(lambda: NEXT in coordinator.replies)


def asks_again(coordinator: Coordinator) -> bool:
    """Whether the node has joined a second time, and has asked for work since."""
    seen = coordinator.seen.copy()
    joined = [place for place, name in enumerate(seen) if name == "activate-node"]
    return len(joined) > 1 and "pull-messages" in seen[joined[1] :]


def test_an_answer_that_nobody_expects_ends_the_supernode_which_is_started_again(
    coordinator: Coordinator, tmp_path: Path
) -> None:
    refused: list[int] = []

    def once(_: object) -> int | None:
        if refused:
            return None
        refused.append(400)
        return 400

    coordinator.answers["pull-messages"] = once
    with at_work(coordinator, tmp_path / "node", "supernode"):
        assert until(lambda: asks_again(coordinator))


def test_a_bundle_that_is_none_does_not_end_the_node(coordinator: Coordinator, tmp_path: Path) -> None:
    coordinator.queue = [Asked.of(content(), STOPPED)]
    coordinator.answers["get-fab"] = lambda request: GetFabResponse(
        fab=Fab(hash_str=request.hash_str, content=b"no archive")
    )
    with at_work(coordinator, tmp_path / "node", "supernode"):
        assert until(lambda: asks_again(coordinator))
