"""Local training of one site: private discriminator steps, and generator steps that see only the discriminator.

The algorithm is that of Goodfellow et al. (2014): k discriminator steps, then one generator step, with DP-SGD (Abadi et
al., 2016) for the discriminator (Xie et al., 2018, DPGAN; Bie, Kamath and Zhang, 2023, for k and its adaptation).
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.optim import SGD, Adam, Optimizer

from client.adaptive import DiscriminatorFrequency
from client.data import Images, to_unit_range
from client.dpsgd import DP_ENGINES, Engine, PlainEngine, bag_mean
from client.randomness import Randomness
from client.units import Units
from common.config import Training
from common.errors import ConfigError
from common.losses import LOSSES, Loss
from common.networks import GAN, Discriminator
from common.plan import PrivacyPlan
from common.registry import lookup

MICRO_BATCH = {"cpu": 256, "cuda": 2048}
"""Images that are in a private step at one time, by type of device: enough to keep it busy, few enough for memory."""


@dataclass(frozen=True)
class Progress:
    """What a round of training says of itself; every figure is computed from weights and public randomness alone."""

    steps: int
    fake_accuracy: float
    d_steps_per_g_step: int


class SiteTrainer:
    """Trains one site's copy of the networks for one round.

    Args:
        gan: generator and discriminator on `device`, holding the round's incoming weights; changed in place.
        images: the site's training images, on `device`.
        expected_batch: public B = q · declared size; divisor of the gradients and number of fakes in a step.
        plan: the approved privacy plan.
        training: learning rates, loss, k.
        num_classes: labels are in [0, num_classes).
        randomness: source of sampling and noise for the private steps.
        public: source of latent vectors and labels of fakes, which need not be secret.

    Privacy:
        See `PrivacyPlan`. Real images enter `_discriminator_step` alone. An empty batch still takes its noisy step. The
        number of units enters nothing but the drawing of them.

    Raises:
        DataError: the plan's unit is the patient, and the images do not say whose they are.
        ConfigError: the engine is unknown, or cannot clip several records of a patient as one.
    """

    def __init__(
        self,
        gan: GAN,
        images: Images,
        expected_batch: float,
        *,
        plan: PrivacyPlan,
        training: Training,
        num_classes: int,
        randomness: Randomness,
        public: torch.Generator,
    ) -> None:
        self._generator, self._discriminator = gan.generator, gan.discriminator
        self._images, self._units = images, Units(images, plan)
        self._plan, self._training, self._num_classes = plan, training, num_classes
        self._expected_batch = expected_batch
        self._fakes_per_step = max(1, round(expected_batch))
        self._randomness, self._public = randomness, public
        self._loss: Loss = lookup(LOSSES, training.loss, "training.loss")
        self._frequency = DiscriminatorFrequency(training.d_steps_per_g_step)
        self._g_optimizer = Adam(
            self._generator.parameters(), lr=training.lr_generator, betas=training.betas, fused=True
        )
        self._d_optimizer = _discriminator_optimizer(self._discriminator, training)
        self._engine = self._choose_engine()
        device = self._public.device.type
        self._micro_batch = training.micro_batch or MICRO_BATCH.get(device, MICRO_BATCH["cpu"])
        # Rounding the passes to bfloat16 changes gradients, not guarantees: see `BookKeepingModule`.
        self._precision = torch.autocast(device, torch.bfloat16, enabled=training.precision == "bfloat16")

    def run(self, lr_factor: float = 1.0) -> Progress:
        """Takes the plan's private steps of one round, and the generator steps that fall in between.

        Args:
            lr_factor: of Adam's learning rates in this round.
        """
        self._generator.train()
        self._discriminator.train()
        self._set_learning_rates(lr_factor)
        for _ in range(self._plan.steps_per_round):
            self._discriminator_step()
            if self._frequency.generator_is_due() and not self._training.server_generator_steps:
                self._generator_step()
        return Progress(self._plan.steps_per_round, self._frequency.fake_accuracy, self._frequency.d_steps_per_g_step)

    def state(self) -> dict[str, Any]:
        """Optimizer and frequency state; stays at the site between rounds."""
        return {
            "generator_optimizer": self._g_optimizer.state_dict(),
            "discriminator_optimizer": self._d_optimizer.state_dict(),
            "frequency": self._frequency.state(),
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Restores what `state` returned after the round before."""
        self._g_optimizer.load_state_dict(state["generator_optimizer"])
        self._d_optimizer.load_state_dict(state["discriminator_optimizer"])
        self._frequency.load_state(state["frequency"])

    def _set_learning_rates(self, lr_factor: float) -> None:
        """Those of the round, over those that came with the optimizers' state."""
        for optimizer, rate in (
            (self._g_optimizer, self._training.lr_generator),
            (self._d_optimizer, self._training.lr_discriminator),
        ):
            # plain steps only carry the gradients to the server, which divides by their rate
            factor = lr_factor if isinstance(optimizer, Adam) else 1.0
            for group in optimizer.param_groups:
                group["lr"] = rate * factor

    def _choose_engine(self) -> Engine:
        if not self._plan.private:
            return PlainEngine(self._discriminator, self._d_optimizer, self._expected_batch)
        engine = lookup(DP_ENGINES, self._training.dp_engine, "training.dp_engine")
        if self._units.views > 1 and not engine.micro_batches:
            problem = f"is '{self._training.dp_engine}', which cannot clip several records as one"
            raise ConfigError("training.dp_engine", problem, "set it to bookkeeping")
        return engine(self._discriminator, self._d_optimizer, self._randomness, self._plan, self._expected_batch)

    def _discriminator_step(self) -> None:
        real, real_labels, present = self._sample_real()
        fake, fake_labels = self._sample_fake(self._fakes_per_step)
        images = torch.cat((real, fake))
        labels = None if fake_labels is None else torch.cat((real_labels, fake_labels))
        is_real = torch.arange(len(images), device=images.device) < len(real)
        views = self._units.views
        self._engine.zero_grad()
        told_fake: list[Tensor] = []
        for part in self._micro_batches(len(real), len(images)):
            with self._precision:
                logits = self._engine.logits(images[part], None if labels is None else labels[part]).float()
            losses = torch.where(is_real[part], self._loss.real(logits), self._loss.fake(logits))
            if views > 1 and part.stop <= len(real):
                losses = bag_mean(losses.view(-1, views), present[part.start // views : part.stop // views])
            self._engine.backward(losses)
            told_fake.append(logits.detach() < 0)
        self._engine.step()
        if self._training.weight_clip is not None:
            with torch.no_grad():
                for parameter in self._discriminator.parameters():
                    parameter.clamp_(-self._training.weight_clip, self._training.weight_clip)
        self._frequency.observe(torch.cat(told_fake)[len(real) :].float().mean())

    def _micro_batches(self, reals: int, count: int) -> list[slice]:
        """Cuts `count` images, the reals first, such that no bag is split and none is beside fakes (bags of one)."""
        if not self._engine.micro_batches:
            return [slice(0, count)]
        views = self._units.views
        if views == 1:
            return _slices(0, count, self._micro_batch)
        whole_bags = max(1, self._micro_batch // views) * views
        return _slices(0, reals, whole_bags) + _slices(reals, count, self._micro_batch)

    def _generator_step(self) -> None:
        """One step of G through the frozen D: no real image, no per-sample work."""
        with self._engine.frozen() as discriminator, self._precision:
            fake, labels = self._generate(self._training.generator_batch_size)
            loss = self._loss.generator(discriminator(fake, labels).float()).mean()
            self._g_optimizer.zero_grad()
            loss.backward()
        self._g_optimizer.step()

    def _sample_real(self) -> tuple[Tensor, Tensor, Tensor]:
        """A Poisson sample of the site's units, scaled by public constants; n bags of V views.

        Returns:
            Images float32 [n·V, C, S, S] and labels int64 [n·V], those of a bag in a row; bool [n, V], the places in
            a bag that count.
        """
        bags = self._units.sample(self._randomness)
        positions = bags.positions.flatten()
        return to_unit_range(self._images.pixels[positions]), self._images.labels[positions], bags.present

    @torch.no_grad()
    def _sample_fake(self, count: int) -> tuple[Tensor, Tensor | None]:
        return self._generate(count)

    def _generate(self, count: int) -> tuple[Tensor, Tensor | None]:
        device = self._public.device
        z = torch.randn(count, self._generator.latent_dim, generator=self._public, device=device)
        labels = None
        if self._generator.conditional:
            labels = torch.randint(self._num_classes, (count,), generator=self._public, device=device)
        return self._generator(z, labels), labels


def _slices(start: int, stop: int, size: int) -> list[slice]:
    return [slice(first, min(first + size, stop)) for first in range(start, stop, size)]


def _discriminator_optimizer(discriminator: Discriminator, training: Training) -> Optimizer:
    """Adam; or plain steps where the server puts Adam on their average (`server/training.py`)."""
    parameters, lr = discriminator.parameters(), training.lr_discriminator
    if training.discriminator_adam == "server":
        return SGD(parameters, lr=lr)
    return Adam(parameters, lr=lr, betas=training.betas, fused=True)
