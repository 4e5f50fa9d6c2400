"""The rounds of a site's training: which steps are taken, in which order and from what; `steps.py` takes them."""

import copy
import io
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from silogan.client.data import Records
from silogan.client.mechanism import Randomness
from silogan.client.training.trainer import SiteTrainer
from silogan.common.modality.image import PIXELS, ImageSchema
from silogan.common.seeding import derive_key
from silogan.common.wire.study import Study
from tests.client.steps import (
    NOISE_SEED,
    PUBLIC_SEED,
    SlowLoop,
    copy_of,
    flat,
    generator,
    gradients_of,
    new_gan,
    new_trainer,
    tight_bounds,
)

MakeStudy = Callable[..., Study]

LOSS_NAMES = ["nonsaturating", "minimax", "hinge", "least_squares", "wasserstein"]


@pytest.mark.parametrize("private", [True, False], ids=["private", "plain"])
@pytest.mark.parametrize("loss", LOSS_NAMES)
def test_training_equals_the_slow_loop(
    make_study: MakeStudy, images: Records, monkeypatch: pytest.MonkeyPatch, loss: str, private: bool
) -> None:
    tight_bounds(monkeypatch)
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
    trainer.run(7)

    assert len(set(reference.batches)) > 1
    assert len(gradients) == 7
    for gradient, expected in zip(gradients, reference.gradients, strict=True):
        torch.testing.assert_close(gradient, expected, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(flat(gan.discriminator), flat(reference.D), rtol=0, atol=1e-5)
    torch.testing.assert_close(flat(gan.generator), flat(reference.G), rtol=0, atol=1e-5)
    assert (flat(gan.generator) - flat(new_gan(study).generator)).norm() > 0


def test_unconditional_family_equals_the_slow_loop(make_study: MakeStudy, monkeypatch: pytest.MonkeyPatch) -> None:
    tight_bounds(monkeypatch)
    study = make_study(model={"family": "article"}, training={"local_steps": 1, "d_steps_per_g_step": 1})
    schema = ImageSchema(64, 1, ("image",))
    study = Study(study.scenario, schema, study.plan, study.sites)
    pixels = torch.randint(0, 256, (12, 1, 64, 64), generator=generator(3), dtype=torch.uint8)
    images = Records({PIXELS: pixels}, torch.zeros(12, dtype=torch.int64))
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
    trainer.run(1)
    for (gradient,), (expected,) in pairs:
        torch.testing.assert_close(gradient, expected, rtol=1e-3, atol=1e-4 * float(expected.norm()))


@pytest.mark.parametrize("private", [True, False])
def test_bfloat16_is_for_the_passes_and_nothing_that_is_kept(
    make_study: MakeStudy, images: Records, private: bool
) -> None:
    found: list[Tensor] = []
    for precision in ("float32", "bfloat16"):
        study = make_study(training={"precision": precision}, privacy={"enabled": private})
        gan = new_gan(study)
        new_trainer(study, gan, images).run(3)
        for network in gan:
            assert {tensor.dtype for tensor in network.state_dict().values()} == {torch.float32}
        found.append(flat(gan.discriminator))
    assert found[1].isfinite().all()
    assert not torch.equal(*found), "the passes were not in bfloat16"


# --- the generator's step --------------------------------------------------------------------------------------------


class Untouchable:
    """Stands for whatever has to do with real images where nobody may look at them."""

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"the discriminator's step was asked for {name}")


@pytest.mark.parametrize("after_private_steps", [0, 2])
def test_generator_step_leaves_the_discriminator_as_it_was(
    make_study: MakeStudy, images: Records, after_private_steps: int
) -> None:
    study = make_study()
    gan = new_gan(study)
    trainer = new_trainer(study, gan, images)
    for _ in range(after_private_steps):
        trainer._discriminator_step()
    critic: Any = trainer._step
    critic = critic._critic

    def traces() -> list[Any]:
        """What is kept at D's parameters, and of the passes through it."""
        grads = [None if p.grad is None else p.grad.clone() for p in gan.discriminator.parameters()]
        return [grads, len(critic._calls), [total.clone() for total in critic._sums.values()]]

    weights, before = flat(gan.discriminator).clone(), traces()
    g_weights, adam = flat(gan.generator).clone(), copy.deepcopy(trainer.state()["discriminator_optimizer"])
    trainer._step = Untouchable()  # pyright: ignore[reportAttributeAccessIssue]
    trainer._generator_step()

    assert not torch.equal(flat(gan.generator), g_weights)
    assert torch.equal(flat(gan.discriminator), weights)
    torch.testing.assert_close(traces(), before, rtol=0, atol=0)
    torch.testing.assert_close(trainer.state()["discriminator_optimizer"], adam, rtol=0, atol=0)
    assert all(parameter.requires_grad for parameter in gan.discriminator.parameters())


