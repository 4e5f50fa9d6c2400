"""The release of a finished run."""

from pathlib import Path

from silogan.common.files import write_bytes_atomically
from silogan.common.models.weights import Weights
from silogan.common.wire.run_folder import GENERATOR_FILE, sample_sheet
from silogan.common.wire.study import Study
from silogan.server.release.generator import ReleasedGenerator, release, save_generator
from silogan.server.release.samples import sample_grid


def publish(study: Study, ema: Weights, run_dir: Path) -> tuple[ReleasedGenerator, bytes | None]:
    """Writes the averaged generator, and a sheet of its samples if it draws any; returns both."""
    save_generator(study, ema, run_dir / GENERATOR_FILE)
    generator = release(study, ema)
    sheet = sample_grid(generator) if generator.network.draws else None
    if sheet is not None:
        write_bytes_atomically(sample_sheet(run_dir), sheet)
    return generator, sheet
