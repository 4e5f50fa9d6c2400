"""Replies are handed on as they come, through errors of the connection, up to the timeout and no further."""

from collections.abc import Callable, Iterable
from itertools import chain, repeat
from typing import Any, ClassVar

import httpx
import pytest
from flwr.app import ConfigRecord, Error, Message, RecordDict
from flwr.common.constant import SUPERLINK_NODE_ID
from flwr.proto.node_pb2 import NodeInfo
from flwr.serverapp import Grid
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity

from silogan.common.errors import FederationError
from silogan.server.rounds import polling_grid as module
from silogan.server.rounds.polling_grid import PollingGrid, polling

NOT_YET: list[Message] = []
LOST = httpx.ConnectError("connection refused")


@pytest.fixture(autouse=True)
def sleeps(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The clock stands but for sleep; every message is of a process that Flower knows."""
    slept: list[float] = []
    monkeypatch.setattr(module.time, "sleep", slept.append)
    monkeypatch.setattr(module.time, "monotonic", lambda: sum(slept))
    for name in ("_task_id", "_run_id", "_node_id"):
        monkeypatch.setattr(TaskIdentity, name, 1)
    return slept


class ScriptedGrid(Grid):
    """Answers each pull of a message with the next of its script, and after the script with nothing."""

    def __init__(self, **scripts: Iterable[Any]) -> None:
        self.scripts = {name: chain(script, repeat(NOT_YET)) for name, script in scripts.items()}
        self.sent: dict[str, Message] = {}
        self.untaken: set[str] = set()
        self.run_of: Run | None = None

    def set_run(self, run: Run) -> None:
        self.run_of = run

    @property
    def run(self) -> Run:
        assert self.run_of is not None
        return self.run_of

    def create_message(self, *args: Any, **_: Any) -> Message:
        content, kind, node, group, ttl = args
        return Message(content, node, kind, ttl=ttl, group_id=group)

    def get_node_ids(self) -> list[int]:
        return [1, 2]

    def get_nodes(self) -> list[NodeInfo]:
        return [NodeInfo(node_id=1, name="north"), NodeInfo(node_id=2, name="south")]

    def push_messages(self, messages: Iterable[Message]) -> list[Any]:
        names = [f"node{message.metadata.dst_node_id}" for message in messages]
        self.sent = dict(zip(names, messages, strict=True))
        return [None if name in self.untaken else name for name in names]

    def pull_messages(self, message_ids: Iterable[str]) -> list[Message]:
        [message_id] = message_ids
        step = next(self.scripts[message_id])
        if isinstance(step, Exception):
            raise step
        return [step(self.sent[message_id])] if callable(step) else step

    def send_and_receive(self, *_: Any, **__: Any) -> list[Message]:
        raise AssertionError("this is the one that looks every 3 s")


def answer(question: Message) -> Message:
    return Message(RecordDict({"it is": ConfigRecord({"node": question.metadata.dst_node_id})}), reply_to=question)


def error(question: Message) -> Message:
    """As the SuperLink makes it for a node that is gone: it names itself."""
    reply = Message(Error(3), reply_to=question)
    reply.metadata.__dict__["_src_node_id"] = SUPERLINK_NODE_ID
    return reply


def status(code: int) -> httpx.HTTPStatusError:
    request = httpx.Request("POST", "http://superlink")
    return httpx.HTTPStatusError("", request=request, response=httpx.Response(code, request=request))


def ask(grid: Grid, nodes: tuple[int, ...] = (1, 2), timeout: float | None = 60.0) -> Iterable[Message]:
    messages = [Message(RecordDict(), node, "train", group_id="1") for node in nodes]
    return PollingGrid(grid).send_and_receive(messages, timeout=timeout)


def senders(replies: Iterable[Message]) -> list[int]:
    return [reply.metadata.src_node_id for reply in replies]


def test_replies_come_as_they_are_ready(sleeps: list[float]) -> None:
    grid = ScriptedGrid(node1=[NOT_YET, NOT_YET, answer], node2=[NOT_YET, answer])
    replies = iter(ask(grid))
    assert next(replies).content["it is"] == {"node": 2}
    assert sleeps == [0.2]
    assert senders(replies) == [1]
    assert sleeps == [0.2, 0.2]


def test_the_messages_are_sent_at_once() -> None:
    grid = ScriptedGrid()
    ask(grid)
    assert list(grid.sent) == ["node1", "node2"]


def test_the_timeout_ends_it_and_what_came_stands(sleeps: list[float]) -> None:
    assert senders(ask(ScriptedGrid(node1=[], node2=[answer]), timeout=1.0)) == [2]
    assert sum(sleeps) == pytest.approx(1.0, abs=0.2)


def test_without_a_timeout_it_waits_for_all(sleeps: list[float]) -> None:
    grid = ScriptedGrid(node1=[*[NOT_YET] * 50_000, answer], node2=[answer])
    assert senders(ask(grid, timeout=None)) == [2, 1]
    assert len(sleeps) == 50_000


def test_an_error_is_a_reply_and_names_the_node_that_was_asked() -> None:
    replies = list(ask(ScriptedGrid(node1=[error], node2=[answer])))
    assert [reply.has_error() for reply in replies] == [True, False]
    assert senders(replies) == [1, 2]


@pytest.mark.parametrize("fault", [LOST, httpx.ReadTimeout(""), ConnectionResetError(), status(503), status(429)])
def test_a_connection_lost_for_a_moment_costs_nothing(fault: Exception, caplog: pytest.LogCaptureFixture) -> None:
    grid = ScriptedGrid(node1=[fault, fault, answer], node2=[answer])
    assert sorted(senders(ask(grid))) == [1, 2]
    assert caplog.text.count("trying again") == 2


def test_a_connection_that_stays_lost_ends_with_the_timeout() -> None:
    assert senders(ask(ScriptedGrid(node1=repeat(LOST), node2=[answer]), timeout=2.0)) == [2]


@pytest.mark.parametrize("code", [400, 401, 404, 413])
def test_a_refusal_of_the_superlink_is_not_waited_for(code: int) -> None:
    with pytest.raises(FederationError, match=rf"SuperLink: does not hand out replies \(HTTP {code}\)"):
        list(ask(ScriptedGrid(node1=[status(code)], node2=[answer])))


def test_a_message_that_is_not_taken_is_not_waited_for(sleeps: list[float]) -> None:
    grid = ScriptedGrid(node1=[answer], node2=[answer])
    grid.untaken = {"node1"}
    assert senders(ask(grid)) == [2]
    assert sleeps == []


def test_nothing_sent_is_nothing_received() -> None:
    assert list(ask(ScriptedGrid(), nodes=())) == []


@pytest.mark.parametrize(
    "use",
    [
        lambda grid: grid.get_nodes(),
        lambda grid: grid.get_node_ids(),
        lambda grid: grid.send_and_receive([Message(RecordDict(), 1, "train")]),
    ],
)
def test_a_superlink_that_cannot_be_reached_is_one_line(
    use: Callable[[Grid], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise LOST

    for name in ("get_nodes", "get_node_ids", "push_messages"):
        monkeypatch.setattr(ScriptedGrid, name, fail)
    with pytest.raises(FederationError, match=r"SuperLink: cannot be reached \(ConnectError\)"):
        use(PollingGrid(ScriptedGrid()))


def test_all_else_is_the_other_grids() -> None:
    other = ScriptedGrid(node1=[answer])
    grid = PollingGrid(other)
    run = Run.create_empty(9)
    grid.set_run(run)
    assert grid.run is run
    assert [node.name for node in grid.get_nodes()] == ["north", "south"]
    assert grid.get_node_ids() == [1, 2]
    message = grid.create_message(RecordDict(), "train", 1, "7", 5.0)
    assert (message.metadata.group_id, message.metadata.ttl) == ("7", 5.0)
    assert grid.push_messages([message]) == ["node1"]
    assert [reply.metadata.src_node_id for reply in grid.pull_messages(["node1"])] == [1]


def test_a_grid_that_streams_stays_as_it_is() -> None:
    class Streaming(ScriptedGrid):
        streams: ClassVar[bool] = True

    streaming = Streaming()
    assert polling(streaming) is streaming
    assert isinstance(polling(ScriptedGrid()), PollingGrid)
