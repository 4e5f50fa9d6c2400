"""The coordinator's state after a round: one file, atomically written, enough to go on from."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import BaseModel, ConfigDict, Field
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from common.bounds import MOST_ROUNDS, Name
from common.errors import VerificationError
from common.files import write_bytes_atomically
from common.messages import Weights

CHECKPOINT_FOLDER = "checkpoints"
_KEPT = 2
_PARTS = ("ema", "server", "healthy")
"""Fields of tensors that lie under their own name in the file; `weights` lie there bare."""


class _Header(BaseModel):
    """What stands in the file beside the tensors; people read the names and heads on terminals."""

    model_config = ConfigDict(strict=True, extra="forbid")
    study_id: str
    round: Annotated[int, Field(ge=0, le=MOST_ROUNDS)]
    training_seconds: float
    event: dict[str, Any]
    ledger_heads: dict[Name, Annotated[str, Field(pattern=r"^([0-9a-f]{64})?$")]]
    digests: list[str]
    warm: bool
    guard: dict[str, Any]


@dataclass(frozen=True)
class Checkpoint:
    """Where a run stands.

    Attributes:
        study_id: the run it belongs to.
        round: rounds completed; 0 before the first.
        weights: averaged weights of both networks.
        ema: moving average of the generator, under the same `generator.` names.
        training_seconds: time spent on training rounds so far.
        event: the round's event, in case it did not reach `events.jsonl`; empty before the first round.
        ledger_heads: last known ledger head of each site.
        warm: whether the weights come from a warm start; a plan with one is not begun before.
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
    warm: bool = False
    server: Weights = field(default_factory=Weights)
    guard: dict[str, Any] = field(default_factory=dict[str, Any])
    healthy: Weights = field(default_factory=Weights)

    def save(self, run_dir: Path) -> None:
        """Writes the checkpoint durably and forgets all but the last two."""
        folder = run_dir / CHECKPOINT_FOLDER
        header = {
            "study_id": self.study_id,
            "round": self.round,
            "training_seconds": self.training_seconds,
            "event": self.event,
            "ledger_heads": self.ledger_heads,
            "digests": self.digests,
            "warm": self.warm,
            "guard": self.guard,
        }
        # safetensors refuses tensors that share memory, as weights and average do after the first round
        tensors = {name: tensor.contiguous() for name, tensor in self.weights.items()}
        for part in _PARTS:
            tensors |= {f"{part}.{name}": _copy(tensor) for name, tensor in getattr(self, part).items()}
        content = save(tensors, metadata={"silogan": json.dumps(header)})
        write_bytes_atomically(folder / f"round-{self.round:06d}.safetensors", content)
        for path in _paths(run_dir)[:-_KEPT]:
            path.unlink(missing_ok=True)

    @staticmethod
    def latest(run_dir: Path) -> "Checkpoint | None":
        """The newest checkpoint of a run; None if there is none.

        Raises:
            VerificationError: it is there but damaged.
        """
        paths = _paths(run_dir)
        if not paths:
            return None
        try:
            with safe_open(paths[-1], framework="pt") as file:
                header = _Header.model_validate_json(file.metadata()["silogan"]).model_dump()
                tensors: Weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            parts = {part: _under(f"{part}.", tensors) for part in _PARTS}
            prefixes = tuple(f"{part}." for part in _PARTS)
            weights = {name: tensor for name, tensor in tensors.items() if not name.startswith(prefixes)}
            return Checkpoint(weights=weights, **parts, **header)
        except (SafetensorError, OSError, KeyError, TypeError, ValueError):
            mend = "delete it to go on from the one before"
            raise VerificationError(f"checkpoint '{paths[-1].name}'", "is damaged", mend) from None


def _paths(run_dir: Path) -> list[Path]:
    return sorted((run_dir / CHECKPOINT_FOLDER).glob("round-*.safetensors"))


def _copy(tensor: Tensor) -> Tensor:
    return tensor.clone(memory_format=torch.contiguous_format)


def _under(prefix: str, tensors: Weights) -> Weights:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
