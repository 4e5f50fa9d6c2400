"""What a site keeps between rounds: its optimizers' state, and its last replies in case the server asks again.

A round's state is on the disk before its reply leaves. If the server (or the site) is killed and the same round comes
back on the same weights, the stored reply is sent once more: nothing new is released and nothing is charged.
"""

import hashlib
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from common.errors import DataError
from common.files import write_atomically
from common.messages import Instruction, Reply, Weights


@dataclass(frozen=True)
class RoundState:
    """The outcome of one round at one site.

    Attributes:
        request_key: hash of what was asked; the reply answers this request and no other.
        reply: header of the reply.
        weights: weights of the reply.
        trainer: `SiteTrainer.state()` after the round.
    """

    request_key: str
    reply: Reply
    weights: Weights
    trainer: dict[str, Any]


class SiteState:
    """The states of the last two rounds, one file a round.

    Args:
        folder: the site's own folder for this run; created if missing.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder

    def load(self, round_number: int) -> RoundState | None:
        """The state after a round; None if there is none.

        Raises:
            DataError: the file is there but cannot be read.
        """
        path = self._path(round_number)
        if not path.exists():
            return None
        try:
            # Mapped: the weights in it are wanted only if the server asks for the round again.
            raw: dict[str, Any] = torch.load(path, weights_only=True, mmap=True)
            return RoundState(raw["request_key"], Reply(**raw["reply"]), raw["weights"], raw["trainer"])
        except Exception as error:
            kind = type(error).__name__
            raise DataError(
                f"site state of round {round_number}", f"cannot be read ({kind})", "delete or restore it"
            ) from None

    def save(self, state: RoundState) -> None:
        """Durably writes a round's state, and forgets rounds before the last two."""
        content = {
            "request_key": state.request_key,
            "reply": asdict(state.reply),
            "weights": state.weights,
            "trainer": state.trainer,
        }
        write_atomically(self._path(state.reply.round), lambda file: torch.save(content, file))
        for path in self._folder.glob("round-*.pt"):
            if path.name < self._path(max(0, state.reply.round - 1)).name:
                path.unlink(missing_ok=True)

    def _path(self, round_number: int) -> Path:
        return self._folder / f"round-{round_number:06d}.pt"


def request_key(site: str, instruction: Instruction, weights: Weights) -> str:
    """SHA-256 over everything that a round's outcome depends on, but for the site's data and its randomness."""
    # What the server has seen of the ledger decides whether the round may begin, not what comes of it.
    digest = hashlib.sha256(repr((site, replace(instruction, known_head=""))).encode())
    for name, tensor in sorted(weights.items()):
        digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        digest.update(tensor.contiguous().numpy().data)
    return digest.hexdigest()
