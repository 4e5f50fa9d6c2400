"""Training at the server, without real images: post-processing of what the sites have released.

Three uses: the generator against the averaged discriminator (`training.server_generator_steps`), Adam for it
(`training.discriminator_adam`), and both networks on what a warm start describes (`server/fitting/warm_start.py`). A
mixture, which has no slopes, is trained through a form of it that does (`server/fitting/relaxed.py`), and what refines
images is kept near them (`server/fitting/refined.py`).
"""

from typing import NamedTuple, cast

import torch
from torch import Tensor
from torch.optim import SGD, Adam, Optimizer

from silogan.common.config.scenario import Training
from silogan.common.modality.image import ImageSchema
from silogan.common.modality.image_options import Gaussians
from silogan.common.models.losses import LOSSES, Loss
from silogan.common.models.networks.gaussians import RefinedGaussians
from silogan.common.models.networks.mixture import MixtureOfProducts
from silogan.common.models.weights import Weights, networks, part_of, weights_of
from silogan.common.registry import lookup
from silogan.common.wire.study import Study
from silogan.server.fitting.refined import RefinedImages
from silogan.server.fitting.relaxed import RelaxedMixture


class Rates(NamedTuple):
    """Learning rates."""

    generator: float
    discriminator: float


class ServerTrainer:
    """Both networks and their optimizers, on the CPU.

    Args:
        study: says the networks, loss and learning rates.
        weights: what the networks hold at first; stays as it is.
        rng: source of latent vectors and labels.
        rates: learning rates of generator and discriminator.

    Privacy:
        Sees generated images and the networks alone.
    """

    def __init__(self, study: Study, weights: Weights, rng: torch.Generator, rates: Rates) -> None:
        self._training: Training = study.scenario.training
        self._num_classes, self._rng = study.schema.num_classes, rng
        self._gan = networks(study.scenario.model, study.schema, weights)
        self._loss: Loss = lookup(LOSSES, self._training.loss, "training.loss")
        betas, refine, generator = self._training.betas, self._training.refine, self._gan.generator
        self._relaxed: RelaxedMixture | None = None
        if refine is not None and isinstance(generator, MixtureOfProducts):
            self._relaxed = RelaxedMixture(generator, refine.temperature)
        self._refined: RefinedImages | None = None
        if refine is not None and isinstance(generator, RefinedGaussians):
            model, schema = study.scenario.model, study.schema
            assert isinstance(model, Gaussians) and isinstance(schema, ImageSchema)  # noqa: S101, PT018  (its family)
            self._refined = RefinedImages(generator, schema, model.frequencies or 1, refine.consistency)
        critic, momentum = list(self._gan.discriminator.parameters()), None if refine is None else refine.momentum
        self._g_optimizer = Adam((self._relaxed or generator).parameters(), lr=rates.generator, betas=betas)
        self._d_optimizer: Optimizer = Adam(critic, lr=rates.discriminator, betas=betas)
        if momentum is not None:
            self._d_optimizer = SGD(critic, lr=rates.discriminator, momentum=momentum)

    @property
    def weights(self) -> Weights:
        """Copies of all weights, under `generator.` and `discriminator.` names."""
        return {name: tensor.clone() for name, tensor in weights_of(self._gan).items()}

    def generator_step(self) -> None:
        """One step of G against the current D."""
        discriminator = self._gan.discriminator.requires_grad_(False)
        count, strayed = self._training.generator_batch_size, torch.zeros(())
        if self._refined is not None:
            images, labels, strayed = self._refined.draw(count, self._rng)
        else:
            images, labels = self._draw(count)
        loss = self._loss.generator(discriminator(images, labels)).mean() + strayed
        self._g_optimizer.zero_grad()
        loss.backward()
        self._g_optimizer.step()
        discriminator.requires_grad_(True)
        if self._relaxed is not None:
            self._relaxed.fold()

    def discriminator_step(self, images: Tensor, labels: Tensor) -> None:
        """One plain step of D on images float32[N, C, S, S] that stand for real ones, and as many of G's."""
        with torch.no_grad():
            fakes, fake_labels = self._draw(len(images))
        both = None if fake_labels is None else torch.cat((labels, fake_labels))
        logits = self._gan.discriminator(torch.cat((images, fakes)), both)
        loss = self._loss.real(logits[: len(images)]).mean() + self._loss.fake(logits[len(images) :]).mean()
        self._d_optimizer.zero_grad()
        loss.backward()
        self._d_optimizer.step()

    def discriminator_follows(self, average: Weights) -> None:
        """One step of D by Adam, or with momentum, on what the sites' plain steps came to on average.

        With SGD and learning rate η, (D as it was sent - average) / η is the sum of a round's private gradients,
        averaged over the sites: the noise of N sites is averaged before Adam sees it (Reddi et al., 2021, FedAdam).
        """
        averaged = part_of(average, "discriminator")
        for name, parameter in self._gan.discriminator.named_parameters():
            moved = parameter.detach() - averaged[name]
            parameter.grad = moved / self._training.lr_discriminator
        self._d_optimizer.step()

    def state(self) -> Weights:
        """State of both optimizers as tensors."""
        return {
            f"{part}.{index}.{name}": value.clone()
            for part, optimizer in self._optimizers.items()
            for index, one in cast(dict[int, dict[str, Tensor]], optimizer.state_dict()["state"]).items()
            for name, value in one.items()
        }

    def load_state(self, state: Weights) -> None:
        """Restores what `state` returned."""
        found: dict[str, dict[int, dict[str, Tensor]]] = {part: {} for part in self._optimizers}
        for key, value in state.items():
            part, index, name = key.split(".")
            found[part].setdefault(int(index), {})[name] = value.clone()
        for part, optimizer in self._optimizers.items():
            groups = optimizer.state_dict()["param_groups"]
            optimizer.load_state_dict({"state": found[part], "param_groups": groups})

    @property
    def _optimizers(self) -> dict[str, Optimizer]:
        return {"generator": self._g_optimizer, "discriminator": self._d_optimizer}

    def _draw(self, count: int) -> tuple[Tensor, Tensor | None]:
        if self._relaxed is not None:
            return self._relaxed.draw(count, self._rng)
        return self._gan.generator.draw(count, self._num_classes, self._rng)
