"""Packing of weights between machines: one object per message instead of one per tensor.

Flower sends each array of a record in a separate HTTP request, at four places on the way there and back. For small
networks these dozens of small requests take longer than the round (measured with three sites on two cores).

The packed format is safetensors, whose reader checks names, types, shapes and positions against the length of the data
before it allocates anything; the size of its header is bounded here.
"""

import numpy as np
from flwr.app import Array, ArrayRecord, RecordDict
from safetensors.torch import load, save

from silogan.common.wire.messages import MOST_ARRAYS, fault, pack, unpack

_FOLDED = "folded"
_LENGTH_BYTES = 8  # of the description's length, which comes first
_LONGEST_DESCRIPTION = 512 * MOST_ARRAYS


def fold(content: RecordDict) -> RecordDict:
    """The content with every record of arrays packed into one array of bytes."""
    every = content.items()
    return RecordDict({name: _folded(one) if isinstance(one, ArrayRecord) else one for name, one in every})


def unfold(content: RecordDict) -> RecordDict:
    """The unpacked content; records that were not packed stay as they are.

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
