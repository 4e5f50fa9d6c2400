"""The progress of a run, from the headers of its checkpoints only: reads no weights and needs no torch."""

from pathlib import Path
from typing import Annotated, Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field
from safetensors import SafetensorError, safe_open

from silogan.common.bounds import MOST_ROUNDS, Name
from silogan.common.wire.run_folder import checkpoint_paths

DAMAGE = (SafetensorError, OSError, KeyError, TypeError, ValueError, RecursionError)
"""What reading a damaged checkpoint may raise."""


class Header(BaseModel):
    """The metadata in a checkpoint beside the tensors; names and heads are shown on terminals."""

    model_config = ConfigDict(strict=True, extra="forbid")
    study_id: str
    round: Annotated[int, Field(ge=0, le=MOST_ROUNDS)]
    training_seconds: float
    event: dict[str, Any]
    ledger_heads: dict[Name, Annotated[str, Field(pattern=r"^([0-9a-f]{64})?$")]]
    digests: list[str]
    phases: list[str]
    guard: dict[str, Any]


class Mark(NamedTuple):
    """The metadata of a run's newest readable checkpoint, without its weights."""

    round: int
    ledger_heads: dict[str, str]


def mark(run_dir: Path) -> tuple[Mark, str]:
    """How far a run has come, and what is wrong with its newest checkpoint; round 0 where nothing can be read.

    Reads headers alone: damage to the weights in a file of the right length is found by
    `silogan.server.rounds.checkpoint.recover`.
    """
    problem = ""
    for path in reversed(checkpoint_paths(run_dir)):
        try:
            with safe_open(path, framework="np") as file:
                header = Header.model_validate_json(file.metadata()["silogan"])
            return Mark(header.round, dict(header.ledger_heads)), problem
        except FileNotFoundError:
            continue
        except DAMAGE:
            problem = problem or f"checkpoint '{path.name}' is damaged"
    return Mark(0, {}), problem
