"""Incoming replies: each is checked against bounds before it is fetched and before it is parsed.

    SuperLink ── list of a reply's objects ──► check number and kinds ── object by object ──► a message

A reply is a tree of Flower's objects, each named by the hash of its content. A site announces the tree, and sends the
objects one by one. Flower's own grid (flwr 1.41) waits for a missing object for minutes, with all other replies behind
it; fetches trees of any size; builds whatever arrays they describe; and trusts the sender named in a message. Here,
the tree is first compared with the largest honest reply. A missing object is requested again in the next turn, after
all other replies. The unpacked size of the arrays is added up before they are built. The sender is the node that was
asked.

It uses functions of flwr 1.41 that are not documented, which is why flwr is pinned to one minor version.
"""

import json
import logging
import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, cast

import httpx
from flwr.app import Array, Error, Message, RecordDict
from flwr.app.message import make_message
from flwr.common.constant import FLWR_PRIVATE_MAX_ARRAY_CHUNK_SIZE
from flwr.common.serde import message_from_proto
from flwr.proto.message_pb2 import ConfirmMessageReceivedRequest, ObjectTree, PullObjectRequest
from flwr.proto.message_pb2 import Message as ProtoMessage
from flwr.proto.runtime_pb2 import PullAppMessagesRequest
from flwr.supercore.inflatable import inflatable_object
from flwr.supercore.inflatable.inflatable_utils import inflate_object_from_contents
from flwr.superlink.grid import HttpGrid

from silogan.common.errors import FederationError
from silogan.common.wire.envelope import unfold
from silogan.common.wire.messages import Weights

# What stands at which depth of a reply.
_KINDS = ({"Message"}, {"RecordDict"}, {"ArrayRecord", "ConfigRecord"}, {"Array"}, {"ArrayChunk"})
_OBJECTS = 8  # of a reply, besides the pieces of its arrays
_ENVELOPE_BYTES = 64 << 10  # of an object that is not a piece of an array; names of 800 pieces
_ARRAY_BYTES = 1024  # for name, type and shape of an array

_log = logging.getLogger("silogan.inbox")


class Fault(IntEnum):
    """Faults of a reply that are found before its content is read, as codes of an error message."""

    TOO_LARGE = 1001
    MALFORMED = 1002
    INCOMPLETE = 1003


def largest_reply(weights: Weights) -> int:
    """Bytes of the largest reply that trains `weights`, or that answers with a refusal."""
    return sum(tensor.nbytes + _ARRAY_BYTES for tensor in weights.values()) + _ENVELOPE_BYTES


@dataclass
class _Begun:
    """A reply that the SuperLink has announced: what is still to be fetched, the root last of all that was sent."""

    proto: ProtoMessage
    tree: ObjectTree
    missing: list[str]
    contents: dict[str, bytes] = field(default_factory=dict[str, bytes])


