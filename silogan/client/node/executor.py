"""The warm executor: passes the SuperNode's tasks to the worker, instead of starting a process for each message.

Flower starts a new process for every message, which imports torch again (12–15 s a round), and runs the code that came
with it. This executor asks the SuperNode's Runtime API for tasks as Flower's own SuperExec does, and hands the messages
to a warm worker. It runs only the code that is installed here and refuses a bundle of other software.

It never waits without a deadline. A SuperNode drops a message whose run has ended but leaves its task behind, so the
message would never arrive. If a message is missing when the server's time limit ends, or was replaced by newer work,
the executor gives up (`StuckError`): this process ends, and the SuperNode with it, since that may be waiting for an
answer that nobody can give (`client/node/service.py`).

It uses functions of flwr 1.41 that are not documented, which is why flwr is pinned to one minor version.
"""

import logging
import time
from contextlib import suppress
from functools import partial
from pathlib import Path

import httpx
from flwr.app import Context, Message, Metadata, RecordDict
from flwr.common.constant import SubStatus
from flwr.common.serde import context_from_proto, message_from_proto
from flwr.proto import runtime_pb2
from flwr.proto.message_pb2 import ConfirmMessageReceivedRequest, ObjectTree, PullObjectRequest
from flwr.supercore import interceptors
from flwr.supercore.constant import TaskType
from flwr.supercore.heartbeat import HeartbeatSender
from flwr.supercore.inflatable.inflatable_utils import inflate_object_from_contents, iterate_object_tree
from flwr.supercore.protobuf.client import ProtobufClientInterceptor
from flwr.supercore.runtime import RuntimeHttpClient
from flwr.supercore.task_identity import TaskIdentity
from flwr.supernode.runtime.run_clientapp import push_message, push_task_output

from silogan.client.node.worker import Worker
from silogan.common.errors import Code, SiloganError, VerificationError
from silogan.common.operations.logs import describe
from silogan.common.wire.bundle import bundle_digest
from silogan.common.wire.refusals import refusal_record

_LOOK_SECONDS = 0.1  # between two questions for a task
_RETRY_SECONDS = 1.0  # after the SuperNode could not be reached
_MESSAGE_SECONDS = 30.0  # from a task to its message, which the SuperNode has written down a moment later
_MOST_OBJECTS, _MOST_BYTES = 10_000, 2**31  # of one message
_REPLY_SECONDS = 5.0  # kept for the way back, since a SuperNode looks for answers every three seconds
_PROTECTED = frozenset({"/flwr.proto.Runtime/AcquireTask"})

_log = logging.getLogger("silogan.executor")


class StuckError(Exception):
    """The SuperNode does not deliver what belongs to a task."""


