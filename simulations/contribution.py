"""What one record adds to a site's sum: the product's own clipping and adding up, without the noise, run twice."""

import copy

import torch
from torch import Tensor

from client.dpsgd import BookKeepingModule, bag_mean
from common.losses import LOSSES
from common.networks import Discriminator
from common.registry import lookup
from common.schema import ImageSchema
from common.seeding import seeded_generator

_OTHERS = 1
"""Records that share the batch: how a batch is computed may depend on its size."""


class ProductContribution:
    """A `simulations.adversary.Contribution` of the product's private step.

    Args:
        schema: of the images.
        loss: name of the loss.
        clip_norm: C.
    """

    def __init__(self, schema: ImageSchema, loss: str, clip_norm: float) -> None:
        self._schema, self._clip_norm = schema, clip_norm
        self._loss = lookup(LOSSES, loss, "training.loss")

    def __call__(self, discriminator: Discriminator, images: Tensor, labels: Tensor) -> float:
        """See `simulations.adversary.Contribution`."""
        views = len(images)
        rng = seeded_generator(0, "other records")
        others = torch.rand((_OTHERS * views, *images.shape[1:]), generator=rng).mul_(2).sub_(1)
        classes = torch.randint(self._schema.num_classes, (_OTHERS * views,), generator=rng)
        without = self._sum(discriminator, others, classes, views)
        with_it = self._sum(discriminator, torch.cat((others, images)), torch.cat((classes, labels)), views)
        return float((with_it.double() - without.double()).norm()) / self._clip_norm

    def _sum(self, discriminator: Discriminator, images: Tensor, labels: Tensor, views: int) -> Tensor:
        network = copy.deepcopy(discriminator)
        module = BookKeepingModule(network, max_grad_norm=self._clip_norm)
        losses = self._loss.real(module(images, labels))
        module.backward(losses if views == 1 else bag_mean(losses.view(-1, views)))
        module.remove_hooks()
        grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in network.parameters()]
        return torch.cat([grad.flatten() for grad in grads])
