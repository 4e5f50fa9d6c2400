"""Local training of one site: private discriminator steps, and generator steps that see only the discriminator.

The algorithm is that of Goodfellow et al. (2014): k discriminator steps, then one generator step, with DP-SGD (Abadi et
al., 2016) for the discriminator (Xie et al., 2018, DPGAN; Bie, Kamath and Zhang, 2023, for k and its adaptation).
"""

from typing import Any

import torch
from torch import Tensor
from torch.optim import SGD, Adam, Optimizer

from silogan.client.training.adaptive import DiscriminatorFrequency
from silogan.client.training.steps import Step
from silogan.common.config.scenario import Training
from silogan.common.models.losses import LOSSES, Loss
from silogan.common.models.networks import GAN, Discriminator, Generator
from silogan.common.progress import track
from silogan.common.registry import lookup


class SiteTrainer:
    """Trains one site's copy of the networks for one round.

    Args:
        gan: generator and discriminator, holding the round's incoming weights; changed in place.
        d_optimizer: the discriminator's (`discriminator_optimizer`).
        step: takes the discriminator's steps with it.
        fakes_per_step: fakes in a discriminator step.
        training: learning rates, loss, k.
        num_classes: labels are in [0, num_classes).
        public: source of latent vectors and labels of fakes, which need not be secret; on the device of the networks.

    Privacy:
        Holds no patient's data. What `step` does with it is its own promise; all else is computed from weights and
        public randomness.
    """

    def __init__(
        self,
        gan: GAN,
        d_optimizer: Optimizer,
        step: Step,
        *,
        fakes_per_step: int,
        training: Training,
        num_classes: int,
        public: torch.Generator,
    ) -> None:
        self._generator, self._discriminator = gan.generator, gan.discriminator
        self._step, self._d_optimizer, self._fakes_per_step = step, d_optimizer, fakes_per_step
        self._training, self._num_classes, self._public = training, num_classes, public
        self._loss: Loss = lookup(LOSSES, training.loss, "training.loss")
        self._frequency = DiscriminatorFrequency(training.d_steps_per_g_step)
        self._g_optimizer = generator_optimizer(self._generator, training)
        self._precision = passes(public.device, training)

    def run(self, steps: int, lr_factor: float = 1.0) -> None:
        """Takes the private steps of one round, and the generator steps that fall in between.

        Args:
            steps: of the discriminator.
            lr_factor: of Adam's learning rates in this round.
        """
        self._generator.train()
        self._discriminator.train()
        self._set_learning_rates(lr_factor)
        for _ in track(range(steps)):
            self._discriminator_step()
            if self._frequency.generator_is_due() and not self._training.server_generator_steps:
                self._generator_step()

    def state(self) -> dict[str, Any]:
        """Optimizer and frequency state; stays at the site between rounds."""
        return {
            "generator_optimizer": {} if self._g_optimizer is None else self._g_optimizer.state_dict(),
            "discriminator_optimizer": self._d_optimizer.state_dict(),
            "frequency": self._frequency.state(),
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Restores what `state` returned after the round before."""
        if self._g_optimizer is not None:
            self._g_optimizer.load_state_dict(state["generator_optimizer"])
        self._d_optimizer.load_state_dict(state["discriminator_optimizer"])
        self._frequency.load_state(state["frequency"])

    def _set_learning_rates(self, lr_factor: float) -> None:
        """Those of the round, over those that came with the optimizers' state."""
        for optimizer, rate in (
            (self._g_optimizer, self._training.lr_generator),
            (self._d_optimizer, self._training.lr_discriminator),
        ):
            if optimizer is None:
                continue
            # plain steps only carry the gradients to the server, which divides by their rate
            factor = lr_factor if isinstance(optimizer, Adam) else 1.0
            for group in optimizer.param_groups:
                group["lr"] = rate * factor

    def _discriminator_step(self) -> None:
        with torch.no_grad():
            fakes, labels = self._draw(self._fakes_per_step)
        told_fake = self._step.take(self._loss, fakes, labels) < 0
        if self._training.weight_clip is not None:
            with torch.no_grad():
                for parameter in self._discriminator.parameters():
                    parameter.clamp_(-self._training.weight_clip, self._training.weight_clip)
        self._frequency.observe(told_fake.float().mean())

    def _generator_step(self) -> None:
        """One step of G through the frozen D: no real image, no per-sample work."""
        optimizer = self._g_optimizer
        assert optimizer is not None  # noqa: S101  (sites train the generator)
        discriminator = self._discriminator.requires_grad_(False)
        with self._precision:
            fake, labels = self._draw(self._training.generator_batch_size)
            loss = self._loss.generator(discriminator(fake, labels).float()).mean()
            optimizer.zero_grad()
            loss.backward()
        optimizer.step()
        discriminator.requires_grad_(True)

    def _draw(self, count: int) -> tuple[Tensor, Tensor | None]:
        return self._generator.draw(count, self._num_classes, self._public)


def passes(device: torch.device, training: Training) -> torch.autocast:
    """The context of the networks' passes; rounding them to bfloat16 changes gradients, not guarantees."""
    return torch.autocast(device.type, torch.bfloat16, enabled=training.precision == "bfloat16")


def generator_optimizer(generator: Generator, training: Training) -> Optimizer | None:
    """Adam; None where the server trains the generator, of which a site needs no more than fakes."""
    if training.server_generator_steps:
        return None
    return Adam(generator.parameters(), lr=training.lr_generator, betas=training.betas, fused=True)


def discriminator_optimizer(discriminator: Discriminator, training: Training) -> Optimizer:
    """Adam; or plain steps where the server puts Adam on their average (`server/fitting/server_trainer.py`)."""
    parameters, lr = discriminator.parameters(), training.lr_discriminator
    if training.discriminator_adam == "server":
        return SGD(parameters, lr=lr)
    return Adam(parameters, lr=lr, betas=training.betas, fused=True)
