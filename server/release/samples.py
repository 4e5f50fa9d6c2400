"""Sample grids during training: the same latent vectors every time, so that progress can be seen."""

from pathlib import Path

import torch

from common.files import write_bytes_atomically
from common.wire.messages import Weights
from common.wire.study import Study
from server.release.generator import ReleasedGenerator, release
from server.release.outputs import OUTPUTS

SAMPLES_FOLDER = "samples"
_ROWS = 8
_GRIDS_PER_RUN = 10
_SEED = 2026


def save_round_samples(study: Study, ema: Weights, number: int, run_dir: Path) -> None:
    """Writes `samples/round-N.png` for about ten rounds of a run, spread evenly, the last included."""
    rounds = study.scenario.training.rounds
    if number % max(1, rounds // _GRIDS_PER_RUN) and number != rounds:
        return
    content = sample_grid(release(study, ema))
    write_bytes_atomically(run_dir / SAMPLES_FOLDER / f"round-{number:06d}.png", content)


def sample_grid(generator: ReleasedGenerator) -> bytes:
    """PNG with a column of samples for each class, marked with what the generator is marked with."""
    output = OUTPUTS[generator.schema.kind]
    count = _ROWS * (generator.schema.num_classes if generator.network.conditional else output.columns)
    labels = generator.balanced_labels(count)
    records = generator.sample(labels, count, torch.Generator().manual_seed(_SEED))
    return output.preview(records, labels, generator)
