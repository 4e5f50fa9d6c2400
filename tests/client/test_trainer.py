import copy
import io
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.optim import Adam

import client.trainer
from client.data import Images, to_unit_range
from client.randomness import SeededRandomness
from client.trainer import SiteTrainer
from client.units import Bags
from common.errors import ConfigError, DataError
from common.losses import LOSSES
from common.networks import GAN, build, initialise
from common.schema import ImageSchema
from common.study import Study

EXPECTED_BATCH = 10.5  # q · declared size, with 42 declared: not a whole number, and not what is drawn
MakeStudy = Callable[..., Study]
NOISE_SEED, PUBLIC_SEED = 11, 12


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


def new_trainer(study: Study, gan: GAN, images: Images, **changes: Any) -> SiteTrainer:
    arguments: dict[str, Any] = {
        "plan": study.plan,
        "training": study.scenario.training,
        "num_classes": study.schema.num_classes,
        "randomness": SeededRandomness(generator(NOISE_SEED)),
        "public": generator(PUBLIC_SEED),
    }
    return SiteTrainer(gan, images, EXPECTED_BATCH, **{**arguments, **changes})


def flat(network: nn.Module) -> Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in network.parameters()])


def gradients_of(adam: Adam) -> list[Tensor]:
    """Every gradient that reaches an optimizer from now on, flat."""
    seen: list[Tensor] = []

    def note(optimizer: Adam, args: Any, kwargs: Any) -> None:
        seen.append(torch.cat([p.grad.flatten() for group in optimizer.param_groups for p in group["params"]]).clone())

    adam.register_step_pre_hook(note)
    return seen


class Scripted:
    """Takes the first units, as many as the script says, and adds noise of zero."""

    def __init__(self, *sizes: int) -> None:
        self.sizes = list(sizes)

    def poisson_sample(self, *_: object) -> Tensor:
        return torch.arange(self.sizes.pop(0))

    def uniform(self, size: int) -> Tensor:
        return torch.zeros(size, dtype=torch.float64)

    def normal(self, size: int) -> Tensor:
        return torch.zeros(size)


class SlowLoop:
    """The article's algorithm under DP-SGD, one unit at a time and without any library of privacy.

    Draws from its own two generators, in the order of the plan: units, latent vectors and labels of the fakes, noise.
    """

    def __init__(self, study: Study, gan: GAN, images: Images) -> None:
        self.study, self.images = study, images
        self.G, self.D = gan
        self.loss = LOSSES[study.scenario.training.loss]
        training = study.scenario.training
        self.g_adam = Adam(self.G.parameters(), lr=training.lr_generator, betas=training.betas)
        self.d_adam = Adam(self.D.parameters(), lr=training.lr_discriminator, betas=training.betas)
        self.private, self.public = generator(NOISE_SEED), generator(PUBLIC_SEED)
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

    def discriminator_step(self) -> None:
        plan = self.study.plan
        drawn = torch.rand(len(self.images), generator=self.private, dtype=torch.float64) < plan.sample_rate
        with torch.no_grad():
            fakes, fake_labels = self.fakes(max(1, round(EXPECTED_BATCH)))
        units: list[Tensor] = []
        for index in drawn.nonzero().flatten():
            image = to_unit_range(self.images.pixels[index])
            units.append(self.gradient_of(self.loss.real, image, self.images.labels[index]))
        for number, image in enumerate(fakes):
            label = torch.tensor(0) if fake_labels is None else fake_labels[number]
            units.append(self.gradient_of(self.loss.fake, image, label))
        if plan.private:
            units = [unit * min(1.0, plan.clip_norm / max(float(unit.norm()), 1e-12)) for unit in units]
        total = torch.stack(units).sum(dim=0)
        if plan.private:
            noise = torch.randn(len(total), generator=self.private)
            total = total + noise * plan.noise_multiplier * plan.clip_norm
        self.apply(self.D, self.d_adam, total / EXPECTED_BATCH)
        self.gradients.append(total / EXPECTED_BATCH)
        self.batches.append(int(drawn.sum()))

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


LOSS_NAMES = ["nonsaturating", "minimax", "hinge", "least_squares", "wasserstein"]


