"""Rows that a schema calls impossible are drawn again, so that the others keep their distribution."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from silogan.common.errors import UsageError
from silogan.common.modality import Stored
from silogan.common.models.networks import Drawn, Sampler

_LEAST = 4096
"""Rows that are drawn in the place of impossible ones, at least: one that is rarely possible soon comes up."""

_MOST_TRIES = 2**20, 100
"""Rows that are drawn before it is given up: so many, and so many times the number of those that are needed."""


def draw_possible(
    sampler: Sampler,
    possible: Callable[[Stored], Tensor | None],
    count: int,
    rng: torch.Generator,
    labels: Tensor | None,
) -> Drawn:
    """`count` records that are possible.

    Where a class was asked for, a record is replaced by one of its class; else by any.

    Args:
        sampler: draws records, possible or not.
        possible: `Schema.possible`.
        count: at most the sampler's chunk.
        rng: see `Sampler.draw`.
        labels: see `Sampler.draw`.

    Raises:
        UsageError: hardly any record is possible.
    """
    drawn = sampler.draw(count, rng, labels)
    impossible, tried = _impossible(drawn, possible), 0
    while len(impossible):
        places = impossible.repeat(max(1, min(_LEAST, sampler.chunk) // len(impossible)))
        again = sampler.draw(len(places), rng, None if labels is None else labels[places])
        failed = torch.zeros(len(places), dtype=torch.bool)
        failed[_impossible(again, possible)] = True
        _, chosen = np.unique(places[~failed].numpy(), return_index=True)  # the first of each place
        _replace(drawn, again, places, (~failed).nonzero().squeeze(1)[torch.from_numpy(chosen)])
        impossible = _impossible(drawn, possible)
        tried += len(places)
        if len(impossible) and tried > _MOST_TRIES[0] + _MOST_TRIES[1] * count:
            hint = "ask for less, or correct 'impossible' in the description of the columns"
            raise UsageError("generator", "draws hardly any row here that the schema calls possible", hint)
    return drawn


def _impossible(drawn: Drawn, possible: Callable[[Stored], Tensor | None]) -> Tensor:
    """The places int64[·] of records that are not possible."""
    found = possible(drawn.records)
    return torch.empty(0, dtype=torch.int64) if found is None else (~found).nonzero().squeeze(1)


def _replace(drawn: Drawn, by: Drawn, places: Tensor, chosen: Tensor) -> None:
    """Writes the chosen records of `by` into their places."""
    for name, column in drawn.records.items():
        column[places[chosen]] = by.records[name][chosen]
    if drawn.labels is not None and by.labels is not None:
        drawn.labels[places[chosen]] = by.labels[chosen]
