"""A coordinator that is none: it speaks as Flower's SuperLink does, over TLS, and leaves out what a test says."""

import hashlib
import io
import ssl
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

from flwr.app import Message, MessageType, RecordDict
from flwr.app.message import remove_content_from_message
from flwr.common.serde import message_to_proto
from flwr.proto import fleet_pb2 as fleet
from flwr.proto import heartbeat_pb2 as heartbeat
from flwr.proto import message_pb2 as messages
from flwr.proto.fab_pb2 import Fab, GetFabRequest, GetFabResponse
from flwr.proto.run_pb2 import GetRunRequest, GetRunResponse, Run
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects, get_object_tree
from flwr.supercore.task_identity import TaskIdentity

from silogan.common.wire.bundle import stage
from silogan.server.operations.authority import Authority

NODE = 7
Answer = Callable[[Any], Any]


@dataclass
class Asked:
    """A message for the node, as it stands at a SuperLink."""

    run: int
    proto: Any
    tree: Any
    contents: dict[str, bytes]

    @staticmethod
    def of(content: RecordDict, run: int, ttl: float = 600.0) -> "Asked":
        TaskIdentity.task_id, TaskIdentity.run_id, TaskIdentity.node_id = 1, run, 1
        message = Message(content, NODE, MessageType.TRAIN, ttl=ttl)
        message.metadata.__dict__["_message_id"] = message.object_id
        objects = {name: one.deflate() for name, one in get_all_nested_objects(message).items()}
        proto = message_to_proto(remove_content_from_message(message))
        return Asked(run, proto, get_object_tree(message), objects)


@dataclass
class Coordinator:
    """Answers a node's requests by the last part of their path; `answers` overrides what an honest one would say.

    Attributes:
        queue: the messages that it has for the node, in turn.
        replies: to which run the node has replied.
        seen: every request's last part.
    """

    folder: Path
    queue: list[Asked] = field(default_factory=list[Asked])
    answers: dict[str, Answer] = field(default_factory=dict[str, Answer])
    replies: list[int] = field(default_factory=list[int])
    seen: list[str] = field(default_factory=list[str])

    def __post_init__(self) -> None:
        self._given: dict[str, bytes] = {}
        authority = Authority.create(self.folder)
        authority.renew(["127.0.0.1"])
        self.ca = authority.ca_pem
        self._bundle = _bundle(self.folder / "app")
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(authority.server_pem, authority.server_key)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, name: str, body: bytes) -> Any:
        """The answer to a request: a message, or the number of an HTTP error."""
        self.seen.append(name)
        kinds: dict[str, tuple[Any, Answer]] = {
            "activate-node": (fleet.ActivateNodeRequest, lambda _: fleet.ActivateNodeResponse(node_id=NODE)),
            "deactivate-node": (fleet.DeactivateNodeRequest, lambda _: fleet.DeactivateNodeResponse()),
            "send-node-heartbeat": (
                heartbeat.SendNodeHeartbeatRequest,
                lambda _: heartbeat.SendNodeHeartbeatResponse(success=True),
            ),
            "pull-messages": (fleet.PullMessagesRequest, self._message),
            "get-run": (GetRunRequest, self._run),
            "get-fab": (
                GetFabRequest,
                lambda request: GetFabResponse(fab=Fab(hash_str=request.hash_str, content=self._bundle)),
            ),
            "pull-object": (messages.PullObjectRequest, self._object),
            "confirm-message-received": (
                messages.ConfirmMessageReceivedRequest,
                lambda _: messages.ConfirmMessageReceivedResponse(),
            ),
            "push-messages": (fleet.PushMessagesRequest, self._reply),
            "push-object": (messages.PushObjectRequest, lambda _: messages.PushObjectResponse(stored=True)),
        }
        kind, honest = kinds[name]
        request = kind.FromString(body)
        special = self.answers.get(name)
        found = special(request) if special is not None else None
        return honest(request) if found is None else found

    def _message(self, _: Any) -> Any:
        if not self.queue:
            return fleet.PullMessagesResponse()
        asked = self.queue.pop(0)
        self._given = asked.contents
        return fleet.PullMessagesResponse(messages_list=[asked.proto], message_object_trees=[asked.tree])

    def _run(self, request: Any) -> Any:
        digest = hashlib.sha256(self._bundle).hexdigest()
        run = Run(run_id=request.run_id, fab_id="silogan/silogan", fab_version="1", fab_hash=digest)
        run.series_id = request.run_id
        return GetRunResponse(run=run)

    def _object(self, request: Any) -> Any:
        content = self._given.get(request.object_id)
        found = content is not None
        return messages.PullObjectResponse(object_found=found, object_available=found, object_content=content or b"")

    def _reply(self, request: Any) -> Any:
        self.replies += [one.metadata.run_id for one in request.messages_list]
        return fleet.PushMessagesResponse(objects_to_push=[], session_id="s")


def _bundle(folder: Path) -> bytes:
    """The installed software, as a coordinator ships it."""
    stage(folder)
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                archive.write(path, path.relative_to(folder).as_posix())
    return content.getvalue()


def _handler(coordinator: Coordinator) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            answer = coordinator.answer(self.path.rpartition("/")[2], body)
            status, content = (answer, b"") if isinstance(answer, int) else (200, answer.SerializeToString())
            self.send_response(status)
            self.send_header("Content-Type", "application/protobuf")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    return Handler
