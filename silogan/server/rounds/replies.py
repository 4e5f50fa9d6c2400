"""Checks the replies of a round: nothing in them is trusted, and what no honest site sends is a violation."""

import math
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from flwr.app import ArrayRecord, Message, RecordDict

from silogan.common.errors import FederationError, SiloganError
from silogan.common.models.weights import Weights, digest
from silogan.common.wire.messages import Reply, unpack
from silogan.common.wire.refusals import public_error, refusal_from_record
from silogan.server.rounds.cosine_filter import FEWEST, cosines_with_median
from silogan.server.rounds.inbox import Fault
from silogan.server.rounds.members import Members
from silogan.server.rounds.quarantine import ProtocolViolation

# A sender could declare a small tensor and ship a large one; NumPy's own header takes well under this.
_HEADER_BYTES = 1024
_LEFT_OUT = "the reply is left out of the average"
Usable = tuple[Reply, Weights]
_T = TypeVar("_T")


class RoundReplies:
    """The replies of one round: those that may be averaged, and why the others may not.

    Args:
        number: the round of the phase, from 1.
        phase: its name.
        sent: the weights that the sites were asked to train.
        max_update_norm: largest L2 distance of a reply from them.
        members: which node is which site; violations are written down in its quarantine.
        known: digests of all weights of the run so far, sent or accepted; grows by those of this round.

    Attributes:
        refused: name and reason of each reply that is left out.
    """

    def __init__(
        self, number: int, phase: str, sent: Weights, max_update_norm: float, members: Members, known: dict[str, None]
    ) -> None:
        self._number, self._phase, self._sent, self._max_update_norm = number, phase, sent, max_update_norm
        self._members, self._quarantine, self._known = members, members.quarantine, known
        self._seen: set[str] = set()
        self.refused: list[tuple[str, SiloganError]] = []

    def usable(self, messages: Iterable[Message]) -> Iterator[Usable]:
        """Replies that may be averaged, as they come."""
        for message in messages:
            node = message.metadata.src_node_id
            title = self._members.title(node)
            try:
                if message.has_error():
                    raise _no_reply(message.error.code)
                refusal = _read(refusal_from_record, message.content)
                if refusal is not None:
                    title = self._members.believed(node, refusal[0])
                    raise public_error(refusal[1])
                reply, record = _read(Reply.from_record, message.content)
                self._check_header(reply, node)
                title = reply.site
                weights = checked_weights(record, self._sent, self._max_update_norm)
                self._check_new(weights)
            except SiloganError as error:
                self._refuse(title, error, self._members.site_of(node))
            else:
                self._seen.add(reply.site)
                yield reply, weights

    def pointing_with_the_others(self, replies: list[Usable], min_cosine: float) -> list[Usable]:
        """The replies but for those whose direction (`server/rounds/cosine_filter.py`) is below `min_cosine`.

        Fewer than three updates have no majority, and all of them pass.
        """
        if len(replies) < FEWEST:
            return replies
        passed: list[Usable] = []
        cosines = cosines_with_median([weights for _, weights in replies], self._sent)
        for cosine, usable in zip(cosines, replies, strict=True):
            site = usable[0].site
            if cosine >= min_cosine:
                passed.append(usable)
                continue
            problem = (
                f"points away from the other sites' updates (cosine {cosine:.2f}, at least {min_cosine:g} is asked)"
            )
            self._refuse(site, ProtocolViolation("reply", problem, _LEFT_OUT), site)
        return passed

    def _refuse(self, title: str, error: SiloganError, site: str | None) -> None:
        """Notes a refusal, and a violation of whose site the node is; never of the site that a reply merely names."""
        self.refused.append((title, error))
        if isinstance(error, ProtocolViolation) and site is not None:
            self._quarantine.record(site, self._number, f"{error.thing}: {error.problem}")

    def _check_header(self, reply: Reply, node: int) -> None:
        self._members.claim(node, reply.site)
        if reply.site in self._quarantine.sites:
            raise FederationError(
                "reply", "comes from a site in quarantine", "readmit the site, or leave it in quarantine"
            )
        if reply.site in self._seen:
            raise ProtocolViolation("reply", "is the site's second reply in one round", _LEFT_OUT)
        if (reply.phase, reply.round) != (self._phase, self._number):
            raise ProtocolViolation("reply", "answers another round", _LEFT_OUT)

    def _check_new(self, weights: Weights) -> None:
        """Detects repeated weights: training under noise never returns the same weights twice."""
        found = digest(weights)
        if found in self._known:
            raise ProtocolViolation("reply", "repeats weights that were sent before", _LEFT_OUT)
        self._known[found] = None


def checked_weights(record: ArrayRecord, reference: Weights, max_update_norm: float) -> Weights:
    """A reply's weights, if they may be averaged.

    Args:
        record: as received; nothing in it is trusted.
        reference: what was sent out: the names, shapes and types that are expected.
        max_update_norm: largest L2 distance from `reference`.

    Raises:
        ProtocolViolation: other names, shapes or types; values that are not finite; or an update that is too long.
    """
    if set(record.keys()) != set(reference):
        raise ProtocolViolation("reply", "does not have the requested weights", _LEFT_OUT)
    for name, expected in reference.items():
        array = record[name]
        size = expected.numel() * expected.element_size()
        if tuple(array.shape) != tuple(expected.shape) or len(array.data) > size + _HEADER_BYTES:
            raise ProtocolViolation(f"reply's {name}", "has another shape", _LEFT_OUT)
    try:
        weights = unpack(record)
    except Exception:  # whatever NumPy makes of hostile bytes
        raise ProtocolViolation("reply", "cannot be unpacked", _LEFT_OUT) from None
    squared = 0.0
    for name, expected in reference.items():
        tensor = weights[name]
        if tensor.shape != expected.shape or tensor.dtype != expected.dtype:
            raise ProtocolViolation(f"reply's {name}", "has another shape or type", _LEFT_OUT)
        if not bool(tensor.isfinite().all()):
            raise ProtocolViolation(f"reply's {name}", "is not finite", _LEFT_OUT)
        squared += float((tensor.double() - expected.double()).square().sum())
    if math.sqrt(squared) > max_update_norm:
        raise ProtocolViolation("reply", f"moves the weights by more than {max_update_norm:g}", _LEFT_OUT)
    return weights


def _no_reply(code: int) -> SiloganError:
    """The meaning of an error in place of a reply. An incomplete reply may be a lost connection, not a violation."""
    match code:
        case Fault.TOO_LARGE:
            return ProtocolViolation("reply", "is larger than requested", _LEFT_OUT)
        case Fault.MALFORMED:
            return ProtocolViolation("reply", "cannot be unpacked", _LEFT_OUT)
        case Fault.INCOMPLETE:
            return FederationError("site", "did not send its whole reply in time", "see the site's log")
        case _:
            return FederationError("site", f"sent no reply (code {code})", "see the site's log")


def _read(from_record: Callable[[RecordDict], _T], content: RecordDict) -> _T:
    """The message that `from_record` parses; an unreadable one is a violation."""
    try:
        return from_record(content)
    except SiloganError as error:
        raise ProtocolViolation(error.thing, error.problem, error.hint) from None
    except Exception:  # whatever a record of hostile values makes of being read
        raise ProtocolViolation("reply", "cannot be read", _LEFT_OUT) from None
