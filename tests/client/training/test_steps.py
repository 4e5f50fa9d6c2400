"""The private step: what it makes of the door's sum and of the fakes, for records and for patients."""

import copy
import math
from collections.abc import Callable, Iterator
from typing import Any, cast

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from silogan.client.data import Records
from silogan.client.mechanism import Randomness
from silogan.client.mechanism.units import Bags
from silogan.client.training.steps import OVERHEAD, ROWS, PrivateStep, block_size, largest_block
from silogan.common.modality.image import PIXELS
from silogan.common.models.losses import LOSSES
from silogan.common.wire.study import Study
from tests.client.steps import (
    CLIPPED_TO,
    EXPECTED_BATCH,
    Everyone,
    GoldenRecords,
    Scripted,
    SlowLoop,
    double_precision,
    flat,
    generator,
    gradients_of,
    in_double,
    new_gan,
    new_optimizer,
    new_patients,
    noise_off,
    patient_study,
    patients_of,
    private_step,
    spied_bags,
    tight_bounds,
)

MakeStudy = Callable[..., Study]


def fakes_of(study: Study, count: int = 10) -> tuple[Tensor, Tensor]:
    """Images that nobody is behind, and labels; the same each time."""
    rng, schema = generator(4), study.schema
    images = torch.rand(count, schema.channels, schema.size, schema.size, generator=rng) * 2 - 1
    return images, torch.randint(schema.num_classes, (count,), generator=rng)


def gradient(
    study: Study, images: Records, randomness: Randomness | None = None, *, block: int = 16, at_once: int = 64
) -> Tensor:
    """The gradient of one step, the same weights and fakes each time."""
    gan = new_gan(study)
    optimizer = new_optimizer(study, gan)
    seen = gradients_of(optimizer)
    patients = new_patients(study, images, randomness=randomness, block=block)
    private_step(study, gan, optimizer, patients, at_once).take(LOSSES[study.scenario.training.loss], *fakes_of(study))
    return seen[0]


