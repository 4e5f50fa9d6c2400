"""The messages on the wire: an instruction to a site, and the site's reply (a refusal: `common/wire/refusals.py`).

Privacy:
    A reply holds the noisy sums of a round, or the weights that were computed from them, the round and the ledger's
    head. There is no field for anything else, and only fields are sent.
"""

import io
import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict

from silogan.common.errors import SAME_VERSION, Code, FederationError
from silogan.common.models.weights import Weights

STATISTICS = "statistics"
"""Name under which the reply of a phase of statistics has its vector, in place of weights."""

MOST_ARRAYS = 4096
"""In one message."""

_WEIGHTS, _HEADER = "weights", "header"
_HASH, _PHASE = re.compile(r"[0-9a-f]{64}"), re.compile(r"[a-z][a-z0-9-]{0,31}")
_LAST_ROUND = 10**6
_DTYPES = {name: np.dtype(name) for name in ("float32", "float64", "int64", "uint8")}
_MOST_DIMENSIONS, _LONGEST_NAME = 8, 255


@dataclass(frozen=True)
class Instruction:
    """The server asks a site for one round of a phase of the plan.

    Attributes:
        study_id: names the run; 64 hexadecimal digits.
        plan_id: hash of the privacy plan the site must have approved.
        phase: its name in the plan, which says what kind of sum it is.
        round: of the phase; 1 for the first, at most a million.
        known_head: hash of the last entry of the site's ledger that the server has seen; empty if it has seen none.
        lr_factor: of the generator's learning rate, in (0, 1]; 1 unless the run was rolled back.
        fresh: whether the site's optimizers are reset, since their state led to collapse.

    Raises:
        FederationError: a value is of another type, or out of range.
    """

    study_id: str
    plan_id: str
    phase: str
    round: int
    known_head: str = ""
    lr_factor: float = 1.0
    fresh: bool = False

    def __post_init__(self) -> None:
        _check_types(self)
        _check(_is_hash(self.study_id) and _is_hash(self.plan_id), "has no valid study and plan hash")
        _check(_PHASE.fullmatch(self.phase) is not None, "has no valid phase")
        _check(1 <= self.round <= _LAST_ROUND, "has no valid round")
        _check(not self.known_head or _is_hash(self.known_head), "has no valid ledger head")
        _check(math.isfinite(self.lr_factor) and 0 < self.lr_factor <= 1, "has no valid learning rate")

    def to_record(self, weights: ArrayRecord) -> RecordDict:
        """Header and weights as Flower records; `weights` is shared by the messages to all sites."""
        return RecordDict({_WEIGHTS: weights, _HEADER: ConfigRecord(asdict(self))})

    @staticmethod
    def from_record(record: RecordDict) -> tuple["Instruction", ArrayRecord]:
        """Header and still packed weights out of Flower records.

        Raises:
            FederationError: a part is missing or of another kind, or the header has other fields, types or values.
        """
        header, weights = _parts(record, Instruction)
        return Instruction(**header), weights


@dataclass(frozen=True)
class Reply:
    """A site's answer to an instruction.

    Attributes:
        site: the site's name in the roster.
        phase, round: what was asked for.
        ledger_head: hash of the ledger's last entry; empty for a run without privacy.

    Raises:
        FederationError: a value is of another type, or out of range.
    """

    site: str
    phase: str
    round: int
    ledger_head: str

    def __post_init__(self) -> None:
        _check_types(self)
        _check(0 < len(self.site) <= _LONGEST_NAME and self.site.isprintable(), "has no valid site name")
        _check(_PHASE.fullmatch(self.phase) is not None, "has no valid phase")
        _check(1 <= self.round <= _LAST_ROUND, "has no valid round")
        _check(not self.ledger_head or _is_hash(self.ledger_head), "has no valid ledger head")

    def to_record(self, weights: Weights) -> RecordDict:
        """Header and weights as Flower records."""
        return RecordDict({_WEIGHTS: pack(weights), _HEADER: ConfigRecord(asdict(self))})

    @staticmethod
    def from_record(record: RecordDict) -> tuple["Reply", ArrayRecord]:
        """Header and still packed weights; whoever receives them must check before unpacking.

        Raises:
            FederationError: a part is missing or of another kind, or the header has other fields, types or values.
        """
        header, weights = _parts(record, Reply)
        return Reply(**header), weights


def pack(weights: Mapping[str, torch.Tensor]) -> ArrayRecord:
    """Tensors as a Flower record."""
    return ArrayRecord(dict(weights))


def unpack(record: ArrayRecord) -> Weights:
    """Tensors out of a Flower record, each of its own memory.

    Raises:
        FederationError: an array has another type than those that networks have, or its bytes are not what its declared
            type and shape say. Nothing was allocated for it.
    """
    _check(len(record) <= MOST_ARRAYS, "holds too many arrays")
    return {name: _tensor(array) for name, array in record.items()}


def _tensor(array: Array) -> torch.Tensor:
    """A tensor of its own memory.

    `np.load` would parse the header as Python, which is slow and trusts it. The header that `np.save` writes for the
    declared type and shape is known, so it need only be compared.
    """
    dtype, shape, content = _DTYPES.get(array.dtype), tuple(array.shape), array.data
    if dtype is None or array.stype != "numpy.ndarray":
        raise fault("holds an array of another type")
    possible = len(shape) <= _MOST_DIMENSIONS and all(0 <= size <= len(content) for size in shape)
    _check(possible, "holds an array of an invalid shape")
    expected = _npy_header(dtype, shape)
    fits = len(content) == len(expected) + math.prod(shape) * dtype.itemsize and content.startswith(expected)
    _check(fits, "holds an array of another size than declared")
    return torch.from_numpy(np.frombuffer(content, dtype, offset=len(expected)).reshape(shape).copy())


def _npy_header(dtype: np.dtype[Any], shape: tuple[int, ...]) -> bytes:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": dtype.str, "fortran_order": False, "shape": shape})
    return header.getvalue()


def _parts(record: RecordDict, kind: type[Instruction] | type[Reply]) -> tuple[dict[str, Any], ArrayRecord]:
    """Values of the header, and weights, of a message, which holds nothing else."""
    header, weights = record.get(_HEADER), record.get(_WEIGHTS)
    if not isinstance(header, ConfigRecord):
        raise fault("holds no header")
    if not isinstance(weights, ArrayRecord):
        raise fault("holds no weights")
    _check(set(record) == {_HEADER, _WEIGHTS}, "holds more than header and weights")
    _check(set(header) == {field.name for field in fields(kind)}, "has a malformed header")
    return dict(header), weights


def _check_types(message: Instruction | Reply) -> None:
    """Each value has exactly the declared type: True is not a round."""
    _check(all(type(getattr(message, field.name)) is field.type for field in fields(message)), "has a malformed header")


def _is_hash(text: str) -> bool:
    return _HASH.fullmatch(text) is not None


def _check(holds: bool, problem: str) -> None:
    if not holds:
        raise fault(problem)


def fault(problem: str) -> FederationError:
    """What is wrong with a message."""
    return FederationError("message", problem, SAME_VERSION, code=Code.MESSAGE)