@pytest.mark.parametrize("private", [True, False], ids=["private", "plain"])
@pytest.mark.parametrize("loss", LOSS_NAMES)
def test_training_equals_the_slow_loop(make_study: MakeStudy, images: Images, loss: str, private: bool) -> None:
    study = make_study(
        training={"loss": loss, "local_steps": 7, "d_steps_per_g_step": 3},
        # gradients at the beginning have norms from about 0.01 to 1: some are clipped, some are not
        privacy={"clip_norm": 0.3, "enabled": private, "epsilon": 50.0},
    )
    gan = new_gan(study)
    reference = SlowLoop(study, copy.deepcopy(gan), images)
    trainer = new_trainer(study, gan, images)
    gradients = gradients_of(trainer._d_optimizer)

    reference.run(steps=7, k=3)
    progress = trainer.run()

    assert progress.steps == 7
    assert len(set(reference.batches)) > 1
    for gradient, expected in zip(gradients, reference.gradients, strict=True):
        torch.testing.assert_close(gradient, expected, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(flat(gan.discriminator), flat(reference.D), rtol=0, atol=1e-5)
    torch.testing.assert_close(flat(gan.generator), flat(reference.G), rtol=0, atol=1e-5)
    assert (flat(gan.generator) - flat(new_gan(study).generator)).norm() > 0


def first_gradient(study: Study, images: Images) -> Tensor:
    """The noisy gradient of the first private step, the same weights and randomness each time."""
    trainer = new_trainer(study, new_gan(study), images)
    seen = gradients_of(trainer._d_optimizer)
    trainer._discriminator_step()
    return seen[0]


@pytest.mark.parametrize("size", [1, 3, 7])
def test_micro_batches_do_not_change_the_step(make_study: MakeStudy, images: Images, size: int) -> None:
    whole = first_gradient(make_study(training={"micro_batch": None}), images)
    parts = first_gradient(make_study(training={"micro_batch": size}), images)
    torch.testing.assert_close(parts, whole, rtol=1e-5, atol=1e-6)


def test_bfloat16_rounds_the_passes_and_nothing_that_is_kept(make_study: MakeStudy, images: Images) -> None:
    exact = first_gradient(make_study(), images)
    study = make_study(training={"precision": "bfloat16"})
    rounded = first_gradient(study, images)
    assert rounded.dtype == torch.float32
    assert not torch.equal(rounded, exact), "the passes were not in bfloat16"
    # The noise is the same; what differs is the sum of at most 43 + 10 clipped units, each by some roundings of 2^-8.
    largest = study.plan.clip_norm * (len(images) + EXPECTED_BATCH) / EXPECTED_BATCH
    assert float((rounded - exact).norm()) < 0.01 * largest
    trainer = new_trainer(study, new_gan(study), images)
    trainer.run()
    for network in (trainer._generator, trainer._discriminator):
        assert {tensor.dtype for tensor in network.state_dict().values()} == {torch.float32}


def test_unconditional_family_equals_the_slow_loop(make_study: MakeStudy) -> None:
    study = make_study(model={"family": "seed"}, training={"local_steps": 1, "d_steps_per_g_step": 1})
    schema = ImageSchema(64, 1, ("image",))
    study = Study(study.scenario, schema, study.plan, study.sites)
    pixels = torch.randint(0, 256, (12, 1, 64, 64), generator=generator(3), dtype=torch.uint8)
    images = Images(pixels, torch.zeros(12, dtype=torch.int64))
    gan = new_gan(study)
    assert not gan.discriminator.conditional
    reference = SlowLoop(study, copy.deepcopy(gan), images)
    trainer = new_trainer(study, gan, images)
    # gradients, not weights: biases before a GroupNorm have none but rounding, which Adam blows up to whole steps
    pairs = [
        (gradients_of(trainer._d_optimizer), reference.gradients),
        (gradients_of(trainer._g_optimizer), gradients_of(reference.g_adam)),
    ]
    reference.run(steps=1, k=1)
    trainer.run()
    for (gradient,), (expected,) in pairs:
        torch.testing.assert_close(gradient, expected, rtol=1e-3, atol=1e-4 * float(expected.norm()))


# --- the generator's step --------------------------------------------------------------------------------------------


class Untouchable:
    """Stands for the site's images where nobody may look at them."""

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"real images were asked for {name}")

    def __len__(self) -> int:
        raise AssertionError("real images were counted")


