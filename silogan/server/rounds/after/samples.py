"""Sample grids during training: the same latent vectors every time, so that progress can be seen."""

from silogan.common.files import write_bytes_atomically
from silogan.common.wire.run_folder import sample_sheet
from silogan.server.release.generator import release
from silogan.server.release.samples import sample_grid
from silogan.server.rounds.after.base import EndedRound
from silogan.server.rounds.checkpoint import Checkpoint

_GRIDS_PER_RUN = 10


def draw(ended: EndedRound, state: Checkpoint) -> Checkpoint:
    """Writes `samples/round-N.png` for about ten rounds of a run, spread evenly, the last included."""
    rounds = ended.study.scenario.training.rounds
    if state.round % max(1, rounds // _GRIDS_PER_RUN) == 0 or state.round == rounds:
        content = sample_grid(release(ended.study, state.ema))
        write_bytes_atomically(sample_sheet(ended.run_dir, state.round), content)
    return state
