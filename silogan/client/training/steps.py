"""One step of the discriminator: the noisy sum from the door, the fakes, and an optimizer."""

import math
from contextlib import AbstractContextManager
from statistics import NormalDist
from typing import Protocol

import torch
from torch import Tensor
from torch.optim import Optimizer

from silogan.client.mechanism import Patients
from silogan.client.mechanism.dpsgd import BookKeepingModule
from silogan.common.models.losses import Loss, reality
from silogan.common.models.networks import Discriminator

ROWS = 32
"""Records of a block are a multiple of this: whole vectors of a processor, so that no place is computed otherwise."""

OVERHEAD = 8
"""The overhead of a block, in records:  4 to 15 for 28x28, about 5 for 64x64, on a CPU."""


def largest_block(views: int, most: int) -> int:
    """Units in the largest block of V = `views` records each that has at most `most` records, or in the smallest."""
    smallest = _smallest_block(views)
    return smallest * max(1, most // views // smallest)


def block_size(expected: float, sample_rate: float, views: int, most: int) -> int:
    """Units in a block, from public numbers: of the sizes that fit, that with which a sample should cost least.

    Small blocks have few places that stay empty, large ones little overhead.

    Args:
        expected: units expected in a sum.
        sample_rate: q, with which each of them is sampled.
        views: V, records of a unit.
        most: records that may be in a block, unless the smallest block has more.
    """
    spread = NormalDist(expected, math.sqrt(expected * (1 - sample_rate)) or 1e-9)
    samples = [max(1, round(units)) for units in spread.quantiles(20)]

    def cost(size: int) -> int:
        return sum(math.ceil(units / size) for units in samples) * (size * views + OVERHEAD)

    smallest = _smallest_block(views)
    return min(range(smallest, largest_block(views, most) + 1, smallest), key=cost)


def _smallest_block(views: int) -> int:
    return ROWS // math.gcd(ROWS, views)


class Step(Protocol):
    """Takes steps of a discriminator against its site's patients."""

    def take(self, loss: Loss, fakes: Tensor, labels: Tensor | None) -> Tensor:
        """Changes the discriminator; returns its logits of "is real" for the fakes before that, float32[N]."""
        ...


class PrivateStep:
    """DP-SGD (Abadi et al., 2016, algorithm 1) with fakes: (Σ clipped real + noise + Σ clipped fake) / B.

    Args:
        discriminator: changed in place; its trained parameters are those of the optimizer.
        optimizer: takes the noisy gradient.
        patients: the door to the patients.
        clip_norm: C, for fakes as for patients, so that both sides keep the same scale.
        expected_batch: public B > 0.
        at_once: fakes that are worked on at one time.
        precision: context of the passes.

    Privacy:
        The patients' part is one release of `patients`; all else is computed from it, weights and public randomness.
        Fakes never share a pass with patients, so nothing about them depends on how many patients were sampled.
    """

    def __init__(
        self,
        discriminator: Discriminator,
        optimizer: Optimizer,
        patients: Patients,
        *,
        clip_norm: float,
        expected_batch: float,
        at_once: int,
        precision: AbstractContextManager[object],
    ) -> None:
        self._critic, self._optimizer, self._patients = BookKeepingModule(discriminator), optimizer, patients
        self._clip_norm, self._expected_batch, self._at_once = clip_norm, expected_batch, at_once
        self._precision = precision

    def take(self, loss: Loss, fakes: Tensor, labels: Tensor | None) -> Tensor:
        """See `Step`."""
        total = self._patients.noisy_gradient(self._critic, self._answers, loss.real)
        answers: list[Tensor] = []
        for start in range(0, len(fakes), self._at_once):
            part = slice(start, start + self._at_once)
            answers.append(self._answers(fakes[part], None if labels is None else labels[part]))
            self._critic.add(loss.fake(answers[-1]), self._clip_norm, public=True)
        total = (total + self._critic.take()) / self._expected_batch
        parameters = self._critic.trained
        for parameter, gradient in zip(parameters, total.split([p.numel() for p in parameters]), strict=True):
            parameter.grad = gradient.view_as(parameter).to(parameter.dtype)
        self._optimizer.step()
        return reality(torch.cat(answers)).detach()

    def _answers(self, images: Tensor, labels: Tensor | None) -> Tensor:
        with self._precision:
            return self._critic(images, labels).float()