@pytest.mark.parametrize("after_private_steps", [0, 2])
def test_generator_step_leaves_the_discriminator_as_it_was(
    make_study: MakeStudy, images: Images, after_private_steps: int
) -> None:
    study = make_study()
    gan = new_gan(study)
    trainer = new_trainer(study, gan, images)
    for _ in range(after_private_steps):
        trainer._discriminator_step()

    def traces() -> list[Any]:
        """What Opacus keeps at D's layers and parameters."""
        kept: list[Any] = []
        for parameter in gan.discriminator.parameters():
            grads = (parameter.grad, getattr(parameter, "grad_sample", None), getattr(parameter, "summed_grad", None))
            kept.append([None if grad is None else grad.clone() for grad in grads])
            kept.append([getattr(parameter, "_forward_counter", 0), getattr(parameter, "_current_grad_sample", None)])
        kept.append([len(getattr(layer, "activations", [])) for layer in gan.discriminator.modules()])
        return kept

    weights, before = flat(gan.discriminator).clone(), traces()
    g_weights, adam = flat(gan.generator).clone(), copy.deepcopy(trainer.state()["discriminator_optimizer"])
    trainer._images = Untouchable()  # pyright: ignore[reportAttributeAccessIssue]
    trainer._generator_step()

    assert not torch.equal(flat(gan.generator), g_weights)
    assert torch.equal(flat(gan.discriminator), weights)
    torch.testing.assert_close(traces(), before, rtol=0, atol=0)
    torch.testing.assert_close(trainer.state()["discriminator_optimizer"], adam, rtol=0, atol=0)
    assert all(parameter.requires_grad for parameter in gan.discriminator.parameters())


@pytest.mark.parametrize(("k", "per_round"), [(1, [7, 7]), (3, [2, 2]), (5, [1, 1]), (7, [1, 1]), (10, [0, 1])])
def test_k_discriminator_steps_precede_each_generator_step_across_rounds(
    make_study: MakeStudy, images: Images, monkeypatch: pytest.MonkeyPatch, k: int, per_round: list[int]
) -> None:
    study = make_study(training={"local_steps": 7, "d_steps_per_g_step": k})
    calls: list[str] = []
    for name in ("_discriminator_step", "_generator_step"):
        step = getattr(SiteTrainer, name)
        monkeypatch.setattr(SiteTrainer, name, lambda self, name=name, step=step: (calls.append(name), step(self)))
    state: dict[str, Any] | None = None
    counts: list[int] = []
    for _ in per_round:
        before = calls.count("_generator_step")
        trainer = new_trainer(study, new_gan(study), images)
        if state is not None:
            trainer.load_state(state)
        assert trainer.run().d_steps_per_g_step == k
        state = trainer.state()
        counts.append(calls.count("_generator_step") - before)
    assert counts == per_round
    expected: list[str] = []
    for step in range(1, 15):
        expected += ["_discriminator_step"] + ["_generator_step"] * (step % k == 0)
    assert calls == expected


@pytest.mark.parametrize(("shift", "accuracy", "k"), [(100.0, 0.0, 4), (-100.0, 1.0, 1)], ids=["weak", "strong"])
def test_adaptive_rule_trains_a_weak_discriminator_longer(
    make_study: MakeStudy, images: Images, monkeypatch: pytest.MonkeyPatch, shift: float, accuracy: float, k: int
) -> None:
    rule = {"threshold": 0.999, "ema": 0.5, "patience": 2, "ladder": [1, 2, 4]}
    study = make_study(training={"local_steps": 12, "d_steps_per_g_step": rule})
    gan = new_gan(study)
    forward = gan.discriminator.forward  # D takes every fake for real, or none
    monkeypatch.setattr(gan.discriminator, "forward", lambda *args: forward(*args) + shift)
    progress = new_trainer(study, gan, images).run()
    assert abs(progress.fake_accuracy - accuracy) < 0.01
    assert progress.d_steps_per_g_step == k


# --- state -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("adaptive", [False, True])
def test_two_rounds_in_one_go_equal_two_with_the_state_saved_between(
    make_study: MakeStudy, images: Images, adaptive: bool
) -> None:
    rule: Any = {"threshold": 0.9, "ema": 0.5, "patience": 1, "ladder": [1, 2, 3]} if adaptive else 2
    study = make_study(training={"local_steps": 5, "d_steps_per_g_step": rule})
    whole = new_gan(study)
    trainer = new_trainer(study, whole, images)
    trainer.run()
    expected = trainer.run()

    parts = new_gan(study)
    streams: dict[str, Any] = {
        "randomness": SeededRandomness(generator(NOISE_SEED)),
        "public": generator(PUBLIC_SEED),
    }
    first = new_trainer(study, parts, images, **streams)
    first.run()
    file = io.BytesIO()
    torch.save(first.state(), file)
    file.seek(0)
    restored = copy_of(study, parts)
    second = new_trainer(study, restored, images, **streams)
    second.load_state(torch.load(file, weights_only=True))
    assert second.run() == expected
    for one, other in zip(restored, whole, strict=True):
        assert torch.equal(flat(one), flat(other))


