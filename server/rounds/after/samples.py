"""Sample grids during training: the same latent vectors every time, so that progress can be seen."""

from common.files import write_bytes_atomically
from common.wire.run_folder import sample_sheet
from server.release.generator import release
from server.release.samples import sample_grid
from server.rounds.after.base import EndedRound
from server.rounds.checkpoint import Checkpoint

_GRIDS_PER_RUN = 10


def draw(ended: EndedRound, state: Checkpoint) -> Checkpoint:
    """Writes `samples/round-N.png` for about ten rounds of a run, spread evenly, the last included."""
    rounds = ended.study.scenario.training.rounds
    if state.round % max(1, rounds // _GRIDS_PER_RUN) == 0 or state.round == rounds:
        content = sample_grid(release(ended.study, state.ema))
        write_bytes_atomically(sample_sheet(ended.run_dir, state.round), content)
    return state