# --- blocks ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 3, 7, 16])
def test_blocks_do_not_change_the_step(make_study: MakeStudy, images: Records, size: int) -> None:
    study = make_study()
    whole = gradient(study, images, block=64, at_once=64)
    torch.testing.assert_close(gradient(study, images, block=size, at_once=64), whole, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(gradient(study, images, block=64, at_once=size), whole, rtol=1e-5, atol=1e-6)


def passes_of(study: Study, images: Records, randomness: Randomness) -> tuple[list[Tensor], Tensor, Tensor]:
    """What D is shown, pass by pass; the answers to the fakes; the fakes."""
    gan = new_gan(study)
    optimizer = new_optimizer(study, gan)
    shown: list[Tensor] = []
    gan.discriminator.register_forward_pre_hook(lambda _, args: shown.append(args[0].clone()))
    fakes, labels = fakes_of(study)
    step = private_step(study, gan, optimizer, new_patients(study, images, randomness=randomness), at_once=4)
    answers = step.take(LOSSES["hinge"], fakes, labels)
    return shown, answers, fakes


@pytest.mark.parametrize("most", [1, 3])
def test_fakes_and_patients_share_no_pass_and_passes_of_patients_have_one_shape(
    make_study: MakeStudy, images: Records, most: int
) -> None:
    study = patient_study(make_study, most)
    own = patients_of(images, [1, 2] * 14)
    real = {tuple(image.flatten().tolist()) for image in (own.stored[PIXELS].float() / 127.5 - 1)}
    for drawn, blocks in ((0, 0), (1, 1), (16, 1), (17, 2), (28, 2)):
        shown, _, fakes = passes_of(study, own, Scripted(drawn))
        of_patients, of_fakes = shown[:blocks], shown[blocks:]
        assert [len(part) for part in of_patients] == [16 * most] * blocks
        assert all(tuple(image.flatten().tolist()) in real for part in of_patients for image in part)
        assert torch.equal(torch.cat(of_fakes), fakes)
        assert [len(part) for part in of_fakes] == [4, 4, 2]


def test_answers_to_fakes_do_not_depend_on_the_patients(make_study: MakeStudy, images: Records) -> None:
    """Not even in their rounding: they steer the site's k, and with it what leaves."""
    study = make_study()
    answers = [passes_of(study, images, Scripted(drawn))[1] for drawn in (0, 1, 2, 3, 17, 43)]
    answers.append(passes_of(study, images.select(torch.zeros(2, dtype=torch.int64)), Everyone())[1])
    for other in answers[1:]:
        assert torch.equal(other, answers[0])
    assert answers[0].shape == (10,)
    assert not answers[0].requires_grad


def test_answers_are_those_of_before_the_step(make_study: MakeStudy, images: Records) -> None:
    study = make_study()
    _, answers, fakes = passes_of(study, images, Scripted(5))
    expected = new_gan(study).discriminator(fakes, fakes_of(study)[1]).detach()
    torch.testing.assert_close(answers, expected, rtol=1e-5, atol=1e-6)


def test_bfloat16_rounds_the_passes_and_nothing_else(make_study: MakeStudy, images: Records) -> None:
    exact = gradient(make_study(), images)
    study = make_study(training={"precision": "bfloat16"})
    rounded = gradient(study, images)
    assert rounded.dtype == torch.float32
    assert not torch.equal(rounded, exact), "the passes were not in bfloat16"
    # The noise is the same; what differs is the sum of at most 43 + 10 clipped units, each by some roundings of 2^-8.
    largest = study.plan.training.clip_norm * (len(images) + EXPECTED_BATCH) / EXPECTED_BATCH
    assert float((rounded - exact).norm()) < 0.01 * largest


# --- the divisor and the sample --------------------------------------------------------------------------------------


def test_realised_batch_size_never_enters_the_divisor(
    make_study: MakeStudy, images: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    noise_off(monkeypatch)
    twins = images.select(torch.zeros(20, dtype=torch.int64))  # each unit adds the same
    study = make_study(privacy={"clip_norm": 0.05})
    none, one, five, twenty = (gradient(study, twins, Scripted(size)) for size in (0, 1, 5, 20))
    unit = one - none
    # a sum is rounded to the grid, by 2⁻¹³·C at most in all
    torch.testing.assert_close(five - none, 5 * unit, rtol=1e-3, atol=1e-6)
    torch.testing.assert_close(twenty - none, 20 * unit, rtol=1e-3, atol=5e-6)
    clipped_to = float(unit.norm()) * EXPECTED_BATCH / study.plan.training.clip_norm
    assert CLIPPED_TO * (1 - 2e-3) < clipped_to < CLIPPED_TO * (1 + 2e-4)


def test_size_of_the_data_set_does_not_change_the_step(make_study: MakeStudy, images: Records) -> None:
    study = make_study()
    more = images.select(torch.arange(43).repeat(5))
    assert torch.equal(gradient(study, images, Scripted(6)), gradient(study, more, Scripted(6)))


def test_empty_batch_takes_its_noisy_step(make_study: MakeStudy, images: Records) -> None:
    study = make_study(training={"sample_rate": 1e-6}, privacy={"clip_norm": 1.0})
    gan = new_gan(study)
    optimizer = new_optimizer(study, gan)
    seen = gradients_of(optimizer)
    step = private_step(study, gan, optimizer, new_patients(study, images.select(torch.arange(1))))
    for _ in range(5):
        before = flat(gan.discriminator).clone()
        step.take(LOSSES["nonsaturating"], *fakes_of(study))
        assert not torch.equal(flat(gan.discriminator), before)
    scale = study.plan.training.noise_multiplier * study.plan.training.clip_norm / EXPECTED_BATCH
    for noisy in seen:
        assert 0.5 * scale < noisy.std() < 2 * scale


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 1e38])
def test_weights_that_make_every_record_overflow_leave_the_noise_of_an_empty_batch(
    make_study: MakeStudy, images: Records, bad: float
) -> None:
    study = make_study()
    found: list[Tensor] = []
    for drawn in (0, 20):
        gan = new_gan(study)
        with torch.no_grad():
            next(gan.discriminator.parameters()).fill_(bad)
        optimizer = new_optimizer(study, gan)
        seen = gradients_of(optimizer)
        patients = new_patients(study, images, randomness=Scripted(drawn))
        private_step(study, gan, optimizer, patients).take(LOSSES["wasserstein"], *fakes_of(study))
        found += seen
    assert found[0].isfinite().all()
    assert torch.equal(*found)


