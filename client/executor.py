"""The warm executor: takes the SuperNode's tasks and has them done by the worker, in place of a process a message.

Flower starts a new process for every message, which imports torch again (12–15 s a round), and runs the code that came
with it. This one asks the SuperNode's Runtime API for tasks as Flower's own SuperExec does, hands what the server sent
to a worker that is warm, and runs no code but what is installed here; a bundle of other software is refused.

It uses functions of flwr 1.41 that are not documented, which is why flwr is pinned to one minor version.
"""

import logging
import time
from functools import partial
from pathlib import Path

import httpx
from flwr.app import Message, Metadata, RecordDict
from flwr.common.constant import SubStatus
from flwr.proto.runtime_pb2 import AcquireTaskRequest, SendTaskHeartbeatRequest
from flwr.supercore.constant import TaskType
from flwr.supercore.heartbeat import HeartbeatSender
from flwr.supercore.interceptors import (
    RuntimeTokenHttpInterceptor,
    RuntimeVersionHttpInterceptor,
    SuperExecAuthHttpInterceptor,
)
from flwr.supercore.protobuf.client import ProtobufClientInterceptor
from flwr.supercore.runtime import RuntimeHttpClient
from flwr.supernode.runtime.run_clientapp import pull_task_input, push_message, push_task_output

from client.worker import Worker
from common.bundle import bundle_digest
from common.envelope import fold, unfold
from common.errors import Code, SiloganError, VerificationError
from common.refusals import refusal_record

_LOOK_SECONDS = 0.1  # between two questions for a task
_RETRY_SECONDS = 1.0  # after the SuperNode could not be reached
_REPLY_SECONDS = 5.0  # kept for the way back, since a SuperNode looks for answers every three seconds
_PROTECTED = frozenset({"/flwr.proto.Runtime/AcquireTask"})

_log = logging.getLogger("silogan.executor")


class Executor:
    """Does the tasks of one SuperNode, one after the other.

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
        signing = SuperExecAuthHttpInterceptor(master_secret=secret_file.read_bytes(), protected_methods=_PROTECTED)
        self._client = self._connect(signing)

    def run(self) -> None:
        """Takes tasks until the process is ended."""
        self._worker.start()
        _log.info("ready")
        request = AcquireTaskRequest(supported_task_types=[TaskType.CLIENT_APP])
        while True:
            try:
                answer = self._client.AcquireTask(request)
            except httpx.HTTPError:
                time.sleep(_RETRY_SECONDS)  # the SuperNode is not up yet, or is being started again
                continue
            if answer.HasField("task") and answer.token:
                try:
                    self._do(answer.token)
                except (httpx.HTTPError, RuntimeError) as error:
                    _log.warning("task lost: %s", type(error).__name__)
            else:
                time.sleep(_LOOK_SECONDS)

    def _do(self, token: str) -> None:
        """Pulls a task's message, has it answered, and pushes the answer."""
        client = self._connect(RuntimeTokenHttpInterceptor(token))
        heartbeat = HeartbeatSender(partial(_beat, client))
        heartbeat.start()
        try:
            message, context, _, fab = pull_task_input(client)
            began = time.monotonic()
            content = self._answer(message, fab.content)
            push_message(client, Message(content, reply_to=message), context)
            push_task_output(client, context, SubStatus.COMPLETED, "")
            _log.info("round %s answered in %.1f s", message.metadata.group_id, time.monotonic() - began)
        finally:
            heartbeat.stop()
            client.close()

    def _answer(self, message: Message, bundle: bytes) -> RecordDict:
        try:
            if bundle_digest(bundle) != self._reviewed:
                problem = "is other software than this hospital has reviewed"
                mend = "run the same version of silogan on both sides"
                raise VerificationError("bundle", problem, mend, code=Code.SOFTWARE)
            seconds = min(self._seconds, _time_left(message.metadata))
            return fold(self._worker.ask(unfold(message.content), seconds))
        except SiloganError as error:
            _log.warning("refused (%s): %s", error.code, error)
            return refusal_record("hospital", error.code)

    def _connect(self, interceptor: ProtobufClientInterceptor) -> RuntimeHttpClient:
        return RuntimeHttpClient.from_server_address(
            server_address=self._address,
            insecure=True,  # both are on this machine, and each request is signed
            root_certificates=None,
            interceptors=[RuntimeVersionHttpInterceptor(component_name="SuperExec"), interceptor],
            # Flower's own would interrupt this process where a SuperNode that was started again refuses an old token.
            retry_invoker=None,
        )


def _time_left(metadata: Metadata) -> float:
    """Seconds until an answer would come too late, by this machine's clock."""
    return max(1.0, metadata.created_at + metadata.ttl - time.time() - _REPLY_SECONDS)


def _beat(client: RuntimeHttpClient) -> bool:
    """Tells the SuperNode that its task is alive; Flower's own function would end this process with its run."""
    try:
        client.SendTaskHeartbeat(SendTaskHeartbeatRequest())
    except httpx.HTTPError:
        return False
    return True
