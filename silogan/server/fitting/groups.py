"""Groups of a number's cells, of which pairs are counted: as many rows in each as can be told."""

import torch
from torch import Tensor

from silogan.common.modality.table import Number, TableSchema
from silogan.common.privacy.statistics.singles import Counts

_CLEAR = 3.0
"""A count of less than so many standard deviations of its noise counts half, since it may be nothing but noise."""


def groups_of(schema: TableSchema, bins: int, singles: Counts | None) -> Tensor:
    """The group of each cell within its column, float32[cells], rising; categories keep their cells.

    Args:
        schema: of the rows.
        bins: most groups of a number, a group for missing values not counted.
        singles: counts of cells; without them groups have equally many cells.
    """
    everybody = None if singles is None else singles.counts.sum(dim=0)
    noise = 0.0 if singles is None else singles.noise * len(singles.counts) ** 0.5
    found: list[Tensor] = []
    for column, block in zip(schema.columns, schema.blocks, strict=True):
        cells = column.known_cells
        if not isinstance(column, Number) or cells <= bins:
            groups = torch.arange(cells)
        elif everybody is None:
            groups = torch.arange(cells) * bins // cells
        else:
            groups = _even(everybody[block.start : block.start + cells], bins, noise)
        found.append(torch.cat((groups, groups[-1:] + 1)) if column.optional else groups)
    return torch.cat(found).float()


def _even(counts: Tensor, bins: int, noise: float) -> Tensor:
    """Groups int64[cells] of about as many rows each: a cell that holds a whole group's rows is one by itself."""
    counts = torch.where(counts > _CLEAR * noise, counts, counts.clamp(min=0) * 0.5)
    groups, group, held, left = torch.zeros(len(counts), dtype=torch.int64), 0, 0.0, float(counts.sum())
    for cell, count in enumerate(counts.tolist()):
        wanted = left / (bins - group)
        # a group is closed before a cell that would overfill it by more than it lacks
        if held and group < bins - 1 and held + count - wanted > wanted - held:
            left, group, held = left - held, group + 1, 0.0
        groups[cell] = group
        held += count
    return groups
