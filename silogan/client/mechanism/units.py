"""Poisson sampling: the units in a sum, in a secret order and in blocks of a fixed shape.

Privacy:
    All records of a patient are in one unit, and each unit is in a sample with probability q whatever the others are.
    The order is uniformly random, so that for neighbouring data sets two samples can be drawn together that differ in
    two places alone: the extra unit takes the place of another, which goes to the end (the inside-out shuffle of Fisher
    and Yates). Blocks have the same shape however many units there are, so that what is computed for a unit depends on
    neither the others nor their number; and their rows fill whole vectors of the processor, so that it does not depend
    on the unit's place either. `client/training/isolation.py` tests both on the machine in use.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from silogan.client.mechanism.randomness import Randomness

MOST_UNITS = 2**19
"""Most units of a hospital for which the rounding of a sum is proven to be small (`noisy_sum.py`)."""


class Bags(NamedTuple):
    """Records of units, one unit per row.

    Attributes:
        positions: int64[n, V], positions of records.
        present: bool[n, V], False where a unit has fewer than V records, and in rows without a unit.
    """

    positions: Tensor
    present: Tensor

    def blocks(self, size: int) -> Iterator["Bags"]:
        """The rows in blocks of `size`, the last one filled up with rows without a unit."""
        missing = -len(self.positions) % size
        positions, present = (F.pad(part, (0, 0, 0, missing)) for part in self)
        yield from map(Bags, positions.split(size), present.split(size)) if len(positions) else ()


class Units:
    """The units among a hospital's records.

    Args:
        records: how many records there are.
        patients: int64[N], a code for the patient of each record; None if each record is its own unit.
        views: V, the most records of a unit in a sum: public, whatever the patients have.

    Attributes:
        views: V.

    Raises:
        ValueError: there are more than `MOST_UNITS`.
    """

    def __init__(self, records: int, patients: Tensor | None, views: int) -> None:
        self.views = 1 if patients is None else views
        self._records = None if patients is None else _Records.of(patients)
        self._count = records if self._records is None else len(self._records.counts)
        if self._count > MOST_UNITS:
            raise ValueError(f"more than {MOST_UNITS} units")

    def sample(self, rate: float, randomness: Randomness) -> Bags:
        """Each unit with probability `rate`, in random order, with at most V of its records, none twice."""
        chosen = randomness.poisson_sample(self._count, rate)
        chosen = chosen[randomness.permutation(len(chosen))]
        if self._records is None:
            return Bags(chosen.unsqueeze(1), torch.ones_like(chosen, dtype=torch.bool).unsqueeze(1))
        return self._records.draw(chosen, self.views, randomness)


class _Records(NamedTuple):
    """The positions of each patient's records: `counts[i]` of them in `order`, from `starts[i]` on; all int64."""

    order: Tensor
    starts: Tensor
    counts: Tensor

    @staticmethod
    def of(patients: Tensor) -> "_Records":
        """Groups records by their codes int64[N], which may have gaps: a site holds a part of the data."""
        _, counts = patients.unique(return_counts=True)
        return _Records(patients.argsort(stable=True), counts.cumsum(0) - counts, counts)

    def draw(self, chosen: Tensor, views: int, randomness: Randomness) -> Bags:
        """At most `views` records of each of the patients int64[n], all of a patient's being equally likely."""
        counts = self.counts[chosen]
        first = counts.cumsum(0) - counts
        rows = torch.arange(len(chosen)).repeat_interleave(counts)
        records = self.order[torch.arange(len(rows)) + (self.starts[chosen] - first)[rows]]
        # In random order, then by patient again: a patient's records stand where they stood, shuffled.
        shuffled = randomness.permutation(len(rows))
        shuffled = shuffled[rows[shuffled].argsort(stable=True)]
        column = torch.arange(views)
        places = first.unsqueeze(1) + column % counts.unsqueeze(1)
        return Bags(records[shuffled[places]], column < counts.unsqueeze(1))
