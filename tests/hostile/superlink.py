"""A SuperLink in this process, over real HTTP: its own routes, keys, database and objects, with one run begun.

`silogan server start` runs the same program behind nginx; here neither its start nor its processes are waited for.
"""

import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from cryptography.hazmat.primitives.asymmetric import ec
from flwr.app import ConfigRecord, Message, RecordDict
from flwr.app.message import remove_content_from_message
from flwr.common.serde import message_from_proto, message_to_proto
from flwr.proto.fleet_pb2 import PullMessagesRequest, PushMessagesRequest
from flwr.proto.message_pb2 import ObjectTree, PushObjectRequest
from flwr.proto.node_pb2 import Node
from flwr.supercore.constant import NOOP_FEDERATION_ID, TaskType
from flwr.supercore.heartbeat import HeartbeatSender, make_task_heartbeat_fn_http
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects, get_object_tree
from flwr.supercore.interceptors import RuntimeVersionHttpInterceptor
from flwr.supercore.primitives.asymmetric import public_key_to_bytes
from flwr.supercore.retry import make_simple_http_retry_invoker
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity
from flwr.superlink.grid import HttpGrid
from flwr.superlink.main import create_app
from flwr.supernode.fleet_http_client import FleetHttpClient
from flwr.supernode.node_auth_http_interceptor import NodeAuthHttpInterceptor

from silogan.common.operations.flower import free_port


@dataclass
class Enrolled:
    """An enrolled hospital's key in whoever's hands: what its SuperNode can say, and more."""

    node: int
    name: str
    client: FleetHttpClient
    run: int

    def asked(self) -> Message:
        """The instruction that waits for it, without its content."""
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            answer = self.client.PullMessages(PullMessagesRequest(node=Node(node_id=self.node)))
            if answer.messages_list:
                message = message_from_proto(answer.messages_list[0])
                message.content = RecordDict()
                return message
            time.sleep(0.02)
        raise AssertionError("nothing was asked")

    def announce(self, message: Message, tree: ObjectTree | None = None) -> tuple[list[str], str]:
        """Says which objects a message consists of; those that the SuperLink wants, and its session."""
        message.metadata.__dict__["_message_id"] = message.object_id
        return self.announce_as(message, tree or get_object_tree(message))

    def announce_as(self, message: Message, tree: ObjectTree) -> tuple[list[str], str]:
        """The same under the name that the message has, whatever its content's hash."""
        bare = message if message.has_error() else remove_content_from_message(message)
        request = PushMessagesRequest(
            node=Node(node_id=self.node),
            messages_list=[message_to_proto(bare)],
            message_object_trees=[tree],
        )
        answer = self.client.PushMessages(request)
        return list(answer.objects_to_push), answer.session_id

    def send(self, object_id: str, content: bytes, session: str) -> None:
        """Sends one object, and tries again as a SuperNode does."""
        request = PushObjectRequest(
            node=Node(node_id=self.node),
            run_id=self.run,
            object_id=object_id,
            object_content=content,
            session_id=session,
        )
        assert make_simple_http_retry_invoker().invoke(self.client.PushObject, request).stored

    def answer(self, content: RecordDict, *, without: int = 0) -> None:
        """Answers what is asked, as a SuperNode does; all objects but the last `without`, the root being the last."""
        self.reply(Message(content, reply_to=self.asked()), without=without)

    def reply(self, message: Message, *, without: int = 0) -> None:
        """Sends a reply."""
        wanted, session = self.announce(message)
        objects = [(name, one) for name, one in get_all_nested_objects(message).items() if name in wanted]
        for name, one in objects[: len(objects) - without]:
            self.send(name, one.deflate(), session)


@dataclass
class Hub:
    """The SuperLink: its grid as the ServerApp has it, and the enrolled hospitals."""

    port: int
    state: Any
    grid: HttpGrid
    run: int
    nodes: dict[str, Enrolled]
    ca: bytes | None = None

    def enrol(self, name: str, *, port: int | None = None) -> Enrolled:
        """Enrols a hospital and lets it be online; it calls the SuperLink, or what listens at `port` before it."""
        key = ec.generate_private_key(ec.SECP384R1())
        public = public_key_to_bytes(key.public_key())
        node = self.state.create_node("", "", public, 600.0, name=name)
        assert self.state.activate_node(node, 600.0)
        interceptors: list[Any] = [
            RuntimeVersionHttpInterceptor(component_name="SuperNode"),
            NodeAuthHttpInterceptor(key, key.public_key()),
        ]
        address = f"localhost:{port or self.port}"
        client = FleetHttpClient.from_server_address(address, self.ca is None, self.ca, interceptors=interceptors)
        self.nodes[name] = Enrolled(node, name, client, self.run)
        return self.nodes[name]


@contextmanager
def hub(folder: Path, patch: pytest.MonkeyPatch, *, tls: bool = False) -> Iterator[Hub]:
    """A SuperLink with a run; with the folder's server.pem and ca.pem, if `tls`."""
    patch.setenv("FLWR_DATABASE", str(folder / "superlink.sqlite"))
    port = free_port()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of Flower's migrations
        app = create_app()
    certificate: dict[str, Any] = (
        {"ssl_certfile": folder / "server.pem", "ssl_keyfile": folder / "server.key"} if tls else {}
    )
    config = uvicorn.Config(app, host="127.0.0.1", port=port, log_level="warning", ws="none", **certificate)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.01)
    state: Any = app.state.linkstate_factory.state()
    run = state.create_run(None, None, None, {}, NOOP_FEDERATION_ID, None, "", TaskType.SERVER_APP)
    [task] = state.get_tasks(run_ids=[run])
    token = state.claim_task(task.task_id)
    assert state.activate_task(task.task_id)
    for name, value in (("task_id", task.task_id), ("run_id", run), ("node_id", 1)):
        patch.setattr(TaskIdentity, f"_{name}", value)
    ca = (folder / "ca.pem").read_bytes() if tls else None
    grid = HttpGrid(f"localhost:{port}", not tls, ca, token=token)
    grid.set_run(Run.create_empty(run))
    heartbeat = HeartbeatSender(make_task_heartbeat_fn_http(grid._runtime_client))
    heartbeat.start()
    nodes: dict[str, Enrolled] = {}
    try:
        yield Hub(port, state, grid, run, nodes, ca)
    finally:
        for node in nodes.values():
            node.client.close()
        heartbeat.stop()
        grid.close()
        server.should_exit = True
        thread.join()


def instruction() -> RecordDict:
    """Something that is asked."""
    return RecordDict({"header": ConfigRecord({"round": 1})})
