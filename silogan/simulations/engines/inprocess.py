"""The in-process engine: Flower's Grid in one process, with one thread per active site.

It calls the same ClientApp and ServerApp that hospitals run, and costs milliseconds a round. flwr 1.41 has no public
in-process grid; this class sets the message's identity fields that a SuperLink would set, which is why flwr is pinned
to one minor version.
"""

import logging
import uuid
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import contextmanager
from pathlib import Path
from time import monotonic

from flwr.app import Context, Error, Message, RecordDict
from flwr.common.constant import ErrorCode
from flwr.serverapp import Grid
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity

from silogan.client.app import app as client_app
from silogan.common.operations.logs import JsonLines
from silogan.common.progress import STOPPING, begin
from silogan.common.wire.run_folder import SITES_LOG
from silogan.server.app import app as server_app

ClientFunction = Callable[[Message, Context], Message]

_SERVER_NODE = 0
_RUN_ID = 1


class InProcessGrid(Grid):
    """A grid whose nodes are threads.

    Args:
        client: what answers a message, as a ClientApp does.
        contexts: one context a node, by node id.
        workers: how many nodes work at the same time.

    Replies are delivered in the order of the messages. Where sites take about equally long, few replies wait to be
    collected: a server that averages as it receives then holds the weights of a few sites, however many there are.

    Attributes:
        streams: tells the server that replies come as they are ready, with no polling to wait for.
    """

    streams = True

    def __init__(self, client: ClientFunction, contexts: dict[int, Context], workers: int) -> None:
        TaskIdentity.task_id = TaskIdentity.run_id = _RUN_ID
        TaskIdentity.node_id = _SERVER_NODE
        self._client, self._contexts = client, contexts
        self._run = Run.create_empty(_RUN_ID)
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="site")
        self._pending: dict[str, Future[Message]] = {}

    def set_run(self, run: Run) -> None:
        """Sets the run's description."""
        self._run = run

    @property
    def run(self) -> Run:
        """The run's description."""
        return self._run

    def create_message(
        self, content: RecordDict, message_type: str, dst_node_id: int, group_id: str, ttl: float | None = None
    ) -> Message:
        """See `flwr.serverapp.Grid`."""
        return Message(content, dst_node_id, message_type, ttl=ttl, group_id=group_id)

    def get_node_ids(self) -> Iterable[int]:
        """All nodes: threads are always connected."""
        return list(self._contexts)

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Queues messages for their nodes."""
        return [self._submit(message) for message in messages]

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Replies that are ready, of those asked for."""
        ready = [message_id for message_id in message_ids if self._pending[message_id].done()]
        return [self._pending.pop(message_id).result() for message_id in ready]

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterator[Message]:
        """Replies one by one, in the order of the messages; those that are late are left out."""
        deadline = None if timeout is None else monotonic() + timeout
        for message_id in list(self.push_messages(messages)):
            future = self._pending.pop(message_id)
            try:
                yield future.result(None if deadline is None else max(0.0, deadline - monotonic()))
            except FutureTimeoutError:
                future.cancel()

    def close(self) -> None:
        """Cancels pending work and waits for running work."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _submit(self, message: Message) -> str:
        message_id = uuid.uuid4().hex
        message.metadata.__dict__["_message_id"] = message_id
        self._pending[message_id] = self._pool.submit(self._answer, message)
        return message_id

    def _answer(self, message: Message) -> Message:
        try:
            return self._client(message, self._contexts[message.metadata.dst_node_id])
        except Exception as error:
            reason = Error(ErrorCode.CLIENT_APP_RAISED_EXCEPTION, type(error).__name__)
            return Message(reason, reply_to=message)


def _quieten_flower() -> None:
    """Rounds are shown by simulations/live.py; Opacus adds a root handler that would print Flower's warnings twice."""
    logger = logging.getLogger("flwr")
    logger.setLevel(logging.WARNING)
    logger.propagate = False


@contextmanager
def _sites_log(run_dir: Path) -> Generator[None]:
    """Redirects the sites' log to a file instead of the terminal."""
    logger = logging.getLogger("silogan.client")
    handler = logging.FileHandler(run_dir / SITES_LOG, encoding="utf-8", delay=True)
    handler.setFormatter(JsonLines())
    logger.addHandler(handler)
    logger.propagate = False
    try:
        yield
    finally:
        logger.propagate = True
        logger.removeHandler(handler)
        handler.close()


def run(run_dir: Path, *, num_sites: int, workers: int) -> None:
    """Runs a prepared study in this process.

    Args:
        run_dir: holds the study.
        num_sites: number of sites in its roster.
        workers: sites at work at the same time.

    Raises:
        SiloganError: how the federation failed.
    """
    _quieten_flower()
    config = {"run-dir": str(run_dir)}

    def context(node_id: int, node_config: dict[str, int]) -> Context:
        return Context(_RUN_ID, node_id, dict(node_config), RecordDict(), dict(config))

    nodes = {index + 1: context(index + 1, {"partition-id": index}) for index in range(num_sites)}
    grid = InProcessGrid(client_app, nodes, workers)
    with _sites_log(run_dir):
        try:
            server_app(grid, context(_SERVER_NODE, {}))
        except KeyboardInterrupt:
            begin(STOPPING, "when the sites at work have ended")
            raise
        finally:
            grid.close()
