"""The door: access to a hospital's patients, only through noisy sums."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from silogan.client.mechanism.clip import clipped_rows
from silogan.client.mechanism.dpsgd import BookKeepingModule, bag_mean
from silogan.client.mechanism.noisy_sum import release
from silogan.client.mechanism.randomness import Randomness
from silogan.client.mechanism.units import Bags, Units

Stored = Mapping[str, Tensor]
"""Records as they are stored: one tensor [N, ...] for each part of a record."""

Encode = Callable[[Stored], Tensor]
"""Stored records to float32[N, ...], each by itself and by public constants."""


@dataclass(frozen=True)
class Terms:
    """The terms of a release; all public and approved.

    Attributes:
        sample_rate: q in (0, 1], the chance of each unit to be in a sum.
        clip_norm: C > 0, the most that a unit adds.
        noise_multiplier: σ > 0; the noise has standard deviation σ·C.
        records_per_patient: k ≥ 1, the most records of a unit in a sum.
        block: units that are worked on at one time.
    """

    sample_rate: float
    clip_norm: float
    noise_multiplier: float
    records_per_patient: int
    block: int


class Patients:
    """Holds the records and releases only noisy sums.

    Args:
        records: as they are stored, on the device that works.
        labels: int64[N] on the same device.
        patients: int64[N] on the CPU, a code for the patient of each record; None if each record is its own unit.
        encode: what networks and statistics see of a record.
        terms: of every release.
        randomness: of samples, orders and noise.

    Privacy:
        Unit: a patient with all records, or a record where `patients` is None. Neighbouring: add or remove one. Each
        method's result is one release of the Poisson-subsampled Gaussian mechanism with these terms, and may leave. Its
        sensitivity is C for any weights, and any map that works on each record by itself; a unit that gives NaN or
        infinity adds zero. Nothing else of the records can be reached.
    """

    def __init__(
        self,
        records: Stored,
        labels: Tensor,
        patients: Tensor | None,
        *,
        encode: Encode,
        terms: Terms,
        randomness: Randomness,
    ) -> None:
        self._records, self._labels, self._encode = records, labels, encode
        self._units = Units(len(labels), patients, terms.records_per_patient)
        self._terms, self._randomness = terms, randomness

    def noisy_gradient(
        self, critic: BookKeepingModule, answers: Callable[[Tensor, Tensor], Tensor], loss: Callable[[Tensor], Tensor]
    ) -> Tensor:
        """One private step's sum of gradients.

        Args:
            critic: judges records; its parameters are those of the gradient.
            answers: to N records and their labels, one or a few numbers for each, in the precision that is used.
            loss: of each answer by itself, float32[N].

        Returns:
            float64[d], in the order of `critic.trained`; the gradient of an empty sample is noise alone.
        """
        terms = self._terms
        for block in self._blocks():
            records, labels = self._of(block)
            losses = bag_mean(loss(answers(records, labels)).view(-1, self._units.views), block.present)
            critic.add(losses, terms.clip_norm, block.present.any(dim=1))
        return self._released(critic.take())

    def noisy_statistic(
        self, placed: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]], slots: int, width: int
    ) -> Tensor:
        """The sum of what the units add: the mean of their records' rows, each in its slot.

        Args:
            placed: of encoded records [N, ...] and labels int64[N]: a slot int64[N] in [0, slots) and a row
                float64[N, width] for each record by itself.
            slots: how many there are.
            width: of a row.

        Returns:
            float64[slots·width].
        """
        total = torch.zeros(slots, width, dtype=torch.float64, device=self._labels.device)
        for block in self._blocks():
            records, labels = self._of(block)
            share = block.present / block.present.sum(dim=1, keepdim=True).clamp(min=1)
            places, rows = placed(records, labels)
            clipped = clipped_rows(rows, self._terms.clip_norm, block.present.flatten())
            total.index_add_(0, places, clipped * share.double().view(-1, 1))
        return self._released(total.flatten())

    def _blocks(self) -> list[Bags]:
        bags, device = self._units.sample(self._terms.sample_rate, self._randomness), self._labels.device
        return [Bags(*(part.to(device) for part in block)) for block in bags.blocks(self._terms.block)]

    def _of(self, block: Bags) -> tuple[Tensor, Tensor]:
        """Records float32[n·V, ...] and labels int64[n·V] of a block, those of a unit in a row."""
        positions = block.positions.flatten()
        records = {name: part[positions] for name, part in self._records.items()}
        return self._encode(records), self._labels[positions]

    def _released(self, total: Tensor) -> Tensor:
        terms = self._terms
        return release(total, terms.clip_norm, terms.noise_multiplier, self._randomness)
