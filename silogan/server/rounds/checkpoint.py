"""The checkpoint: the coordinator's state after a round, in one atomically written file.

Going back by one round (`recover`) costs no privacy, whatever happens. For the same weights, a hospital sends
the stored reply again, which it keeps for its last two rounds (`client/state.py`). For other weights, its ledger
refuses a round that it has answered. A damaged checkpoint can therefore cost the run, never the guarantee.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from silogan.common.errors import VerificationError
from silogan.common.files import write_bytes_atomically
from silogan.common.models.weights import AVERAGE, Weights, part_of, under, without
from silogan.common.wire.run_folder import checkpoint_path, checkpoint_paths
from silogan.server.fitting.release import Released
from silogan.server.rounds.events import last_round
from silogan.server.rounds.mark import DAMAGE, Header

_KEPT = 2
_PARTS = (AVERAGE, "server", "healthy")
_RELEASED, _ANSWERED, _APART = "released", "answered", "apart"
"""Fields of tensors that lie under their own name in the file; `weights` lie there bare."""
_NO_WAY_BACK = (
    "restore one of the last two rounds from a backup, else submit a new study with --set name=NAME: hospitals "
    "answer each round only once"
)


@dataclass(frozen=True)
class Checkpoint:
    """The state of a run.

    Attributes:
        study_id: the run it belongs to.
        round: rounds completed; 0 before the first.
        weights: averaged weights of both networks.
        ema: moving average of the generator, under the same `generator.` names.
        training_seconds: time spent on training rounds so far.
        event: the round's event, in case it did not reach `events.jsonl`; empty before the first round.
        ledger_heads: last known ledger head of each site.
        phases: of statistics, those that were answered, on which the weights are based; training begins after them.
        released: the sums of those phases, by name.
        guard: what the collapse guard remembers; empty before the first round.
        healthy: weights and `ema.` of the last round that was well; empty where nothing guards.
        server: state of the optimizer with which the server trains the generator; empty if it does not.
        digests: SHA-256 of weights that were sent or accepted, the latest last; a reply may not repeat them.
    """

    study_id: str
    round: int
    weights: Weights
    ema: Weights
    training_seconds: float = 0.0
    event: dict[str, Any] = field(default_factory=dict[str, Any])
    ledger_heads: dict[str, str] = field(default_factory=dict[str, str])
    digests: list[str] = field(default_factory=list[str])
    phases: list[str] = field(default_factory=list[str])
    released: dict[str, Released] = field(default_factory=dict[str, Released])
    server: Weights = field(default_factory=Weights)
    guard: dict[str, Any] = field(default_factory=dict[str, Any])
    healthy: Weights = field(default_factory=Weights)

    def save(self, run_dir: Path) -> None:
        """Writes the checkpoint durably and forgets all but the last two."""
        header = {name: getattr(self, name) for name in Header.model_fields}
        # safetensors refuses tensors that share memory, as weights and average do after the first round
        tensors = {name: tensor.contiguous() for name, tensor in self.weights.items()}
        for part in _PARTS:
            tensors |= under(part, {name: _copy(tensor) for name, tensor in getattr(self, part).items()})
        tensors |= under(_RELEASED, {name: found.total for name, found in self.released.items()})
        tensors |= under(_ANSWERED, {name: torch.tensor(found.sites) for name, found in self.released.items()})
        for name, found in self.released.items():
            tensors |= under(_APART, under(name, dict(found.apart)))
        text = json.dumps(header)
        content = save(tensors, metadata={"silogan": text, "sha256": _digest(text, tensors)})
        write_bytes_atomically(checkpoint_path(run_dir, self.round), content)
        for path in checkpoint_paths(run_dir)[:-_KEPT]:
            path.unlink(missing_ok=True)

    @staticmethod
    def latest(run_dir: Path) -> "Checkpoint | None":
        """The newest checkpoint of a run; None if there is none.

        Raises:
            VerificationError: it is there but damaged.
        """
        paths = checkpoint_paths(run_dir)
        if not paths:
            return None
        try:
            return _read(paths[-1])
        except DAMAGE:
            hint = "delete it to continue from the previous one"
            raise VerificationError(f"checkpoint '{paths[-1].name}'", "is damaged", hint) from None


class Recovered(NamedTuple):
    """The state from which a run can continue.

    Attributes:
        checkpoint: the newest that is whole; None if the run begins.
        problem: what was passed over, in one line; empty if nothing was.
    """

    checkpoint: Checkpoint | None
    problem: str = ""


def recover(run_dir: Path) -> Recovered:
    """The checkpoint to continue from: the newest, or that of the previous round if the newest is damaged or missing.

    Raises:
        VerificationError: neither is whole, so that hospitals would be asked for rounds that they have answered.
    """
    paths, reached = checkpoint_paths(run_dir), last_round(run_dir)
    damaged: list[str] = []
    for path in reversed(paths):
        try:
            found = _read(path)
        except DAMAGE:
            if path not in checkpoint_paths(run_dir):  # another round has ended meanwhile
                return recover(run_dir)
            damaged.append(path.name)
            continue
        if damaged:
            return Recovered(found, f"checkpoint '{damaged[0]}' is damaged: continuing from round {found.round}")
        if reached > found.round:
            return Recovered(found, f"checkpoint of round {reached} is missing: continuing from round {found.round}")
        return Recovered(found)
    if not damaged and not reached:
        return Recovered(None)
    if not reached and damaged == [checkpoint_path(run_dir, 0).name]:  # no round was completed
        return Recovered(None, f"checkpoint '{damaged[0]}' is damaged: starting again")
    problem = f"are damaged ({', '.join(damaged)})" if damaged else f"are missing, though round {reached} was completed"
    raise VerificationError("checkpoints", problem, _NO_WAY_BACK)


def _read(path: Path) -> Checkpoint:
    with safe_open(path, framework="pt") as file:
        metadata = cast(Mapping[str, str], file.metadata())
        tensors: Weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    text = metadata["silogan"]
    if "sha256" in metadata and metadata["sha256"] != _digest(text, tensors):  # older versions wrote none
        raise ValueError("other content than was written")
    parts = {part: part_of(tensors, part) for part in _PARTS}
    answered, apart = part_of(tensors, _ANSWERED), part_of(tensors, _APART)
    released = {
        name: Released(total, int(answered[name]), part_of(apart, name))
        for name, total in part_of(tensors, _RELEASED).items()
    }
    weights, header = (
        without(tensors, *_PARTS, _RELEASED, _ANSWERED, _APART),
        Header.model_validate_json(text).model_dump(),
    )
    return Checkpoint(weights=weights, released=released, **parts, **header)


def _digest(header: str, tensors: Weights) -> str:
    """SHA-256 of a checkpoint's content, which reveals a flipped bit."""
    digest = hashlib.sha256(header.encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        digest.update(tensor.contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _copy(tensor: Tensor) -> Tensor:
    return tensor.clone(memory_format=torch.contiguous_format)
