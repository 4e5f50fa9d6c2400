"""Ways to break the real classes, each for as long as its context lasts: what an empirical audit must find."""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from torch import Tensor

import client.site
from client.data import to_unit_range
from client.dpsgd import BookKeepingModule, PrivateOptimizer
from client.dpsgd.rules import Contribution
from client.trainer import Progress, SiteTrainer
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

    def unclipped(self: BookKeepingModule, contributions: list[Contribution]) -> None:
        self._max_grad_norm = float("inf")
        honest(self, contributions)

    with patch.object(BookKeepingModule, "_add", unclipped):
        yield


@contextmanager
def losses_leaked() -> Generator[None]:
    """The sum of the losses of the real images of each class leaves beside the weights, without noise."""
    last: list[Tensor] = []
    honest_run, honest_weights = SiteTrainer.run, client.site.gan_weights

    def run(self: SiteTrainer, lr_factor: float = 1.0) -> Progress:
        progress = honest_run(self, lr_factor)
        with torch.no_grad():
            logits = self._discriminator(to_unit_range(self._images.pixels), self._images.labels)
        sums = torch.zeros(self._num_classes).index_add_(0, self._images.labels, self._loss.real(logits))
        last[:] = [sums]
        return progress

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
def _noise_multiplier(changed: Any) -> Generator[None]:
    honest = PrivateOptimizer.add_noise

    def add_noise(self: PrivateOptimizer) -> None:
        planned = self.noise_multiplier
        self.noise_multiplier = changed(planned, self.expected_batch_size)
        try:
            honest(self)
        finally:
            self.noise_multiplier = planned

    with patch.object(PrivateOptimizer, "add_noise", add_noise):
        yield
