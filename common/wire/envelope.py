"""Weights on the way between machines: one object a message instead of one a tensor.

Flower carries each array of a record in an HTTP request of its own, at four places on its way there and back: dozens of
small requests, which take longer than the round where networks are small (measured with three sites on two cores).

What is folded is in the format of safetensors, whose reader checks names, types, shapes and places against the length
of what arrived before it makes anything; the part that describes them is bounded here.
"""

import numpy as np
from flwr.app import Array, ArrayRecord, RecordDict
from safetensors.torch import load, save

from common.wire.messages import MOST_ARRAYS, fault, pack, unpack

_FOLDED = "folded"
_LENGTH_BYTES = 8  # of the description's length, which comes first
_LONGEST_DESCRIPTION = 512 * MOST_ARRAYS


def fold(content: RecordDict) -> RecordDict:
    """The same content with every record of arrays as one array of bytes."""
    every = content.items()
    return RecordDict({name: _folded(one) if isinstance(one, ArrayRecord) else one for name, one in every})


def unfold(content: RecordDict) -> RecordDict:
    """What was folded; records that were not stay as they are.

    Raises:
        FederationError: a folded record's bytes are none, or there are several: under many names one record would
            become as many copies.
    """
    folded = [name for name, record in content.items() if isinstance(record, ArrayRecord) and set(record) == {_FOLDED}]
    if len(folded) > 1:
        raise fault("holds more than header and weights")
    return RecordDict(
        {name: _unfolded(record) if name in folded else record for name, record in content.items()}  # pyright: ignore[reportArgumentType]
    )


def _folded(record: ArrayRecord) -> ArrayRecord:
    return ArrayRecord({_FOLDED: Array(np.frombuffer(save(unpack(record)), np.uint8))})


def _unfolded(record: ArrayRecord) -> ArrayRecord:
    content = unpack(record)[_FOLDED].numpy().tobytes()
    if int.from_bytes(content[:_LENGTH_BYTES], "little") > _LONGEST_DESCRIPTION:
        raise fault("cannot be unpacked")
    try:
        weights = load(content)
        if len(weights) <= MOST_ARRAYS:
            return pack(weights)
    except Exception:  # whatever a reader makes of hostile bytes
        raise fault("cannot be unpacked") from None
    raise fault("holds too many arrays")
