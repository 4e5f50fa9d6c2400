"""A sheet of samples of a generator."""

import torch

from silogan.server.release.contact_sheet import abreast
from silogan.server.release.generator import ReleasedGenerator
from silogan.server.release.outputs import OUTPUTS

_SEED = 2026


def sample_grid(generator: ReleasedGenerator) -> bytes:
    """PNG of samples of each class, marked as the generator is; always of the same latent vectors."""
    output = OUTPUTS[generator.schema.kind]
    classes = generator.schema.num_classes
    columns = classes * abreast(classes, output.columns) if generator.network.conditional else output.columns
    count = output.rows * columns
    labels = generator.balanced_labels(count)
    records = generator.sample(labels, count, torch.Generator().manual_seed(_SEED))
    return output.preview(records, labels, generator)
