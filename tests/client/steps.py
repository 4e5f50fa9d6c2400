"""A site's training as its tests set it up, and the same done slowly: one unit at a time, without any library."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import Adam, Optimizer

import silogan.client.mechanism.noisy_sum
import silogan.client.training.unprotected
from silogan.client.data import Records
from silogan.client.mechanism import Patients, Randomness, Terms, clip
from silogan.client.mechanism.noise import rounded_gaussian
from silogan.client.mechanism.noisy_sum import grid_step
from silogan.client.mechanism.patients import Encode
from silogan.client.mechanism.units import Bags
from silogan.client.training.steps import PrivateStep, Step
from silogan.client.training.trainer import SiteTrainer, discriminator_optimizer, passes
from silogan.client.training.unprotected import PlainStep, UnprotectedPatients
from silogan.common.modality import Stored
from silogan.common.modality.image import PIXELS, to_unit_range
from silogan.common.models.losses import LOSSES
from silogan.common.models.networks import GAN, build, initialise
from silogan.common.seeding import derive_key
from silogan.common.wire.study import Study
from tests.plans import with_phase

EXPECTED_BATCH = 10.5  # q · declared size, with 42 declared: not a whole number, and not what is drawn
NOISE_SEED, PUBLIC_SEED = 11, 12
CLIPPED_TO = 1 - clip.SLACK
ROUNDED_DOWN = 1 - 2.0**-22  # every factor of a unit is


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def new_gan(study: Study) -> GAN:
    gan = build(study.scenario.model, study.schema)
    initialise(gan, generator(0))
    return gan


def copy_of(study: Study, gan: GAN) -> GAN:
    """The same weights, without the hooks of a trainer."""
    copied = new_gan(study)
    for network, original in zip(copied, gan, strict=True):
        network.load_state_dict(original.state_dict())
    return copied


def new_optimizer(study: Study, gan: GAN) -> Optimizer:
    return discriminator_optimizer(gan.discriminator, study.scenario.training)


def new_patients(
    study: Study,
    images: Records,
    *,
    randomness: Randomness | None = None,
    block: int = 16,
    encode: Encode | None = None,
) -> Patients:
    plan = study.plan
    terms = Terms(
        sample_rate=plan.training.sample_rate,
        clip_norm=plan.training.clip_norm,
        noise_multiplier=plan.training.noise_multiplier,
        records_per_patient=plan.training.records_per_patient,
        block=block,
    )
    codes = images.patients if plan.unit == "patient" else None
    source = randomness or Randomness(derive_key(NOISE_SEED))
    return Patients(
        images.stored, images.labels, codes, encode=encode or study.schema.encode, terms=terms, randomness=source
    )


def private_step(study: Study, gan: GAN, optimizer: Optimizer, patients: Patients, at_once: int = 64) -> PrivateStep:
    return PrivateStep(
        gan.discriminator,
        optimizer,
        patients,
        clip_norm=study.plan.training.clip_norm,
        expected_batch=EXPECTED_BATCH,
        at_once=at_once,
        precision=passes(torch.device("cpu"), study.scenario.training),
    )


def plain_step(
    study: Study, gan: GAN, optimizer: Optimizer, images: Records, randomness: Randomness | None = None
) -> PlainStep:
    patients = UnprotectedPatients(
        images,
        study.schema.encode,
        study.plan.unit,
        study.plan.training,
        randomness or Randomness(derive_key(NOISE_SEED)),
    )
    precision = passes(torch.device("cpu"), study.scenario.training)
    return PlainStep(gan.discriminator, optimizer, patients, EXPECTED_BATCH, precision)


def new_step(
    study: Study, gan: GAN, optimizer: Optimizer, images: Records, randomness: Randomness | None = None
) -> Step:
    """The step of the study's kind, as `client/round.py` chooses it."""
    if not study.plan.private:
        return plain_step(study, gan, optimizer, images, randomness)
    return private_step(study, gan, optimizer, new_patients(study, images, randomness=randomness))


def new_trainer(
    study: Study,
    gan: GAN,
    images: Records,
    *,
    randomness: Randomness | None = None,
    public: torch.Generator | None = None,
) -> SiteTrainer:
    optimizer = new_optimizer(study, gan)
    return SiteTrainer(
        gan,
        optimizer,
        new_step(study, gan, optimizer, images, randomness),
        fakes_per_step=max(1, round(EXPECTED_BATCH)),
        training=study.scenario.training,
        num_classes=study.schema.num_classes,
        public=generator(PUBLIC_SEED) if public is None else public,
    )