class Executor:
    """Runs the tasks of one SuperNode, one after the other.

    Args:
        address: of the SuperNode's Runtime API, on this machine, as host:port.
        secret_file: the secret that the SuperNode shares with its executor.
        worker: does the rounds.
        reviewed: digest of the software that the hospital has reviewed.
        seconds: that a round may take; the server's own patience is respected where it is shorter.
    """

    def __init__(self, address: str, secret_file: Path, worker: Worker, reviewed: str, seconds: float) -> None:
        self._address = address
        self._worker = worker
        self._reviewed = reviewed
        self._seconds = seconds
        self._next = ""
        """Token of a task that was acquired while another one was given up."""
        secret = secret_file.read_bytes()
        signing = interceptors.SuperExecAuthHttpInterceptor(master_secret=secret, protected_methods=_PROTECTED)
        self._client = self._connect(signing)

    def run(self) -> None:
        """Takes tasks until the process is ended.

        Raises:
            StuckError: only a new start, of the SuperNode too, helps.
        """
        self._worker.start()
        _log.info("ready")
        while True:
            try:
                token = self._next or self._acquire()
            except httpx.HTTPError:
                time.sleep(_RETRY_SECONDS)  # the SuperNode is not up yet, or is being started again
                continue
            self._next = ""
            if not token:
                time.sleep(_LOOK_SECONDS)
                continue
            try:
                self._do(token)
            except StuckError:
                if not self._next:
                    raise
                _log.warning("task abandoned: its message was replaced by a newer one")
            except Exception as error:  # whatever a coordinator may send
                _log.warning("task lost: %s", type(error).__name__)

    def _acquire(self) -> str:
        """The token of a task that is not taken yet; empty if there is none."""
        answer = self._client.AcquireTask(runtime_pb2.AcquireTaskRequest(supported_task_types=[TaskType.CLIENT_APP]))
        return answer.token if answer.HasField("task") else ""

    def _do(self, token: str) -> None:
        """Pulls a task's message, has it answered, and pushes the answer."""
        client = self._connect(interceptors.RuntimeTokenHttpInterceptor(token))
        heartbeat = HeartbeatSender(partial(_beat, client))
        heartbeat.start()
        try:
            task = client.PullTaskInput(runtime_pb2.PullTaskInputRequest())
            TaskIdentity.task_id, TaskIdentity.run_id = task.task_id, task.run.run_id
            TaskIdentity.node_id = task.context.node_id
            context = context_from_proto(task.context)
            found = _message(client)
            asked = message_from_proto(found.messages_list[0])
            contents = self._pull(client, context, found.message_object_trees[0], asked.metadata)
            began = time.monotonic()
            # Every message has a reply, for which the SuperNode waits.
            message = _inflated(found.message_object_trees[0], contents)
            content = refusal_record("hospital", Code.MESSAGE)
            if message is not None:
                content = self._answer(message, task.fab.content)
            push_message(client, Message(content, reply_to=asked), context)
            push_task_output(client, context, SubStatus.COMPLETED, "")
            _log.info("round %s answered in %.1f s", asked.metadata.group_id, time.monotonic() - began)
        finally:
            with suppress(RuntimeError):  # its thread has ended by itself
                heartbeat.stop()
            client.close()

    def _pull(
        self, client: RuntimeHttpClient, context: Context, tree: ObjectTree, metadata: Metadata
    ) -> dict[str, bytes]:
        """All objects of a message, as long as its answer can be in time.

        Raises:
            StuckError: they do not come, or not any more, or are more than a message has.
        """
        deadline = time.monotonic() + min(self._seconds, _time_left(metadata))
        found: dict[str, bytes] = {}
        size = 0
        for one in iterate_object_tree(tree):
            if one.object_id not in found:
                request = PullObjectRequest(run_id=context.run_id, object_id=one.object_id)
                request.node.node_id = context.node_id
                found[one.object_id] = self._object(client, request, deadline)
                size += len(found[one.object_id])
            if len(found) > _MOST_OBJECTS or size > _MOST_BYTES:
                raise StuckError("a message is too large")
        confirmation = ConfirmMessageReceivedRequest(run_id=context.run_id, message_object_id=tree.object_id)
        confirmation.node.node_id = context.node_id
        client.ConfirmMessageReceived(confirmation)
        return found

    def _object(self, client: RuntimeHttpClient, request: PullObjectRequest, deadline: float) -> bytes:
        while True:
            answer = client.PullObject(request)
            if answer.object_found and answer.object_available:
                return answer.object_content
            # A SuperNode has one message at a time: another one means that it has dropped this one.
            self._next = self._acquire()
            if self._next:
                raise StuckError("a message was dropped")
            if not answer.object_found:
                raise LookupError("the SuperNode no longer waits for this message")
            if time.monotonic() > deadline:
                raise StuckError("a message did not arrive in time")
            time.sleep(_LOOK_SECONDS)

    def _answer(self, message: Message, bundle: bytes) -> RecordDict:
        try:
            if bundle_digest(bundle) != self._reviewed:
                problem = "is not the software that this hospital has reviewed"
                hint = "run the same version of silogan on both sides"
                raise VerificationError("bundle", problem, hint, code=Code.SOFTWARE)
            seconds = min(self._seconds, _time_left(message.metadata))
            return self._worker.ask(message.content, seconds)
        except SiloganError as error:
            _log.warning("refused (%s): %s", error.code, error)
            return refusal_record("hospital", error.code)
        except Exception as error:
            _log.error("refused (%s): %s", Code.UNAVAILABLE, describe(error))
            return refusal_record("hospital", Code.UNAVAILABLE)

    def _connect(self, interceptor: ProtobufClientInterceptor) -> RuntimeHttpClient:
        return RuntimeHttpClient.from_server_address(
            server_address=self._address,
            insecure=True,  # both are on this machine, and each request is signed
            root_certificates=None,
            interceptors=[interceptors.RuntimeVersionHttpInterceptor(component_name="SuperExec"), interceptor],
            # Flower's own would interrupt this process where a SuperNode that was started again refuses an old token.
            retry_invoker=None,
        )


def _message(client: RuntimeHttpClient) -> runtime_pb2.PullAppMessagesResponse:
    """The message of a task, whose objects may still be on their way.

    Raises:
        StuckError: it does not arrive.
    """
    deadline = time.monotonic() + _MESSAGE_SECONDS
    while time.monotonic() < deadline:
        answer = client.PullMessages(runtime_pb2.PullAppMessagesRequest())
        if answer.messages_list:
            return answer
        time.sleep(_LOOK_SECONDS)
    raise StuckError("a task has no message")


def _inflated(tree: ObjectTree, contents: dict[str, bytes]) -> Message | None:
    """The message that the objects make up; None if they make up none."""
    try:
        message = inflate_object_from_contents(tree.object_id, contents)
    except Exception as error:  # of Flower's parsers, on bytes that a coordinator chose
        _log.warning("a message cannot be unpacked: %s", type(error).__name__)
        return None
    return message if isinstance(message, Message) and message.has_content() else None


def _time_left(metadata: Metadata) -> float:
    """Seconds until an answer would come too late, by this machine's clock."""
    return max(1.0, metadata.created_at + metadata.ttl - time.time() - _REPLY_SECONDS)


def _beat(client: RuntimeHttpClient) -> bool:
    """Sends the SuperNode a heartbeat for its task; Flower's own function would end this process with its run."""
    try:
        client.SendTaskHeartbeat(runtime_pb2.SendTaskHeartbeatRequest())
    except httpx.HTTPError:
        return False
    return True