def test_without_the_state_the_second_round_differs(make_study: MakeStudy, images: Images) -> None:
    study = make_study()
    results: list[Tensor] = []
    for keep in (True, False):
        gan = new_gan(study)
        first = new_trainer(study, gan, images)
        first.run()
        again = copy_of(study, gan)
        second = new_trainer(study, again, images)
        if keep:
            second.load_state(first.state())
        second.run()
        results.append(flat(again.discriminator))
    assert not torch.equal(*results)


# --- the divisor, the sample, the clamp ------------------------------------------------------------------------------


def scaled_sums(study: Study, images: Images, sizes: tuple[int, ...]) -> list[Tensor]:
    """D's first gradient without noise, for realised batches of these sizes."""
    found: list[Tensor] = []
    for size in sizes:
        trainer = new_trainer(study, new_gan(study), images, randomness=Scripted(size))
        gradients = gradients_of(trainer._d_optimizer)
        trainer._discriminator_step()
        found.append(gradients[0])
    return found


@pytest.mark.parametrize("private", [True, False])
def test_realised_batch_size_never_enters_the_divisor(make_study: MakeStudy, images: Images, private: bool) -> None:
    twins = images.select(torch.zeros(20, dtype=torch.int64))  # each unit adds the same
    study = make_study(privacy={"enabled": private, "clip_norm": 0.05})
    none, one, five, twenty = scaled_sums(study, twins, (0, 1, 5, 20))
    unit = one - none
    torch.testing.assert_close(five - none, 5 * unit, rtol=1e-3, atol=1e-6)
    torch.testing.assert_close(twenty - none, 20 * unit, rtol=1e-3, atol=1e-6)
    if private:
        assert abs(float(unit.norm()) * EXPECTED_BATCH / study.plan.clip_norm - 1) < 1e-3


def test_size_of_the_data_set_does_not_change_the_step(make_study: MakeStudy, images: Images) -> None:
    study = make_study()
    more = images.select(torch.arange(43).repeat(5))
    (small,), (large,) = (scaled_sums(study, data, (6,)) for data in (images, more))
    assert torch.equal(small, large)


def test_empty_batch_takes_its_noisy_step(make_study: MakeStudy, images: Images) -> None:
    study = make_study(training={"sample_rate": 1e-12, "local_steps": 5}, privacy={"clip_norm": 1.0})
    gan = new_gan(study)
    trainer = new_trainer(study, gan, images.select(torch.arange(1)))
    gradients = gradients_of(trainer._d_optimizer)
    assert trainer.run().steps == 5
    assert len(gradients) == 5
    scale = study.plan.noise_multiplier * study.plan.clip_norm / EXPECTED_BATCH
    for gradient in gradients:
        assert 0.5 * scale < gradient.std() < 2 * scale


@pytest.mark.parametrize("private", [True, False])
def test_weight_clip_bounds_the_critic_after_every_step(make_study: MakeStudy, images: Images, private: bool) -> None:
    study = make_study(
        training={"loss": "wasserstein", "weight_clip": 0.01, "lr_discriminator": 0.5}, privacy={"enabled": private}
    )
    gan = new_gan(study)
    trainer = new_trainer(study, gan, images)
    for _ in range(3):
        trainer._discriminator_step()
        assert flat(gan.discriminator).abs().max() <= 0.01
    assert (flat(gan.discriminator).abs() == torch.tensor(0.01)).any(), "nothing was clipped"


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_fakes_that_are_not_finite_do_not_reach_the_discriminator(
    make_study: MakeStudy, images: Images, bad: float
) -> None:
    study = make_study(training={"d_steps_per_g_step": 100})
    gan = new_gan(study)
    with torch.no_grad():
        next(gan.generator.parameters()).fill_(bad)
    new_trainer(study, gan, images).run()
    assert flat(gan.discriminator).isfinite().all()


# --- patients --------------------------------------------------------------------------------------------------------


def patients_of(images: Images, sizes: list[int]) -> Images:
    """The images with patients of these sizes, their images far from each other, and codes with gaps."""
    codes = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes)) * 3 + 2
    shuffled = torch.randperm(len(codes), generator=generator(5))
    return replace(images.select(torch.arange(len(codes))), patients=codes[shuffled])


