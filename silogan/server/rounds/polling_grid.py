"""A grid that looks for replies often: Flower's own over HTTP looks every 3 s (flwr 1.41)."""

import time
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from logging import getLogger

import httpx
from flwr.app import Message, RecordDict
from flwr.proto.node_pb2 import NodeInfo
from flwr.serverapp import Grid
from flwr.supercore.run import Run
from flwr.superlink.grid import HttpGrid

from silogan.common.errors import FederationError
from silogan.common.wire.envelope import fold
from silogan.server.rounds.inbox import Inbox

_LOOK_SECONDS = 0.2
_LOGGER = getLogger(__name__)


def polling(grid: Grid, largest: int = 0) -> Grid:
    """The grid itself if its attribute `streams` says that it delivers replies as they come, else a `PollingGrid`."""
    return grid if getattr(grid, "streams", False) else PollingGrid(grid, largest)


class PollingGrid(Grid):
    """Another grid, whose replies are handed on within a fifth of a second.

    Where it is Flower's own, behind which are hospitals, weights travel as one object (`common/wire/envelope.py`), and
    a reply is judged before it is fetched (`server/rounds/inbox.py`).

    Args:
        grid: does all the work.
        largest: bytes of the largest reply that is taken from a hospital.
    """

    streams = True

    def __init__(self, grid: Grid, largest: int = 0) -> None:
        self._grid = grid
        self._inbox = Inbox(grid, largest) if isinstance(grid, HttpGrid) else None

    def set_run(self, run: Run) -> None:
        """See `flwr.serverapp.Grid`."""
        self._grid.set_run(run)

    @property
    def run(self) -> Run:
        """See `flwr.serverapp.Grid`."""
        return self._grid.run

    def create_message(
        self, content: RecordDict, message_type: str, dst_node_id: int, group_id: str, ttl: float | None = None
    ) -> Message:
        """See `flwr.serverapp.Grid`."""
        return self._grid.create_message(content, message_type, dst_node_id, group_id, ttl)

    def get_node_ids(self) -> Iterable[int]:
        """See `flwr.serverapp.Grid`."""
        with _connected():
            return self._grid.get_node_ids()

    def get_nodes(self) -> Iterable[NodeInfo]:
        """See `flwr.serverapp.Grid`."""
        with _connected():
            return self._grid.get_nodes()

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """See `flwr.serverapp.Grid`."""
        with _connected():
            return self._grid.push_messages(messages)

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """See `flwr.serverapp.Grid`."""
        return self._grid.pull_messages(message_ids)

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterator[Message]:
        """Sends at once, and returns an iterator over the replies as they come, errors among them.

        It ends with the last reply, or `timeout` seconds after the messages were sent. An error names the node that
        was asked, where Flower names itself.

        Raises:
            FederationError: the messages cannot be sent; or, while iterating, the SuperLink refuses the server (HTTP
                4xx), which waiting does not fix.
        """
        sent = list(messages)
        for message in sent if self._inbox is not None else ():
            message.content = fold(message.content)
        ids = self.push_messages(sent) if sent else []
        asked = {
            message_id: message.metadata.dst_node_id
            for message_id, message in zip(ids, sent, strict=False)  # none come back where a push was too large
            if message_id  # None for a message that the SuperLink does not take
        }
        return self._replies(asked, None if timeout is None else time.monotonic() + timeout)

    def _replies(self, asked: dict[str, int], deadline: float | None) -> Iterator[Message]:
        last = False  # each message is looked for once more after the deadline: what came in time is taken
        while asked and not last:
            last = deadline is not None and time.monotonic() >= deadline
            # One at a time: what the SuperLink has handed out it does not hand out again, so a lost connection costs
            # one reply at most, and one is in memory at a time.
            for message_id, node in list(asked.items()):
                reply = self._look(message_id)
                if reply is None and last and self._inbox is not None:
                    reply = self._inbox.give_up(message_id)
                if reply is not None:
                    del asked[message_id]
                    # Flower names itself in an error; and what a site says of itself is not believed.
                    reply.metadata.__dict__["_src_node_id"] = node
                    yield reply
            if asked and not last:
                time.sleep(_LOOK_SECONDS)

    def _look(self, message_id: str) -> Message | None:
        """The reply to a message, if it has arrived; None also if the connection is lost for a moment."""
        try:
            if self._inbox is not None:
                return self._inbox.look(message_id)
            return next(iter(self._grid.pull_messages([message_id])), None)
        except httpx.HTTPStatusError as error:
            status = error.response.status_code
            if status < HTTPStatus.INTERNAL_SERVER_ERROR and status != HTTPStatus.TOO_MANY_REQUESTS:
                problem = f"does not hand out replies (HTTP {status})"
                raise FederationError("SuperLink", problem, "see its log, then resume") from error
            _LOGGER.warning("no reply could be fetched (HTTP %d); trying again", status)
        except (httpx.TransportError, OSError) as error:
            _LOGGER.warning("no reply could be fetched (%s); trying again", type(error).__name__)
        return None


@contextmanager
def _connected() -> Generator[None]:
    """What Flower does not retry itself, as one line."""
    try:
        yield
    except httpx.HTTPError as error:
        problem = f"cannot be reached ({type(error).__name__})"
        raise FederationError("SuperLink", problem, "see its log, then resume") from error
