"""The data of a completed round."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from silogan.common.errors import SiloganError
from silogan.common.wire.study import Study
from silogan.server.rounds.checkpoint import Checkpoint


@dataclass(frozen=True)
class EndedRound:
    """A round whose replies were combined.

    Attributes:
        study: what is trained, by whom.
        run_dir: the run's folder.
        before: the state in which it began.
        asked_at: when the sites were asked, by `time.monotonic`.
        replied: how many replies were combined.
        refused: name and reason of each reply that was left out.
        quarantined: names of the sites in quarantine.
    """

    study: Study
    run_dir: Path
    before: Checkpoint
    asked_at: float
    replied: int
    refused: list[tuple[str, SiloganError]]
    quarantined: list[str]


AfterRound = Callable[[EndedRound, Checkpoint], Checkpoint]
"""Something that is done after a round: takes the state so far, and returns it with what it has to add."""
