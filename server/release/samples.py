"""A sheet of samples of a generator."""

import torch

from server.release.contact_sheet import UNCONDITIONAL_COLUMNS, class_grid, png_bytes
from server.release.generator import ReleasedGenerator

_ROWS = 8
_SEED = 2026


def sample_grid(generator: ReleasedGenerator) -> bytes:
    """PNG with a column of samples for each class, marked as the generator is; always of the same latent vectors."""
    columns = generator.schema.num_classes if generator.network.conditional else UNCONDITIONAL_COLUMNS
    count = _ROWS * columns
    labels = generator.balanced_labels(count)
    images = generator.sample(labels, count, torch.Generator().manual_seed(_SEED))
    return png_bytes(class_grid(images, labels, generator.schema.classes, rows=_ROWS), generator.png_text())
