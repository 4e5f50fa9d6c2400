"""Without privacy the same units add up, neither clipped nor hidden: what a private run is compared with."""

import copy
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor

from silogan.client.data import Records
from silogan.client.mechanism import Randomness
from silogan.client.training.unprotected import UnprotectedPatients
from silogan.common.config.scenario import WarmStart
from silogan.common.modality.image import PIXELS, to_unit_range
from silogan.common.models.losses import LOSSES
from silogan.common.privacy.plan import Phase
from silogan.common.privacy.statistics import Moments
from silogan.common.wire.study import Study
from tests.client.steps import (
    EXPECTED_BATCH,
    Scripted,
    SlowLoop,
    double_precision,
    generator,
    gradients_of,
    new_gan,
    new_optimizer,
    patient_study,
    patients_of,
    plain_step,
    spied_bags,
)

MakeStudy = Callable[..., Study]
WITHOUT = {"enabled": False}


@pytest.fixture
def double(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with double_precision(monkeypatch):
        yield


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize("most", [1, 2, 3, 50])
def test_a_patients_records_are_one_unit_as_in_the_slow_loop(
    make_study: MakeStudy, images: Records, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    study = patient_study(make_study, most, training={"sample_rate": 0.6}, privacy=WITHOUT)
    images = patients_of(images, [1, 2, 9, 3, 3, 1, 4, 20])
    gan = new_gan(study)
    reference = SlowLoop(study, copy.deepcopy(gan), images)
    optimizer = new_optimizer(study, gan)
    step = plain_step(study, gan, optimizer, images)
    bags, gradients = spied_bags(step._patients, monkeypatch), gradients_of(optimizer)
    with torch.no_grad():
        fakes, labels = SlowLoop(study, gan, images).fakes(round(EXPECTED_BATCH))
    answers = step.take(reference.loss, fakes, labels)
    assert 1 < len(bags[0].positions) < 8
    torch.testing.assert_close(gradients[0], reference.step_of_bags(bags[0]), rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(answers, reference.D(fakes, labels).detach())
    assert not answers.requires_grad


def test_realised_batch_size_never_enters_the_divisor(make_study: MakeStudy, images: Records) -> None:
    study = make_study(privacy=WITHOUT)
    twins = images.select(torch.zeros(20, dtype=torch.int64))  # each unit adds the same
    fakes = torch.rand(10, 1, 8, 8, generator=generator(4)) * 2 - 1

    def gradient(size: int) -> Tensor:
        gan = new_gan(study)
        optimizer = new_optimizer(study, gan)
        seen = gradients_of(optimizer)
        plain_step(study, gan, optimizer, twins, Scripted(size)).take(
            LOSSES["nonsaturating"], fakes, torch.zeros(10, dtype=torch.int64)
        )
        return seen[0]

    none, one, five, twenty = map(gradient, (0, 1, 5, 20))
    torch.testing.assert_close(five - none, 5 * (one - none), rtol=1e-3, atol=1e-6)
    torch.testing.assert_close(twenty - none, 20 * (one - none), rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("unit", ["record", "patient"])
def test_sample_has_whole_units_and_what_each_record_counts_for(
    make_study: MakeStudy, images: Records, unit: str
) -> None:
    images = patients_of(images, [1, 2, 9, 3])
    assert images.patients is not None
    study = patient_study(make_study, 2, privacy=WITHOUT) if unit == "patient" else make_study(privacy=WITHOUT)
    patients = UnprotectedPatients(images, study.schema.encode, study.plan.unit, study.plan.training, Scripted(3))
    shown, labels, shares = patients.sample()
    codes = images.patients.unique()
    distances = (to_unit_range(images.stored[PIXELS])[:, None] - shown[None]).flatten(2).abs().amax(dim=2)
    own = distances.argmin(dim=0)
    assert distances.amin(dim=0).max() == 0
    assert labels.equal(images.labels[own])
    if unit == "record":
        assert own.tolist() == [0, 1, 2]
        assert shares.tolist() == [1.0] * 3
        return
    assert [int((images.patients[own] == code).sum()) for code in codes] == [1, 2, 2, 0]
    for code in codes[:3]:
        assert float(shares[images.patients[own] == code].sum()) == 1


@pytest.mark.parametrize("at_a_time", [256, 4])
def test_statistic_is_the_sum_of_what_units_add(
    make_study: MakeStudy, images: Records, monkeypatch: pytest.MonkeyPatch, at_a_time: int
) -> None:
    """As behind the door, but for noise and clipping: the mean of at most k records of each unit."""
    monkeypatch.setattr("silogan.client.training.unprotected._AT_A_TIME", at_a_time)
    images = patients_of(images, [1, 2, 9, 3])
    study = patient_study(make_study, 50, training={"sample_rate": 0.1}, privacy=WITHOUT)
    moments = Moments(study.schema, WarmStart(frequencies=4))
    rows = moments.rows(to_unit_range(images.stored[PIXELS]), images.labels)
    assert images.patients is not None

    def expected(weights: Tensor) -> Tensor:
        total = torch.zeros(moments.slots, moments.width, dtype=torch.float64)
        return total.index_add_(0, images.labels, rows * weights.double()[:, None]).flatten()

    def found(study: Study) -> Tensor:
        k = study.plan.training.records_per_patient
        release = Phase("statistics", "statistics", 1.0, 0.0, 1.0, 1.0, 1, 1, k)
        patients = UnprotectedPatients(images, study.schema.encode, study.plan.unit, release, Randomness(bytes(32)))
        return patients.statistic(moments)

    counts = (images.patients[:, None] == images.patients[None]).sum(dim=1)
    torch.testing.assert_close(found(study), expected(1 / counts), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(found(make_study(privacy=WITHOUT)), expected(torch.ones(15)), rtol=1e-9, atol=1e-9)
    # no more than the units can add, which the server checks of a sum that it is sent
    one = patient_study(make_study, 1, privacy=WITHOUT)
    assert float(found(one).norm()) <= 4
    assert float(moments.of_classes(found(one))[0].count + moments.of_classes(found(one))[1].count) == pytest.approx(4)
