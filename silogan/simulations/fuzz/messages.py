"""Mutations of what comes over the wire: the record itself, and the bytes in which it travels."""

from random import Random
from typing import Any

import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict
from flwr.common.serde import recorddict_from_proto, recorddict_to_proto
from flwr.proto.recorddict_pb2 import RecordDict as ProtoRecordDict
from google.protobuf.message import DecodeError

from silogan.common.wire.envelope import fold
from silogan.common.wire.messages import pack
from silogan.simulations.fuzz.content import bytes_file
from silogan.simulations.fuzz.values import nonsense

_DTYPES = (
    *("i4,(", "object", "O", "float16", "float64", "int64", "<f4", ">f4", "V8", "U4", "f4,f4", "(2,)f4"),
    *("", "x" * 5000),
)
_WAYS = ("drop", "rename", "add", "values", "dtype", "shape", "stype", "bytes", "cut", "longer")
_SHAPES = ((), (0,), (-1,), (1,), (3, 3), (2**31,), (2**62, 4), (1,) * 40, (10**9,))
_WORDS = (
    *("", "0" * 64, "F" * 64, "0" * 65, "site-1", "bergen", "budget", "../" * 30, "\x1b[2J", "ä" * 300),
    "x" * 200_000,
)


class NotDeliveredError(Exception):
    """Flower itself cannot decode the bytes: they reach nobody."""


def as_bytes(record: RecordDict) -> bytes:
    """A record as it travels."""
    return recorddict_to_proto(record).SerializeToString(deterministic=True)


def from_bytes(content: bytes) -> RecordDict:
    """What Flower makes of the bytes.

    Raises:
        NotDeliveredError: nothing.
    """
    try:
        return recorddict_from_proto(ProtoRecordDict.FromString(content))
    except (DecodeError, ValueError, TypeError, KeyError) as error:
        raise NotDeliveredError from error


def message(rng: Random, original: bytes) -> bytes:
    """A message that is mutated in its header, its arrays or its bytes, packed or not."""
    if rng.randrange(5) == 0:
        return bytes_file(rng, original)
    record = from_bytes(original)
    for _ in range(rng.randint(1, 3)):
        try:
            _header(rng, record) if rng.randrange(2) else _arrays(rng, record)
        except (TypeError, ValueError, KeyError, RuntimeError, AttributeError, OverflowError):
            continue  # what Flower's own types cannot hold cannot arrive
    try:
        record = fold(record) if rng.randrange(2) else record
        if rng.randrange(4) == 0:
            _spoil_array(rng, record, ("bytes", "cut", "longer", "dtype", "shape"))
        return as_bytes(record)
    except (TypeError, ValueError, AttributeError, RuntimeError, OverflowError):
        return bytes_file(rng, original)


def _header(rng: Random, record: RecordDict) -> None:
    name = rng.choice(["header", "header", "header", "refusal"])
    header: Any = record.get(name, ConfigRecord({"site": "bergen", "code": "budget"}))
    record[name] = header
    key = rng.choice(list(header))
    match rng.randrange(6):
        case 0:
            del record[name]
        case 1:
            del header[key]
        case 2:
            header[rng.choice(["seed", "more", "\x1b", ""])] = rng.choice(_WORDS)
        case 3:
            other = rng.choice([MetricRecord({"a": 1}), ArrayRecord(), ConfigRecord({"a": 1})])
            record[rng.choice([name, "more"])] = other
        case 4:
            header[key] = rng.choice(_WORDS)
        case _:
            header[key] = nonsense(rng)


def _arrays(rng: Random, record: RecordDict) -> None:
    how = rng.randrange(8)
    if how == 0:
        record["weights"] = pack({f"generator.{number}": torch.ones(1) for number in range(rng.choice([1, 5000]))})
    elif how == 1:
        record["weights"] = rng.choice([ArrayRecord(), ConfigRecord({"a": 1}), pack({"a": torch.zeros(5_000_000)})])
    else:
        _spoil_array(rng, record, _WAYS)


def _spoil_array(rng: Random, record: RecordDict, ways: tuple[str, ...]) -> None:
    packed = record.get("weights")
    if not isinstance(packed, ArrayRecord) or not packed:
        return
    arrays = dict(packed)
    key = rng.choice(sorted(arrays))
    old, how = arrays[key], rng.choice(ways)
    data = {"bytes": bytes_file(rng, old.data), "cut": old.data[: rng.randint(0, len(old.data))]}.get(how, old.data)
    if how == "drop":
        del arrays[key]
    elif how == "rename":
        arrays[rng.choice(["", "x", "generator.x", "discriminator", "\x1b"])] = arrays.pop(key)
    elif how == "add":
        arrays["generator.more"] = old
    elif how == "values":
        fill = rng.choice([float("nan"), float("inf"), 3e38, 1e-45, 0.0])
        arrays[key] = pack({key: torch.full(tuple(old.shape), fill)})[key]
    else:
        arrays[key] = Array(
            rng.choice(_DTYPES) if how == "dtype" else old.dtype,
            rng.choice(_SHAPES) if how == "shape" else tuple(old.shape),
            rng.choice(["pickle", "", "torch"]) if how == "stype" else old.stype,
            data + rng.randbytes(rng.choice([1, 100, 100_000])) if how == "longer" else data,
        )
    record["weights"] = ArrayRecord(arrays)