def flat(network: nn.Module) -> Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in network.parameters()])


def gradients_of(optimizer: Optimizer) -> list[Tensor]:
    """Every gradient that reaches an optimizer from now on, flat."""
    seen: list[Tensor] = []

    def note(optimizer: Optimizer, _args: Any, _options: Any) -> None:
        seen.append(torch.cat([p.grad.flatten() for group in optimizer.param_groups for p in group["params"]]).clone())

    optimizer.register_step_pre_hook(note)
    return seen


# --- randomness that is known ----------------------------------------------------------------------------------------


class Scripted(Randomness):
    """Takes the first units, as many as the script says, as they stand; for tests whose noise is off."""

    def __init__(self, *sizes: int) -> None:
        super().__init__(bytes(32))
        self.sizes = list(sizes)

    def poisson_sample(self, population: int, rate: float) -> Tensor:
        return torch.arange(self.sizes.pop(0))

    def permutation(self, size: int) -> Tensor:
        return torch.arange(size)


class Everyone(Scripted):
    """Takes every unit and, of each, the records that the same golden ratio picks whatever comes after."""

    def poisson_sample(self, population: int, rate: float) -> Tensor:
        return torch.arange(population)


class GoldenRecords(Everyone):
    """The order of the units stays; that of the records is the golden ratio's."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0

    def permutation(self, size: int) -> Tensor:
        self.asked += 1
        if self.asked % 2:  # the units first, then their records
            return torch.arange(size)
        return (torch.arange(1, size + 1, dtype=torch.float64) * 0.6180339887498949 % 1).argsort()


def noise_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sum is released as it was rounded to the grid."""
    monkeypatch.setattr(
        silogan.client.mechanism.noisy_sum,
        "rounded_gaussian",
        lambda _, size, __: torch.zeros(size, dtype=torch.float64),
    )