@pytest.mark.parametrize(("k", "per_round"), [(1, [7, 7]), (3, [2, 2]), (5, [1, 1]), (7, [1, 1]), (10, [0, 1])])
def test_k_discriminator_steps_precede_each_generator_step_across_rounds(
    make_study: MakeStudy, images: Records, monkeypatch: pytest.MonkeyPatch, k: int, per_round: list[int]
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
        trainer.run(7)
        state = trainer.state()
        counts.append(calls.count("_generator_step") - before)
    assert counts == per_round
    expected: list[str] = []
    for step in range(1, 15):
        expected += ["_discriminator_step"] + ["_generator_step"] * (step % k == 0)
    assert calls == expected


@pytest.mark.parametrize(("shift", "accuracy", "rung"), [(100.0, 0.0, 2), (-100.0, 1.0, 0)], ids=["weak", "strong"])
def test_adaptive_rule_trains_a_weak_discriminator_longer(
    make_study: MakeStudy, images: Records, monkeypatch: pytest.MonkeyPatch, shift: float, accuracy: float, rung: int
) -> None:
    rule = {"threshold": 0.999, "ema": 0.5, "patience": 2, "ladder": [1, 2, 4]}
    study = make_study(training={"local_steps": 12, "d_steps_per_g_step": rule})
    gan = new_gan(study)
    forward = gan.discriminator.forward  # D takes every fake for real, or none
    monkeypatch.setattr(gan.discriminator, "forward", lambda *args: forward(*args) + shift)
    trainer = new_trainer(study, gan, images)
    trainer.run(12)
    found = trainer.state()["frequency"]
    assert abs(found["fake_accuracy"] - accuracy) < 0.01
    assert found["rung"] == rung


def test_generator_that_the_server_trains_takes_no_step(make_study: MakeStudy, images: Records) -> None:
    study = make_study(training={"server_generator_steps": 4})
    gan = new_gan(study)
    trainer = new_trainer(study, gan, images)
    trainer.run(6)
    assert torch.equal(flat(gan.generator), flat(new_gan(study).generator))
    assert trainer.state()["frequency"]["g_steps_on_rung"] == 3, "the discriminator's frequency goes on all the same"


# --- state -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("adaptive", [False, True])
def test_two_rounds_in_one_go_equal_two_with_the_state_saved_between(
    make_study: MakeStudy, images: Records, adaptive: bool
) -> None:
    rule: Any = {"threshold": 0.9, "ema": 0.5, "patience": 1, "ladder": [1, 2, 3]} if adaptive else 2
    study = make_study(training={"local_steps": 5, "d_steps_per_g_step": rule})
    whole = new_gan(study)
    trainer = new_trainer(study, whole, images)
    trainer.run(5)
    trainer.run(5)

    parts = new_gan(study)
    streams: dict[str, Any] = {"randomness": Randomness(derive_key(NOISE_SEED)), "public": generator(PUBLIC_SEED)}
    first = new_trainer(study, parts, images, **streams)
    first.run(5)
    file = io.BytesIO()
    torch.save(first.state(), file)
    file.seek(0)
    restored = copy_of(study, parts)
    second = new_trainer(study, restored, images, **streams)
    second.load_state(torch.load(file, weights_only=True))
    second.run(5)
    torch.testing.assert_close(second.state(), trainer.state(), rtol=0, atol=0)
    for one, other in zip(restored, whole, strict=True):
        assert torch.equal(flat(one), flat(other))


def test_without_the_state_the_second_round_differs(make_study: MakeStudy, images: Records) -> None:
    study = make_study()
    results: list[Tensor] = []
    for keep in (True, False):
        gan = new_gan(study)
        first = new_trainer(study, gan, images)
        first.run(3)
        again = copy_of(study, gan)
        second = new_trainer(study, again, images)
        if keep:
            second.load_state(first.state())
        second.run(3)
        results.append(flat(again.discriminator))
    assert not torch.equal(*results)


# --- rates and the clamp ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("adam_at", ["site", "server"])
def test_rates_of_a_round_hold_over_those_of_the_state_before(
    make_study: MakeStudy, images: Records, adam_at: str
) -> None:
    study = make_study(training={"discriminator_adam": adam_at, "lr_generator": 0.1, "lr_discriminator": 0.2})
    first = new_trainer(study, new_gan(study), images)
    first.run(3, 0.5)
    second = new_trainer(study, new_gan(study), images)
    second.load_state(first.state())
    second.run(3, 0.25)
    state = second.state()
    assert state["generator_optimizer"]["param_groups"][0]["lr"] == pytest.approx(0.025)
    # plain steps carry gradients to the server: their rate is what the server divides by
    expected = 0.05 if adam_at == "site" else 0.2
    assert state["discriminator_optimizer"]["param_groups"][0]["lr"] == pytest.approx(expected)


def test_plain_steps_carry_the_private_gradient(make_study: MakeStudy, images: Records) -> None:
    study = make_study(training={"discriminator_adam": "server", "lr_discriminator": 0.2, "local_steps": 1})
    gan = new_gan(study)
    before = flat(gan.discriminator)
    trainer = new_trainer(study, gan, images)
    gradients = gradients_of(trainer._d_optimizer)
    trainer._discriminator_step()
    torch.testing.assert_close((before - flat(gan.discriminator)) / 0.2, gradients[0], rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("private", [True, False])
def test_weight_clip_bounds_the_critic_after_every_step(make_study: MakeStudy, images: Records, private: bool) -> None:
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
    make_study: MakeStudy, images: Records, bad: float
) -> None:
    study = make_study(training={"d_steps_per_g_step": 100})
    gan = new_gan(study)
    with torch.no_grad():
        next(gan.generator.parameters()).fill_(bad)
    new_trainer(study, gan, images).run(3)
    assert flat(gan.discriminator).isfinite().all()
