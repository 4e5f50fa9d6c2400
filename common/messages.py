"""The messages on the wire: an instruction to a site, and the site's reply or refusal.

Privacy:
    A reply holds the weights after a round's private steps, figures computed from those weights and public randomness
    alone, the steps taken and the ledger's head. There is no field for anything else, and what is not a field is not
    sent.
"""

import io
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict

from common.errors import ERRORS_BY_EXIT_CODE, FederationError, SiloganError

Weights = dict[str, torch.Tensor]
STATISTICS = "statistics"
"""Name under which the reply to a warm start has its vector, in place of weights."""
_WEIGHTS, _HEADER = "weights", "header"
_UPDATE = "run the same version of silogan on both sides"


@dataclass(frozen=True)
class Instruction:
    """The server asks a site for one round of training.

    Attributes:
        study_id: names the run.
        plan_id: hash of the privacy plan the site must have approved.
        round: 1 for the first; 0 asks for the statistics of a warm start.
        known_head: hash of the last entry of the site's ledger that the server has seen; empty if it has seen none.
        lr_factor: of the generator's learning rate; 1 unless the run was rolled back.
        fresh: whether the site's optimizers begin anew, since what they remember led astray.
    """

    study_id: str
    plan_id: str
    round: int
    known_head: str = ""
    lr_factor: float = 1.0
    fresh: bool = False

    def to_record(self, weights: ArrayRecord) -> RecordDict:
        """Header and weights as Flower records; `weights` is shared by the messages to all sites."""
        return RecordDict({_WEIGHTS: weights, _HEADER: ConfigRecord(asdict(self))})

    @staticmethod
    def from_record(record: RecordDict) -> tuple["Instruction", Weights]:
        """Header and weights out of Flower records."""
        return Instruction(**_header(record, Instruction)), unpack(record[_WEIGHTS])


@dataclass(frozen=True)
class Reply:
    """A site's answer to an instruction.

    Attributes:
        site: the site's name in the roster.
        round: the round that was asked for.
        steps: private discriminator steps taken in the round.
        fake_accuracy: moving average of D's accuracy on generated images, in [0, 1]; needs no real image.
        d_steps_per_g_step: k at the end of the round.
        ledger_head: hash of the ledger's last entry; empty for a run without privacy.
    """

    site: str
    round: int
    steps: int
    fake_accuracy: float
    d_steps_per_g_step: int
    ledger_head: str

    def to_record(self, weights: Weights) -> RecordDict:
        """Header and weights as Flower records."""
        return RecordDict({_WEIGHTS: pack(weights), _HEADER: ConfigRecord(asdict(self))})

    @staticmethod
    def from_record(record: RecordDict) -> tuple["Reply", ArrayRecord]:
        """Header and still packed weights; whoever receives them must check before unpacking.

        Raises:
            FederationError: there are no weights, or the header has other fields or types.
        """
        weights = record.get(_WEIGHTS)
        if not isinstance(weights, ArrayRecord):
            raise FederationError("reply", "holds no weights", "update the site's software")
        return Reply(**_header(record, Reply)), weights


def refusal_record(site: str, error: SiloganError) -> RecordDict:
    """A refusal as a Flower record: the parts of the error, which `common.errors` keeps fit to leave."""
    header = {"site": site, "exit_code": error.exit_code}
    return RecordDict({"refusal": ConfigRecord({**header, "error": [error.thing, error.problem, error.mend]})})


def refusal_from_record(record: RecordDict) -> tuple[str, SiloganError] | None:
    """The site and its error if the record is a refusal, else None."""
    refusal: Any = record.get("refusal")
    if refusal is None:
        return None
    error = ERRORS_BY_EXIT_CODE.get(refusal["exit_code"], FederationError)
    return str(refusal["site"]), error(*map(str, refusal["error"]))


def pack(weights: Mapping[str, torch.Tensor]) -> ArrayRecord:
    """Tensors as a Flower record."""
    return ArrayRecord(dict(weights))


def unpack(record: Any) -> Weights:
    """Tensors out of a Flower record.

    Raises:
        ValueError, TypeError: an array's bytes are not what its declared type and shape say.
    """
    return {name: _tensor(array) for name, array in record.items()}


def _tensor(array: Array) -> torch.Tensor:
    """A tensor of its own memory.

    `np.load` would parse the header as Python, which is slow and trusts it. The header that `np.save` writes for the
    declared type and shape is known, so it need only be compared.
    """
    dtype = np.dtype(array.dtype)
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": dtype.str, "fortran_order": False, "shape": array.shape})
    content = array.data
    start = header.tell()
    if content[:start] != header.getvalue():
        raise ValueError("not the header of the declared array")
    return torch.from_numpy(np.frombuffer(content, dtype, offset=start).reshape(array.shape).copy())


def _header(record: RecordDict, kind: type[Instruction] | type[Reply]) -> dict[str, Any]:
    header: Any = record.get(_HEADER)
    if header is None:
        raise FederationError("message", "holds no header", _UPDATE)
    if {name: type(value) for name, value in header.items()} != {field.name: field.type for field in fields(kind)}:
        raise FederationError("message", "has a malformed header", _UPDATE)
    return dict(header)