def patient_study(make_study: MakeStudy, most: int, **changes: Any) -> Study:
    study = make_study(**changes)
    return replace(study, plan=replace(study.plan, unit="patient", records_per_patient=most))


def spied_bags(trainer: SiteTrainer, monkeypatch: pytest.MonkeyPatch) -> list[Bags]:
    """The bags that the trainer draws from now on."""
    seen: list[Bags] = []
    sample = trainer._units.sample
    monkeypatch.setattr(trainer._units, "sample", lambda source: seen.append(sample(source)) or seen[-1])
    return seen


def slow_patient_sum(study: Study, gan: GAN, images: Images, bags: Bags) -> Tensor:
    """Without noise: one backward pass a patient over the mean of the records drawn, then one a fake; float64."""
    loop, plan = SlowLoop(study, gan, images), study.plan
    fakes, fake_labels = loop.fakes(max(1, round(EXPECTED_BATCH)))
    assert fake_labels is not None
    units: list[Tensor] = []
    for positions, present in zip(*bags, strict=True):
        mine = positions[present]
        views = [
            loop.gradient_of(loop.loss.real, images.pixels[i].double() / 127.5 - 1, images.labels[i]) for i in mine
        ]
        units.append(torch.stack(views).mean(dim=0))
    units += [loop.gradient_of(loop.loss.fake, *fake) for fake in zip(fakes.detach(), fake_labels, strict=True)]
    if plan.private:
        units = [unit * min(1.0, plan.clip_norm / float(unit.norm())) for unit in units]
    return torch.stack(units).sum(dim=0) / EXPECTED_BATCH


