"""Ways to break the real classes, each for as long as its context lasts: what an empirical audit must find."""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from torch import Tensor

import silogan.client.round
from silogan.client.mechanism import Patients
from silogan.client.mechanism.clip import Factors
from silogan.client.mechanism.dpsgd import module
from silogan.client.training.steps import PrivateStep
from silogan.client.training.trainer import SiteTrainer
from silogan.common.models.networks import GAN
from silogan.common.wire.messages import Weights
from silogan.simulations.attacks.canaries import Canaries, Release
from silogan.simulations.attacks.one_run import Floats

LEAK = "leak.real_loss_by_class"


@contextmanager
def noise_off() -> Generator[None]:
    """The clipped sum is released as it is."""
    with _noise_scaled(lambda _batch: 0.0):
        yield


@contextmanager
def wrong_divisor() -> Generator[None]:
    """The noise is divided by the batch twice: once before it is added, and once with the sum."""
    with _noise_scaled(lambda batch: 1 / batch):
        yield


@contextmanager
def clipping_off() -> Generator[None]:
    """Every unit adds its whole gradient."""

    def unclipped(squared: Tensor, reach: Tensor, clip_norm: float, counts: Tensor) -> Factors:
        return Factors(counts.float(), ~counts)

    with patch.object(module, "clip_factors", unclipped):
        yield


@contextmanager
def warm_start_weakened() -> Generator[None]:
    """Statistics have a fifth of their noise; every round of training is as it should be."""
    honest = Patients.noisy_statistic

    def weakened(self: Patients, *args: Any) -> Tensor:
        self._terms = replace(self._terms, noise_multiplier=self._terms.noise_multiplier / 5)
        return honest(self, *args)

    with patch.object(Patients, "noisy_statistic", weakened):
        yield


@contextmanager
def losses_leaked() -> Generator[None]:
    """The sum of the losses of the real images of each class leaves beside the weights, without noise."""
    last: list[Tensor] = []
    honest_run, honest_weights = SiteTrainer.run, silogan.client.round.weights_of

    def run(self: SiteTrainer, steps: int, lr_factor: float = 1.0) -> None:
        honest_run(self, steps, lr_factor)
        step: Any = self._step
        images, labels = step._patients._encode(step._patients._records), step._patients._labels
        with torch.no_grad():
            logits = self._discriminator(images, labels)
        last[:] = [torch.zeros(self._num_classes).index_add_(0, labels, self._loss.real(logits))]

    def weights(gan: GAN) -> Weights:
        return {**honest_weights(gan), LEAK: last[0]}

    with patch.object(SiteTrainer, "run", run), patch.object(silogan.client.round, "weights_of", weights):
        yield


def leaked_losses(release: Release, canaries: Canaries) -> Floats:
    """A `Score`: the losses that `losses_leaked` lets out; nothing where it is not at work."""
    if LEAK not in release.weights:
        return np.zeros(len(canaries))
    return release.weights[LEAK][canaries.first_class :].double().numpy()


@contextmanager
def _noise_scaled(factor: Callable[[float], float]) -> Generator[None]:
    """The noise of a step times a factor of its expected batch."""
    honest = PrivateStep.take

    def take(self: PrivateStep, *args: Any) -> Tensor:
        terms = self._patients._terms
        self._patients._terms = replace(terms, noise_multiplier=terms.noise_multiplier * factor(self._expected_batch))
        try:
            return honest(self, *args)
        finally:
            self._patients._terms = terms

    with patch.object(PrivateStep, "take", take):
        yield
