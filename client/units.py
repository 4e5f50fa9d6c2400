"""The units of privacy among a site's images: which images each holds, and which of them a step gets to see."""

from typing import NamedTuple

import torch
from torch import Tensor

from client.data import Images
from client.randomness import Randomness
from common.errors import DataError
from common.plan import PrivacyPlan


class Bags(NamedTuple):
    """The records that a step takes of each sampled unit.

    Attributes:
        positions: int64[n, V], positions of images; a unit with fewer than V records has some of them again.
        present: bool[n, V], False at these repetitions.
    """

    positions: Tensor
    present: Tensor


class Units:
    """The units among a site's images: its patients or, where the plan says so, its records.

    Args:
        images: the site's training images.
        plan: says what a unit is, and k, the most records of it in a step.

    Attributes:
        views: V, columns of the bags that `sample` gives: k, or fewer if no unit has so many records.

    Raises:
        DataError: the plan's unit is the patient, and the images do not say whose they are.

    Privacy:
        All records of a patient are in one unit, and each unit is in a sample with probability q whatever the other
        units are. Which of its records are taken depends on nothing but the unit and private randomness.
    """

    def __init__(self, images: Images, plan: PrivacyPlan) -> None:
        self._rate = plan.sample_rate
        if plan.unit == "record":
            self._of_patients, self._count, self.views = None, len(images), 1
            return
        if images.patients is None:
            raise DataError("images", "do not say whose they are", "give the patients, or approve a record-level plan")
        self._of_patients = _Records.of(images.patients)
        self._count = len(self._of_patients.counts)
        self.views = int(self._of_patients.counts.max().clamp(max=plan.records_per_patient)) if len(images) else 1

    def shares(self) -> Tensor:
        """What each image counts for where every unit counts for one: float64[N]; those of a unit add up to 1."""
        if self._of_patients is None:
            return torch.ones(self._count, dtype=torch.float64)
        records = self._of_patients
        shares = torch.empty(len(records.order), dtype=torch.float64, device=records.order.device)
        shares[records.order] = records.counts.double().reciprocal().repeat_interleave(records.counts)
        return shares

    def sample(self, randomness: Randomness) -> Bags:
        """A Poisson sample of the units, and at most V records of each, drawn without replacement."""
        chosen = randomness.poisson_sample(self._count, self._rate)
        if self._of_patients is None:
            return Bags(chosen.unsqueeze(1), torch.ones_like(chosen, dtype=torch.bool).unsqueeze(1))
        return self._of_patients.draw(chosen, self.views, randomness)


class _Records(NamedTuple):
    """The positions of each patient's images: `counts[i]` of them in `order`, from `starts[i]` on; all int64."""

    order: Tensor
    starts: Tensor
    counts: Tensor

    @staticmethod
    def of(patients: Tensor) -> "_Records":
        """Groups images by their codes int64[N], which may have gaps: a site holds a part of the data."""
        _, counts = patients.unique(return_counts=True)
        return _Records(patients.argsort(stable=True), counts.cumsum(0) - counts, counts)

    def draw(self, chosen: Tensor, views: int, randomness: Randomness) -> Bags:
        """At most `views` records of each of the patients int64[n], all of a patient's being equally likely."""
        counts = self.counts[chosen]
        ends = counts.cumsum(0)
        first = ends - counts
        rows = torch.arange(len(chosen), device=chosen.device).repeat_interleave(counts)
        records = self.order[torch.arange(len(rows), device=rows.device) + (self.starts[chosen] - first)[rows]]
        # In random order, then by patient again: a patient's records stand where they stood, shuffled.
        shuffled = randomness.uniform(len(rows)).argsort()
        shuffled = shuffled[rows[shuffled].argsort(stable=True)]
        column = torch.arange(views, device=chosen.device)
        places = first.unsqueeze(1) + column % counts.unsqueeze(1)
        return Bags(records[shuffled[places]], column < counts.unsqueeze(1))