@pytest.fixture
def double(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """All arithmetic in float64, so that only what is wrong differs."""
    monkeypatch.setattr(client.trainer, "to_unit_range", lambda pixels: pixels.double() / 127.5 - 1)
    monkeypatch.setattr(SeededRandomness, "normal", lambda _, size: torch.zeros(size))
    monkeypatch.setattr(Tensor, "float", Tensor.double)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize("private", [True, False], ids=["private", "plain"])
@pytest.mark.parametrize("micro_batch", [None, 1, 5])
@pytest.mark.parametrize("most", [1, 2, 3, 50])
def test_a_patients_records_are_one_unit_as_in_the_slow_loop(
    make_study: MakeStudy,
    images: Images,
    monkeypatch: pytest.MonkeyPatch,
    most: int,
    micro_batch: int | None,
    private: bool,
) -> None:
    study = patient_study(
        make_study,
        most,
        training={"micro_batch": micro_batch, "sample_rate": 0.6},
        privacy={"clip_norm": 0.1, "enabled": private, "epsilon": 50.0},
    )
    images = patients_of(images, [1, 2, 9, 3, 3, 1, 4, 20])
    gan = new_gan(study)
    reference = copy.deepcopy(gan)
    trainer = new_trainer(study, gan, images)
    bags, gradients = spied_bags(trainer, monkeypatch), gradients_of(trainer._d_optimizer)
    trainer._discriminator_step()
    assert 1 < len(bags[0].positions) < 8
    torch.testing.assert_close(
        gradients[0], slow_patient_sum(study, reference, images, bags[0]), rtol=1e-10, atol=1e-12
    )


def test_with_one_image_a_patient_the_step_is_that_of_records(make_study: MakeStudy, images: Images) -> None:
    record = make_study()
    alone = replace(images, patients=torch.arange(43))
    for most in (1, 4):
        study = patient_study(make_study, most)
        (found,), (expected,) = scaled_sums(study, alone, (6,)), scaled_sums(record, images, (6,))
        assert torch.equal(found, expected)


@pytest.mark.parametrize("engine", ["hooks", "ghost"])
def test_other_engines_take_one_record_of_a_patient_and_no_more(
    make_study: MakeStudy, images: Images, engine: str
) -> None:
    images = patients_of(images, [1, 2, 9, 3])
    one, ours = (
        first_gradient(patient_study(make_study, 1, training={"dp_engine": name}), images)
        for name in (engine, "bookkeeping")
    )
    torch.testing.assert_close(one, ours, rtol=1e-3, atol=1e-5)
    several = patient_study(make_study, 2, training={"dp_engine": engine})
    with pytest.raises(ConfigError, match=rf"^training\.dp_engine: is '{engine}', which cannot clip several records"):
        new_trainer(several, new_gan(several), images)


def test_what_fills_a_bag_does_not_matter(
    make_study: MakeStudy, images: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = patient_study(make_study, 4, privacy={"clip_norm": 0.05})
    images = patients_of(images, [1, 2, 4])

    def step(fill: Callable[[Bags], Tensor]) -> Tensor:
        trainer = new_trainer(study, new_gan(study), images, randomness=Everyone())
        sample, seen = trainer._units.sample, gradients_of(trainer._d_optimizer)

        def filled(source: Any) -> Bags:
            bags = sample(source)
            assert int((~bags.present).sum()) == 5
            return bags._replace(positions=torch.where(bags.present, bags.positions, fill(bags)))

        monkeypatch.setattr(trainer._units, "sample", filled)
        trainer._discriminator_step()
        return seen[0]

    as_it_is = step(lambda bags: bags.positions)
    with_others = step(lambda bags: torch.zeros_like(bags.positions))
    torch.testing.assert_close(with_others, as_it_is, rtol=1e-5, atol=1e-7)


class Everyone(Scripted):
    """Takes every unit, and of each the records that the same golden ratio picks whatever comes after."""

    def poisson_sample(self, population: int, _rate: float) -> Tensor:
        return torch.arange(population)

    def uniform(self, size: int) -> Tensor:
        return torch.arange(1, size + 1, dtype=torch.float64) * 0.6180339887498949 % 1


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    sizes=st.lists(st.integers(1, 12), min_size=1, max_size=5),
    most=st.integers(1, 6),
    clip=st.sampled_from([0.01, 0.1, 1.0]),
    micro_batch=st.sampled_from([None, 1, 4]),
)
def test_a_patient_with_any_number_of_images_changes_the_sum_by_c_at_most(
    make_study: MakeStudy, images: Images, sizes: list[int], most: int, clip: float, micro_batch: int | None
) -> None:
    study = patient_study(
        make_study, most, training={"micro_batch": micro_batch}, privacy={"clip_norm": clip, "noise_multiplier": 2.0}
    )
    whole = patients_of(images.select(torch.arange(60) % 43), sizes)
    assert whole.patients is not None
    last = whole.patients == whole.patients.max()
    sums: list[Tensor] = []
    for present in (whole, whole.select((~last).nonzero().squeeze(1))):
        trainer = new_trainer(study, new_gan(study), present, randomness=Everyone())
        seen = gradients_of(trainer._d_optimizer)
        trainer._discriminator_step()
        sums.append(seen[0] * EXPECTED_BATCH)
    change = float((sums[0] - sums[1]).norm())
    assert change <= clip * (1 + 1e-4)
    assert change > 0
    if clip == 0.01:  # smaller than any gradient here
        assert change >= clip * (1 - 1e-3)


def test_images_without_patients_are_refused_where_the_plan_protects_patients(
    make_study: MakeStudy, images: Images
) -> None:
    study = patient_study(make_study, 1)
    with pytest.raises(DataError, match="images: do not say whose they are"):
        new_trainer(study, new_gan(study), images)


@pytest.mark.parametrize("adam_at", ["site", "server"])
def test_rates_of_a_round_hold_over_those_of_the_state_before(
    make_study: MakeStudy, images: Images, adam_at: str
) -> None:
    study = make_study(training={"discriminator_adam": adam_at, "lr_generator": 0.1, "lr_discriminator": 0.2})
    first = new_trainer(study, new_gan(study), images)
    first.run(0.5)
    second = new_trainer(study, new_gan(study), images)
    second.load_state(first.state())
    second.run(0.25)
    state = second.state()
    assert state["generator_optimizer"]["param_groups"][0]["lr"] == pytest.approx(0.025)
    # plain steps carry gradients to the server: their rate is what the server divides by
    expected = 0.05 if adam_at == "site" else 0.2
    assert state["discriminator_optimizer"]["param_groups"][0]["lr"] == pytest.approx(expected)


def test_plain_steps_carry_the_private_gradient(make_study: MakeStudy, images: Images) -> None:
    study = make_study(training={"discriminator_adam": "server", "lr_discriminator": 0.2, "local_steps": 1})
    gan = new_gan(study)
    before = flat(gan.discriminator)
    trainer = new_trainer(study, gan, images)
    gradients: list[Tensor] = []
    optimizer = trainer._d_optimizer
    optimizer.register_step_pre_hook(
        lambda opt, *_: gradients.append(
            torch.cat([p.grad.flatten() for group in opt.param_groups for p in group["params"]]).clone()
        )
    )
    trainer._discriminator_step()
    torch.testing.assert_close((before - flat(gan.discriminator)) / 0.2, gradients[0], rtol=1e-3, atol=1e-6)