def tight_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Norms are bounded as if float32 did not round: a unit of honest weights is clipped to C as a slow loop would."""
    monkeypatch.setattr(clip, "UNIT_ROUNDOFF", 2.0**-53)


def in_double(stored: Stored) -> Tensor:
    return stored[PIXELS].double() / 127.5 - 1


@contextmanager
def double_precision(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """All arithmetic in float64, without noise and on a grid too fine to see, so that only what is wrong differs."""
    noise_off(monkeypatch)
    tight_bounds(monkeypatch)
    monkeypatch.setattr(silogan.client.mechanism.noisy_sum, "grid_step", lambda *_: 2.0**-60)
    monkeypatch.setattr(Tensor, "float", Tensor.double)
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


# --- patients --------------------------------------------------------------------------------------------------------


def patients_of(images: Records, sizes: list[int]) -> Records:
    """The images with patients of these sizes, their images far from each other, and codes with gaps."""
    codes = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes)) * 3 + 2
    shuffled = torch.randperm(len(codes), generator=generator(5))
    return replace(images.select(torch.arange(len(codes))), patients=codes[shuffled])


def patient_study(make_study: Callable[..., Study], most: int, **changes: Any) -> Study:
    study = make_study(**changes)
    return replace(study, plan=with_phase(study.plan, unit="patient", records_per_patient=most))


def spied_bags(
    patients: Patients | UnprotectedPatients,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[Bags], Bags] = Bags._make,
) -> list[Bags]:
    """The bags that are drawn from now on, each as `change` returns it."""
    seen: list[Bags] = []
    sample = patients._units.sample

    def spied(rate: float, randomness: Randomness) -> Bags:
        seen.append(change(sample(rate, randomness)))
        return seen[-1]

    monkeypatch.setattr(patients._units, "sample", spied)
    return seen


# --- the same, slowly ------------------------------------------------------------------------------------------------


class SlowLoop:
    """The article's algorithm under DP-SGD, one unit at a time.

    Draws from its own two sources, in the order of the plan: latent vectors and labels of the fakes; units, their
    order, noise.
    """

    def __init__(self, study: Study, gan: GAN, images: Records) -> None:
        self.study, self.images = study, images
        self.G, self.D = gan
        self.loss = LOSSES[study.scenario.training.loss]
        training = study.scenario.training
        self.g_adam = Adam(self.G.parameters(), lr=training.lr_generator, betas=training.betas)
        self.d_adam = Adam(self.D.parameters(), lr=training.lr_discriminator, betas=training.betas)
        self.private, self.public = Randomness(derive_key(NOISE_SEED)), generator(PUBLIC_SEED)
        self.gradients: list[Tensor] = []
        self.batches: list[int] = []

    def fakes(self, count: int) -> tuple[Tensor, Tensor | None]:
        z = torch.randn(count, self.G.latent_dim, generator=self.public)
        classes = self.study.schema.num_classes
        labels = torch.randint(classes, (count,), generator=self.public) if self.G.conditional else None
        return self.G(z, labels), labels

    def gradient_of(self, loss: Callable[[Tensor], Tensor], image: Tensor, label: Tensor) -> Tensor:
        value = loss(self.D(image[None], label[None])).sum()
        return torch.cat([g.flatten() for g in torch.autograd.grad(value, list(self.D.parameters()))])

    def clipped(self, unit: Tensor) -> Tensor:
        plan = self.study.plan
        if not plan.private:
            return unit
        return unit * min(1.0, CLIPPED_TO * plan.training.clip_norm / max(float(unit.norm()), 1e-12)) * ROUNDED_DOWN

    def gradients_of_fakes(self) -> list[Tensor]:
        with torch.no_grad():
            fakes, labels = self.fakes(max(1, round(EXPECTED_BATCH)))
        found: list[Tensor] = []
        for number, image in enumerate(fakes):
            label = torch.tensor(0) if labels is None else labels[number]
            found.append(self.clipped(self.gradient_of(self.loss.fake, image, label)))
        return found

    def discriminator_step(self) -> None:
        plan, of_fakes = self.study.plan, self.gradients_of_fakes()
        drawn = (self.private.uniform(len(self.images)) <= plan.training.sample_rate).nonzero().flatten()
        units: list[Tensor] = []
        for index in drawn[self.private.permutation(len(drawn))]:
            image = to_unit_range(self.images.stored[PIXELS][index])
            units.append(self.clipped(self.gradient_of(self.loss.real, image, self.images.labels[index])))
        total = torch.stack(units + of_fakes).sum(dim=0)
        if plan.private:
            step = grid_step(plan.training.clip_norm, len(total))
            noise = rounded_gaussian(
                self.private, len(total), plan.training.noise_multiplier * plan.training.clip_norm / step
            )
            total = total + (noise * step).to(total.dtype)
        self.apply(self.D, self.d_adam, total / EXPECTED_BATCH)
        self.gradients.append(total / EXPECTED_BATCH)
        self.batches.append(len(drawn))

    def step_of_bags(self, bags: Bags) -> Tensor:
        """The gradient without noise: one backward pass a record drawn, the mean over a patient's; float64."""
        of_fakes = self.gradients_of_fakes()
        units: list[Tensor] = []
        for positions, present in zip(*bags, strict=True):
            views = [
                self.gradient_of(self.loss.real, in_double(self.images.select(i).stored), self.images.labels[i])
                for i in positions[present]
            ]
            units.append(self.clipped(torch.stack(views).mean(dim=0)))
        return torch.stack(units + of_fakes).sum(dim=0) / EXPECTED_BATCH

    def generator_step(self) -> None:
        fakes, labels = self.fakes(self.study.scenario.training.generator_batch_size)
        loss = self.loss.generator(self.D(fakes, labels)).mean()
        gradient = torch.autograd.grad(loss, list(self.G.parameters()))
        self.apply(self.G, self.g_adam, torch.cat([g.flatten() for g in gradient]))

    @staticmethod
    def apply(network: nn.Module, adam: Adam, gradient: Tensor) -> None:
        parameters = list(network.parameters())
        for parameter, part in zip(parameters, gradient.split([p.numel() for p in parameters]), strict=True):
            parameter.grad = part.view_as(parameter)
        adam.step()

    def run(self, steps: int, k: int) -> None:
        for step in range(1, steps + 1):
            self.discriminator_step()
            if step % k == 0:
                self.generator_step()
