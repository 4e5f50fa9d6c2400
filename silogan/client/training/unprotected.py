"""Training with privacy switched off, for comparison in simulation. A hospital's node never runs this code."""

from contextlib import AbstractContextManager

import torch
from torch import Tensor
from torch.optim import Optimizer

from silogan.client.data import Records
from silogan.client.mechanism.patients import Encode
from silogan.client.mechanism.randomness import Randomness
from silogan.client.mechanism.units import Units
from silogan.common.models.losses import Loss, reality
from silogan.common.models.networks import Discriminator
from silogan.common.privacy.plan import Phase, Unit
from silogan.common.privacy.statistics import Statistic

_AT_A_TIME = 256


class UnprotectedPatients:
    """Direct access to records, without the door.

    Args:
        records: the site's training records, on the device that works.
        encode: what networks and statistics see of a record.
        unit: the patient or the record.
        phase: says q and k.
        randomness: of the samples.
    """

    def __init__(self, records: Records, encode: Encode, unit: Unit, phase: Phase, randomness: Randomness) -> None:
        patients = None if unit == "record" or records.patients is None else records.patients.cpu()
        self._records, self._encode, self._randomness, self._rate = records, encode, randomness, phase.sample_rate
        self._units = Units(len(records), patients, phase.records_per_patient)

    def sample(self) -> tuple[Tensor, Tensor, Tensor]:
        """Records float32[n, ...] and labels int64[n] of a Poisson sample, and each one's share of its unit."""
        positions, shares = self._drawn()
        return *self._of(positions), shares

    def statistic(self, moments: Statistic) -> Tensor:
        """The sum of what all units add to the class moments, float64[moments.size]."""
        total = torch.zeros(moments.slots, moments.width, dtype=torch.float64, device=self._records.labels.device)
        for positions, shares in zip(*(part.split(_AT_A_TIME) for part in self._drawn()), strict=True):
            records, labels = self._of(positions)
            places, rows = moments.placed(records, labels)
            total.index_add_(0, places, rows * shares.double().unsqueeze(1))
        return total.flatten()

    def _drawn(self) -> tuple[Tensor, Tensor]:
        """Positions int64[n] of the records that are drawn, and each one's share of its unit, float32[n]."""
        positions, present = self._units.sample(self._rate, self._randomness)
        shares = present / present.sum(dim=1, keepdim=True)
        device = self._records.labels.device
        return positions[present].to(device), shares[present].to(device)

    def _of(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        records = self._records.select(positions)
        return self._encode(records.stored), records.labels


class PlainStep:
    """A step without clipping and noise: the sum of the gradients, divided by the expected batch.

    Args:
        discriminator: changed in place.
        optimizer: holds its parameters.
        patients: whose records are real.
        expected_batch: B > 0.
        precision: context of the passes.
    """

    def __init__(
        self,
        discriminator: Discriminator,
        optimizer: Optimizer,
        patients: UnprotectedPatients,
        expected_batch: float,
        precision: AbstractContextManager[object],
    ) -> None:
        self._discriminator, self._optimizer, self._patients = discriminator, optimizer, patients
        self._expected_batch, self._precision = expected_batch, precision

    def take(self, loss: Loss, fakes: Tensor, labels: Tensor | None) -> Tensor:
        """See `silogan.client.training.steps.Step`."""
        real, real_labels, shares = self._patients.sample()
        both = None if labels is None else torch.cat((real_labels, labels))
        with self._precision:
            answers = self._discriminator(torch.cat((real, fakes)), both).float()
        losses = (loss.real(answers[: len(real)]) * shares).sum() + loss.fake(answers[len(real) :]).sum()
        self._optimizer.zero_grad()
        (losses / self._expected_batch).backward()
        self._optimizer.step()
        return reality(answers[len(real) :]).detach()
