"""What one record adds to a site's sum: runs the product's own clipping and summation twice, without noise."""

import copy

import torch
from torch import Tensor

from silogan.client.mechanism.dpsgd import BookKeepingModule, bag_mean
from silogan.client.mechanism.noisy_sum import grid_step
from silogan.common.modality import Schema
from silogan.common.models.losses import LOSSES
from silogan.common.models.networks import Discriminator, uniform_labels
from silogan.common.registry import lookup
from silogan.common.seeding import seeded_generator

_BLOCK = 4
"""Units in the block: others that count, the one in question, and places without a unit."""


class ProductContribution:
    """A `silogan.simulations.attacks.adversary.Contribution` of the product's private step.

    Args:
        schema: of the images.
        loss: name of the loss.
        clip_norm: C.
    """

    def __init__(self, schema: Schema, loss: str, clip_norm: float) -> None:
        self._schema, self._clip_norm = schema, clip_norm
        self._loss = lookup(LOSSES, loss, "training.loss")

    def __call__(self, discriminator: Discriminator, images: Tensor, labels: Tensor) -> float:
        """See `silogan.simulations.attacks.adversary.Contribution`."""
        views = len(images)
        rng = seeded_generator(0, "other records")
        block = torch.rand((_BLOCK * views, *images.shape[1:]), generator=rng).mul_(2).sub_(1)
        classes = uniform_labels(_BLOCK * views, self._schema.num_classes, rng)
        block[:views], classes[:views] = images, labels
        counts = torch.tensor([True, True, True, False])
        with_it = self._sum(discriminator, block, classes, counts)
        without = self._sum(discriminator, block, classes, counts & torch.tensor([False, True, True, True]))
        return float((with_it - without).norm()) / self._clip_norm

    def _sum(self, discriminator: Discriminator, images: Tensor, labels: Tensor, counts: Tensor) -> Tensor:
        critic = BookKeepingModule(copy.deepcopy(discriminator))
        losses = self._loss.real(critic(images, labels)).view(len(counts), -1)
        critic.add(bag_mean(losses, counts.unsqueeze(1).expand_as(losses)), self._clip_norm, counts)
        total = critic.take()
        step = grid_step(self._clip_norm, len(total))
        return torch.round(total / step) * step
