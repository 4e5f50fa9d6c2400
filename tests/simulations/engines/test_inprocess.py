import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.serverapp import Grid
from flwr.supercore.run import Run

from silogan.simulations.engines import inprocess
from silogan.simulations.engines.inprocess import ClientFunction, InProcessGrid


def context(node: int) -> Context:
    return Context(1, node, {"partition-id": node - 1}, RecordDict(), {})


def echo(message: Message, context: Context) -> Message:
    record = RecordDict({"from": ConfigRecord({"node": context.node_id})})
    return Message(record, reply_to=message)


@pytest.fixture
def make_grid() -> Iterator[Callable[..., InProcessGrid]]:
    grids: list[InProcessGrid] = []

    def make(client: ClientFunction = echo, nodes: int = 3, workers: int = 2) -> InProcessGrid:
        grids.append(InProcessGrid(client, {node: context(node) for node in range(1, nodes + 1)}, workers))
        return grids[-1]

    yield make
    for grid in grids:
        grid.close()


def questions(nodes: list[int]) -> list[Message]:
    return [Message(RecordDict(), node, "train", group_id="1") for node in nodes]


def senders(replies: list[Message]) -> list[int]:
    return [int(reply.content["from"]["node"]) for reply in replies]  # type: ignore[index, arg-type]


def test_it_is_a_grid_of_its_nodes(make_grid: Callable[..., InProcessGrid]) -> None:
    grid = make_grid(nodes=4)
    assert isinstance(grid, Grid)
    assert list(grid.get_node_ids()) == [1, 2, 3, 4]
    run = Run.create_empty(9)
    grid.set_run(run)
    assert grid.run is run
    message = grid.create_message(RecordDict(), "train", 2, "7", ttl=5.0)
    metadata = message.metadata
    assert (metadata.dst_node_id, metadata.message_type, metadata.group_id, metadata.ttl) == (2, "train", "7", 5.0)


def test_replies_come_from_their_nodes_and_answer_their_messages(make_grid: Callable[..., InProcessGrid]) -> None:
    messages = questions([1, 2, 3])
    replies = list(make_grid().send_and_receive(messages))
    assert senders(replies) == [1, 2, 3]
    assert [reply.metadata.src_node_id for reply in replies] == [1, 2, 3]
    assert [reply.metadata.reply_to_message_id for reply in replies] == [m.metadata.message_id for m in messages]
    assert len({message.metadata.message_id for message in messages}) == 3


def test_replies_keep_the_order_of_the_messages_whoever_is_ready_first(
    make_grid: Callable[..., InProcessGrid],
) -> None:
    second_is_done = threading.Event()

    def client(message: Message, context: Context) -> Message:
        if context.node_id == 1:
            assert second_is_done.wait(10)
        else:
            second_is_done.set()
        return echo(message, context)

    assert senders(list(make_grid(client).send_and_receive(questions([1, 2])))) == [1, 2]
    assert senders(list(make_grid().send_and_receive(questions([3, 1, 2])))) == [3, 1, 2]


def test_no_more_nodes_work_at_once_than_there_are_workers(make_grid: Callable[..., InProcessGrid]) -> None:
    lock, at_work, most = threading.Lock(), 0, 0

    def client(message: Message, context: Context) -> Message:
        nonlocal at_work, most
        with lock:
            at_work += 1
            most = max(most, at_work)
        time.sleep(0.02)
        with lock:
            at_work -= 1
        return echo(message, context)

    assert len(list(make_grid(client, nodes=8, workers=3).send_and_receive(questions(list(range(1, 9)))))) == 8
    assert most == 3


def test_a_late_reply_is_left_out_and_the_others_come(make_grid: Callable[..., InProcessGrid]) -> None:
    release = threading.Event()

    def client(message: Message, context: Context) -> Message:
        if context.node_id == 1:
            release.wait(10)
        return echo(message, context)

    grid = make_grid(client)
    start = time.monotonic()
    assert senders(list(grid.send_and_receive(questions([1, 2, 3]), timeout=0.2))) == [2, 3]
    assert time.monotonic() - start < 5
    release.set()


def test_what_has_not_begun_in_time_never_begins(make_grid: Callable[..., InProcessGrid]) -> None:
    begun: list[int] = []
    release = threading.Event()

    def client(message: Message, context: Context) -> Message:
        begun.append(context.node_id)
        release.wait(10)
        return echo(message, context)

    grid = make_grid(client, workers=1)
    assert list(grid.send_and_receive(questions([1, 2, 3]), timeout=0.2)) == []
    release.set()
    grid.close()
    assert begun == [1]


def test_an_exception_becomes_an_error_without_its_text(make_grid: Callable[..., InProcessGrid]) -> None:
    def client(message: Message, context: Context) -> Message:
        if context.node_id == 2:
            raise KeyError("jane-doe")
        return echo(message, context)

    first, broken, last = make_grid(client).send_and_receive(questions([1, 2, 3]))
    assert senders([first, last]) == [1, 3]
    assert broken.has_error()
    assert broken.error.reason == "KeyError"
    assert broken.metadata.src_node_id == 2


def test_pushed_messages_are_pulled_once_when_they_are_ready(make_grid: Callable[..., InProcessGrid]) -> None:
    release = threading.Event()

    def client(message: Message, context: Context) -> Message:
        if context.node_id == 1:
            release.wait(10)
        return echo(message, context)

    grid = make_grid(client)
    slow, quick = grid.push_messages(questions([1, 2]))

    def pulled(message_ids: list[str]) -> list[int]:
        deadline = time.monotonic() + 10
        while not (replies := list(grid.pull_messages(message_ids))) and time.monotonic() < deadline:
            time.sleep(0.005)
        return senders(replies)

    assert pulled([slow, quick]) == [2]
    release.set()
    assert pulled([slow]) == [1]


def test_run_gives_the_apps_their_places_and_frees_its_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[Any, Any] = {}

    def server(grid: Grid, context: Context) -> None:
        seen["server"] = dict(context.run_config)
        seen["replies"] = senders(list(grid.send_and_receive(questions([1, 2]))))
        raise KeyError(0)

    def client(message: Message, context: Context) -> Message:
        seen[context.node_id] = (dict(context.node_config), dict(context.run_config))
        return echo(message, context)

    monkeypatch.setattr(inprocess, "server_app", server)
    monkeypatch.setattr(inprocess, "client_app", client)
    with pytest.raises(KeyError):
        inprocess.run(tmp_path, num_sites=2, workers=2)
    assert seen["server"] == {"run-dir": str(tmp_path)}
    assert seen["replies"] == [1, 2]
    assert seen[1] == ({"partition-id": 0}, {"run-dir": str(tmp_path)})
    assert seen[2] == ({"partition-id": 1}, {"run-dir": str(tmp_path)})
    assert [thread for thread in threading.enumerate() if thread.name.startswith("site")] == []