def test_parameters_that_are_frozen_get_no_gradient(make_study: MakeStudy, images: Records) -> None:
    study = make_study()
    gan = new_gan(study)
    frozen = next(gan.discriminator.parameters()).requires_grad_(False)
    before = frozen.clone()
    trained = [p for p in gan.discriminator.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(trained, lr=0.1)
    step = private_step(study, gan, optimizer, new_patients(study, images))
    step.take(LOSSES["nonsaturating"], *fakes_of(study))
    assert frozen.grad is None
    assert torch.equal(frozen, before)
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in trained)


# --- patients --------------------------------------------------------------------------------------------------------


@pytest.fixture
def double(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with double_precision(monkeypatch):
        yield


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize("block", [64, 1, 5])
@pytest.mark.parametrize("most", [1, 2, 3, 50])
def test_a_patients_records_are_one_unit_as_in_the_slow_loop(
    make_study: MakeStudy, images: Records, monkeypatch: pytest.MonkeyPatch, most: int, block: int
) -> None:
    study = patient_study(make_study, most, training={"sample_rate": 0.6}, privacy={"clip_norm": 0.1, "epsilon": 50.0})
    images = patients_of(images, [1, 2, 9, 3, 3, 1, 4, 20])
    gan = new_gan(study)
    reference = SlowLoop(study, copy.deepcopy(gan), images)
    patients = new_patients(study, images, block=block, encode=in_double)
    optimizer = new_optimizer(study, gan)
    step = private_step(study, gan, optimizer, patients, at_once=block)
    bags, gradients = spied_bags(patients, monkeypatch), gradients_of(optimizer)
    with torch.no_grad():
        fakes, labels = SlowLoop(study, gan, images).fakes(round(EXPECTED_BATCH))
    step.take(reference.loss, fakes, labels)
    assert 1 < len(bags[0].positions) < 8
    assert bags[0].positions.shape[1] == most, "every unit has k places, whatever the patients have"
    torch.testing.assert_close(gradients[0], reference.step_of_bags(bags[0]), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("most", [1, 4])
def test_with_one_image_a_patient_the_step_is_that_of_records(
    make_study: MakeStudy, images: Records, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    tight_bounds(monkeypatch)
    alone = patients_of(images, [1] * 43)
    assert alone.patients is not None
    alone = alone.select(alone.patients.argsort())
    study = patient_study(make_study, most)
    found, expected = gradient(study, alone, Scripted(6)), gradient(make_study(), alone, Scripted(6))
    if most == 1:
        assert torch.equal(found, expected)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


def test_what_fills_a_bag_does_not_matter(
    make_study: MakeStudy, images: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    noise_off(monkeypatch)
    study = patient_study(make_study, 4, privacy={"clip_norm": 0.05})
    images = patients_of(images, [1, 2, 4])

    def step(fill: Callable[[Bags], Tensor]) -> Tensor:
        def filled(bags: Bags) -> Bags:
            assert int((~bags.present).sum()) == 5
            return bags._replace(positions=torch.where(bags.present, bags.positions, fill(bags)))

        gan = new_gan(study)
        optimizer, patients = new_optimizer(study, gan), new_patients(study, images, randomness=Everyone())
        seen = gradients_of(optimizer)
        spied_bags(patients, monkeypatch, filled)
        private_step(study, gan, optimizer, patients).take(LOSSES["nonsaturating"], *fakes_of(study))
        return seen[0]

    as_it_is = step(lambda bags: bags.positions)
    with_others = step(lambda bags: torch.zeros_like(bags.positions))
    torch.testing.assert_close(with_others, as_it_is, rtol=1e-5, atol=1e-7)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    sizes=st.lists(st.integers(1, 12), min_size=1, max_size=5),
    most=st.integers(1, 6),
    clip=st.sampled_from([0.01, 0.1, 1.0]),
    block=st.sampled_from([1, 4, 64]),
)
def test_a_patient_with_any_number_of_images_changes_the_sum_by_c_at_most(
    make_study: MakeStudy, images: Records, sizes: list[int], most: int, clip: float, block: int
) -> None:
    study = patient_study(make_study, most, privacy={"clip_norm": clip, "noise_multiplier": 2.0})
    whole = patients_of(images.select(torch.arange(60) % 43), sizes)
    assert whole.patients is not None
    last = whole.patients == whole.patients.max()
    rest = whole.select((~last).nonzero().squeeze(1))
    with pytest.MonkeyPatch.context() as patch:
        noise_off(patch)
        sums = [gradient(study, present, GoldenRecords(), block=block) * EXPECTED_BATCH for present in (whole, rest)]
    change = float((sums[0] - sums[1]).norm())
    assert 0 < change <= clip
    if clip == 0.01:  # smaller than any gradient here
        assert change >= CLIPPED_TO * clip * (1 - 2e-3)


def test_what_is_not_a_fake_comes_from_the_door_alone(make_study: MakeStudy, images: Records) -> None:
    """Where no fake counts, the gradient that reaches the optimizer is the door's release over B, and no more."""
    study = make_study()
    gan = new_gan(study)
    optimizer, patients = new_optimizer(study, gan), new_patients(study, images)
    released: list[Tensor] = []
    honest = patients.noisy_gradient

    class Door:
        def noisy_gradient(self, *args: Any) -> Tensor:
            released.append(honest(*args))
            return released[-1]

    step: PrivateStep = private_step(study, gan, optimizer, cast(Any, Door()))
    seen = gradients_of(optimizer)
    fakes, labels = fakes_of(study)
    answers = step.take(LOSSES["nonsaturating"], fakes * torch.nan, labels)
    assert torch.equal(seen[0], (released[0] / EXPECTED_BATCH).float())
    assert answers.isnan().all()


@given(
    expected=st.floats(1, 2**19),
    sample_rate=st.floats(1e-6, 1),
    views=st.integers(1, 40),
    most=st.integers(1, 4096),
)
def test_blocks_have_whole_vectors_and_room(expected: float, sample_rate: float, views: int, most: int) -> None:
    size = block_size(expected, sample_rate, views, most)
    smallest = ROWS // math.gcd(ROWS, views)
    assert size % smallest == 0
    assert size * views % ROWS == 0
    assert 0 < size <= largest_block(views, most) <= max(smallest, most // views)


@pytest.mark.parametrize(
    ("expected", "sample_rate", "size"),
    [
        (256, 1.0, 256),  # as many in every sample: no place is empty
        (256, 0.05, 288),  # two deviations more, so that one block nearly always does
        (64, 1.0, 64),
        (20, 0.05, 32),
        (600, 0.05, 320),
    ],
)
def test_blocks_hold_the_usual_sample(expected: float, sample_rate: float, size: int) -> None:
    assert block_size(expected, sample_rate, 1, 320) == size


def test_no_other_size_takes_fewer_records_over_many_samples() -> None:
    rng = np.random.default_rng(0)
    for expected in (48, 100, 300, 1000):
        samples = rng.binomial(20 * expected, 0.05, size=20_000)
        costs = {b: np.ceil(samples / b).mean() * (b + OVERHEAD) for b in range(ROWS, 321, ROWS)}
        assert costs[block_size(expected, 0.05, 1, 320)] <= 1.03 * min(costs.values())
