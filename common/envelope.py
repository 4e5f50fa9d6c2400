"""Weights on the way between machines: one object a message instead of one a tensor.

Flower carries each array of a record in an HTTP request of its own, at four places on its way there and back: dozens of
small requests, which take longer than the round where networks are small (measured with three sites on two cores).
"""

import numpy as np
from flwr.app import Array, ArrayRecord, RecordDict
from flwr.common.serde import array_record_from_proto, array_record_to_proto
from flwr.proto.recorddict_pb2 import ArrayRecord as ProtoArrayRecord
from google.protobuf.message import DecodeError

from common.errors import Code, FederationError
from common.messages import unpack

_FOLDED = "folded"


def fold(content: RecordDict) -> RecordDict:
    """The same content with every record of arrays as one array of bytes."""
    return RecordDict(
        {name: _folded(record) if isinstance(record, ArrayRecord) else record for name, record in content.items()}
    )


def unfold(content: RecordDict) -> RecordDict:
    """What was folded; records that were not stay as they are.

    Raises:
        FederationError: a folded record's bytes are none.
    """
    return RecordDict(
        {name: _unfolded(record) if isinstance(record, ArrayRecord) else record for name, record in content.items()}
    )


def _folded(record: ArrayRecord) -> ArrayRecord:
    content = array_record_to_proto(record).SerializeToString(deterministic=True)
    return ArrayRecord({_FOLDED: Array(np.frombuffer(content, np.uint8))})


def _unfolded(record: ArrayRecord) -> ArrayRecord:
    if set(record) != {_FOLDED}:
        return record
    try:
        content = unpack(record)[_FOLDED].numpy().tobytes()
        return array_record_from_proto(ProtoArrayRecord.FromString(content))
    except (DecodeError, ValueError, TypeError, KeyError):
        mend = "run the same version of silogan on both sides"
        raise FederationError("message", "cannot be unpacked", mend, code=Code.MESSAGE) from None
