"""Ways to break the real classes, each for as long as its context lasts: what an empirical audit must find."""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from torch import Tensor

import client.site
from client.mechanism import Patients
from client.mechanism.dpsgd import BookKeepingModule
from client.mechanism.dpsgd.rules import Contribution
from client.steps import PrivateStep
from client.trainer import SiteTrainer
from common.messages import Weights
from common.networks import GAN
from simulations.canaries import Canaries, Release
from simulations.one_run import Floats

LEAK = "leak.real_loss_by_class"


@contextmanager
def noise_off() -> Generator[None]:
    """The clipped sum is released as it is."""
    with _noise_multiplier(lambda _sigma, _batch: 0.0):
        yield


@contextmanager
def wrong_divisor() -> Generator[None]:
    """The noise is divided by the batch twice: once before it is added, and once with the sum."""
    with _noise_multiplier(lambda sigma, batch: sigma / batch):
        yield


@contextmanager
def clipping_off() -> Generator[None]:
    """Every unit adds its whole gradient."""
    honest = BookKeepingModule._add

    def unclipped(self: BookKeepingModule, parts: list[Contribution], _clip_norm: float, counts: Tensor | None) -> None:
        honest(self, parts, float("inf"), counts)

    with patch.object(BookKeepingModule, "_add", unclipped):
        yield


@contextmanager
def warm_start_weakened() -> Generator[None]:
    """The statistics of round 0 have a fifth of their noise; every later round is as it should be."""
    honest = Patients.noisy_statistic

    def weakened(self: Patients, *args: Any) -> Tensor:
        with _other_noise(self, self._terms.noise_multiplier / 5):
            return honest(self, *args)

    with patch.object(Patients, "noisy_statistic", weakened):
        yield


@contextmanager
def losses_leaked() -> Generator[None]:
    """The sum of the losses of the real images of each class leaves beside the weights, without noise."""
    last: list[Tensor] = []
    honest_run, honest_weights = SiteTrainer.run, client.site.gan_weights

    def run(self: SiteTrainer, steps: int, lr_factor: float = 1.0) -> None:
        honest_run(self, steps, lr_factor)
        step: Any = self._step
        patients: Patients = step._patients
        with torch.no_grad():
            logits = self._discriminator(patients._encode(patients._records), patients._labels)
        sums = torch.zeros(self._num_classes).index_add_(0, patients._labels, self._loss.real(logits))
        last[:] = [sums]

    def weights(gan: GAN) -> Weights:
        return {**honest_weights(gan), LEAK: last[0]}

    with patch.object(SiteTrainer, "run", run), patch.object(client.site, "gan_weights", weights):
        yield


def leaked_losses(release: Release, canaries: Canaries) -> Floats:
    """A `Score`: the losses that `losses_leaked` lets out; nothing where it is not at work."""
    if LEAK not in release.weights:
        return np.zeros(len(canaries))
    return release.weights[LEAK][canaries.first_class :].double().numpy()


@contextmanager
def _noise_multiplier(changed: Callable[[float, float], float]) -> Generator[None]:
    """Another σ of private steps, computed from σ and the expected batch."""
    honest = PrivateStep.take

    def take(self: PrivateStep, *args: Any) -> Tensor:
        sigma = changed(self._patients._terms.noise_multiplier, self._expected_batch)
        with _other_noise(self._patients, sigma):
            return honest(self, *args)

    with patch.object(PrivateStep, "take", take):
        yield


@contextmanager
def _other_noise(patients: Patients, sigma: float) -> Generator[None]:
    planned = patients._terms
    patients._terms = replace(planned, noise_multiplier=sigma)
    try:
        yield
    finally:
        patients._terms = planned