class Inbox:
    """Fetches the replies to the messages of a run.

    Args:
        grid: Flower's own, connected to the SuperLink.
        largest: bytes of the largest reply that is fetched; what may be held for one sender.
    """

    def __init__(self, grid: HttpGrid, largest: int) -> None:
        self._grid, self._largest = grid, largest
        self._most_objects = math.ceil(largest / FLWR_PRIVATE_MAX_ARRAY_CHUNK_SIZE) + _OBJECTS
        self._begun: dict[str, _Begun] = {}

    def look(self, message_id: str) -> Message | None:
        """The reply to a message; None while it is not there. An error tells what is wrong with it (`Fault`).

        It fetches what is there and never waits for what is not.

        Raises:
            httpx.HTTPError: the SuperLink does not answer, or refuses.
        """
        begun = self._begun.get(message_id)
        if begun is None:
            answer = self._announced(message_id)
            if not isinstance(answer, _Begun):
                return answer
            self._begun[message_id] = begun = answer
        reply = self._fetched(begun)
        if reply is not None:
            self._forget(message_id)
        return reply

    def give_up(self, message_id: str) -> Message | None:
        """The error for a reply that is incomplete at the deadline; None if it has not begun to arrive."""
        begun = self._begun.get(message_id)
        if begun is None:
            return None
        self._forget(message_id)
        return _fault(begun.proto, Fault.INCOMPLETE)

    def _announced(self, message_id: str) -> _Begun | Message | None:
        """A reply that has come meanwhile: begun, or an error."""
        answer = self._client.PullMessages(PullAppMessagesRequest(message_ids=[message_id]))
        found = None
        for proto, tree in zip(answer.messages_list, answer.message_object_trees, strict=True):
            if proto.metadata.reply_to_message_id != message_id or found is not None:
                _log.warning("an unrequested message is dropped")
                self._confirm(tree.object_id)
            elif proto.HasField("error"):
                self._confirm(tree.object_id)
                found = message_from_proto(proto)
            else:
                found = self._judged(proto, tree)
        return found

    def _judged(self, proto: ProtoMessage, tree: ObjectTree) -> _Begun | Message:
        """A reply whose tree is as large as an honest one's at most."""
        ids = [node.object_id for node in inflatable_object.iterate_object_tree(tree)]
        if len(ids) > self._most_objects:
            self._confirm(tree.object_id)
            return _fault(proto, Fault.TOO_LARGE)
        # A sender's last object is the root: if that is there, most likely all are.
        return _Begun(proto, tree, list(dict.fromkeys(reversed(ids))))

    def _fetched(self, begun: _Begun) -> Message | None:
        held = sum(map(len, begun.contents.values()))
        while begun.missing:
            name = begun.missing[0]
            node, run = self._grid.node, self._grid.run.run_id
            answer = self._client.PullObject(PullObjectRequest(node=node, run_id=run, object_id=name))
            if not answer.object_found:
                return _fault(begun.proto, Fault.INCOMPLETE)
            if not answer.object_available:
                return None
            held += len(answer.object_content)
            if held > self._largest + self._most_objects * _ARRAY_BYTES:
                return _fault(begun.proto, Fault.TOO_LARGE)
            begun.contents[name] = answer.object_content
            begun.missing.pop(0)
        return self._opened(begun)

    def _opened(self, begun: _Begun) -> Message:
        try:
            if not _fits(begun.tree, begun.contents, self._largest):
                return _fault(begun.proto, Fault.TOO_LARGE)
            [root] = begun.tree.children
            inflated = inflate_object_from_contents(root.object_id, begun.contents)
            content = unfold(cast(RecordDict, inflated))
            return make_message(metadata=message_from_proto(begun.proto).metadata, content=content)
        except FederationError:  # the packed bytes were not weights
            return _fault(begun.proto, Fault.MALFORMED)
        except Exception as error:  # whatever Flower makes of hostile bytes
            _log.warning("a reply cannot be unpacked (%s)", type(error).__name__)
            return _fault(begun.proto, Fault.MALFORMED)

    def _forget(self, message_id: str) -> None:
        begun = self._begun.pop(message_id)
        self._confirm(begun.tree.object_id)

    def _confirm(self, root: str) -> None:
        """Lets the SuperLink delete a reply; it does so at the end of the run as well."""
        run = self._grid.run.run_id
        request = ConfirmMessageReceivedRequest(node=self._grid.node, run_id=run, message_object_id=root)
        with suppress(httpx.HTTPError):
            self._client.ConfirmMessageReceived(request)

    @property
    def _client(self) -> Any:
        return self._grid._runtime_client  # pyright: ignore[reportPrivateUsage]


def _fits(tree: ObjectTree, contents: Mapping[str, bytes], largest: int, depth: int = 0) -> bool:
    """Whether an object and those below it are of their depth's kind, and unfold to no more than `largest` bytes.

    Raises:
        ValueError, KeyError, TypeError, RecursionError: it cannot be read, or is not what the tree says.
    """
    content = contents[tree.object_id]
    kind, children, _ = inflatable_object.get_object_head_values_from_object_content(content)
    below = [child.object_id for child in tree.children]
    if kind not in _KINDS[depth] or sorted(children) != sorted(below) or len(set(below)) != len(below):
        raise ValueError(kind)
    if kind == "ArrayChunk":
        return True
    if len(content) > _ENVELOPE_BYTES:
        return False
    if kind == "Array" and _unfolded_bytes(content, children, contents) > largest:
        return False
    return all(_fits(child, contents, largest, depth + 1) for child in tree.children)


def _unfolded_bytes(array: bytes, pieces: list[str], contents: Mapping[str, bytes]) -> int:
    """Bytes of an array's data: it may name a piece more than once."""
    named: list[int] = json.loads(inflatable_object.get_object_body(array, Array))["arraychunk_ids"]
    return sum(len(contents[pieces[index]]) for index in named)


def _fault(proto: ProtoMessage, fault: Fault) -> Message:
    return make_message(metadata=message_from_proto(proto).metadata, error=Error(int(fault)))
