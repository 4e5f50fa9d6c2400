"""A site's state between rounds: its optimizers' state, and its last replies in case the server asks again.

A round's state is on the disk before the ledger settles the round, and the ledger settles before the reply leaves. If
the server or the site is killed at any moment, and the same round comes back on the same weights, the stored reply is
sent again: nothing new is released and nothing is charged. If the site was killed before it settled, it settles then.
"""

import hashlib
import math
import shutil
import tempfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from silogan.common.errors import DataError
from silogan.common.files import write_atomically, write_bytes_atomically, writing
from silogan.common.wire.messages import Instruction, Reply, Weights

_HEAD = ".head"
"""Suffix of the file beside a round's state that holds the ledger's head after settling."""


@dataclass(frozen=True)
class RoundState:
    """The outcome of one round at one site.

    Attributes:
        request_key: hash of what was asked; the reply answers this request and no other.
        reply: header of the reply; it names no head of the ledger until that has settled the round.
        weights: weights of the reply.
        trainer: `SiteTrainer.state()` after the round.
        reservation, steps: what is to be settled before the reply leaves; 0 where there is no ledger.
    """

    request_key: str
    reply: Reply
    weights: Weights
    trainer: dict[str, Any]
    reservation: int = 0
    steps: int = 0


class SiteState:
    """The states of the last two rounds, one file a round.

    Args:
        folder: the site's own folder for this run; created if missing.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder

    def check(self) -> None:
        """Tries whether a state as large as the last one can be written.

        Raises:
            DataError: it cannot.
        """
        size = max((path.stat().st_size for path in self._folder.glob("*.pt")), default=0)
        with writing("site state", "repair the disk", DataError):
            free = shutil.disk_usage(self._folder).free
            with tempfile.TemporaryFile(dir=self._folder) as file:
                file.write(b"0")
        if free < size:
            raise DataError("site state", "does not fit on the disk", "free it")

    def load(self, phase: str, round_number: int) -> RoundState | None:
        """The state after a round of a phase; None if there is none.

        Raises:
            DataError: the file is there but cannot be read.
        """
        path = self._path(phase, round_number)
        if not path.exists():
            return None
        try:
            # Mapped: the weights in it are wanted only if the server asks for the round again.
            raw: dict[str, Any] = torch.load(path, weights_only=True, mmap=True)
            reply, head = Reply(**raw.pop("reply")), path.with_suffix(_HEAD)
            if head.exists():
                reply = replace(reply, ledger_head=head.read_text(encoding="ascii").strip())
            return RoundState(reply=reply, **raw)
        except Exception as error:
            problem = f"cannot be read ({type(error).__name__})"
            raise DataError(f"site state of round {round_number} of {phase}", problem, "delete or restore it") from None

    def save(self, state: RoundState) -> None:
        """Durably writes a round's state, and forgets rounds before the last two of its phase and of those before."""
        content = {**vars(state), "reply": asdict(state.reply)}
        phase, number = state.reply.phase, state.reply.round
        path = self._path(phase, number)
        path.with_suffix(_HEAD).unlink(missing_ok=True)  # of the same round on other weights
        write_atomically(path, lambda file: torch.save(content, file))
        for other in self._folder.glob("*-*"):
            its_phase, _, its_number = other.stem.rpartition("-")
            oldest = number - 1 if its_phase == phase else number > 1 and math.inf
            if its_number.isdecimal() and int(its_number) < oldest:
                other.unlink(missing_ok=True)

    def settled(self, reply: Reply, head: str) -> None:
        """Durably writes down that the ledger has settled a round, and its head then."""
        write_bytes_atomically(self._path(reply.phase, reply.round).with_suffix(_HEAD), head.encode())

    def heads(self) -> set[str]:
        """The ledger's heads when it settled the rounds that are kept."""
        return {path.read_text(encoding="ascii", errors="replace").strip() for path in self._folder.glob(f"*{_HEAD}")}

    def _path(self, phase: str, round_number: int) -> Path:
        return self._folder / f"{phase}-{round_number:06d}.pt"


def request_key(site: str, instruction: Instruction, weights: Weights) -> str:
    """SHA-256 over everything that a round's outcome depends on, but for the site's data and its randomness."""
    # What the server has seen of the ledger decides whether the round may begin, not what comes of it.
    digest = hashlib.sha256(repr((site, replace(instruction, known_head=""))).encode())
    for name, tensor in sorted(weights.items()):
        digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        digest.update(tensor.contiguous().numpy().data)
    return digest.hexdigest()
