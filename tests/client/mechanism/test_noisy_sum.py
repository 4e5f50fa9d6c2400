"""A noisy sum is clipped, noised and charged, and computed only if the ledger allows it."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from torch import Tensor

from client.data import Images, to_unit_range
from client.keys import SiteKey
from client.ledger import Approval, Charge, Cohort, Ledger, Purpose
from client.policy import Policy
from client.randomness import SecureRandomness, SeededRandomness
from client.release import noisy_moments, noisy_sum
from client.units import Units
from common.accounting import Mechanism, epsilon
from common.config import WarmStart
from common.errors import PrivacyRefusal
from common.moments import Moments
from common.plan import PrivacyPlan
from common.schema import ImageSchema

PLAN = PrivacyPlan(True, False, "record", 4.0, 1e-5, 2.0, 0.1, 1.0, 5, 9)
ROWS = torch.tensor([[3.0, 4.0], [0.3, 0.4], [0.0, 0.0], [float("nan"), 1.0], [float("inf"), 0.0]])
CLIPPED = torch.tensor([0.6 + 0.3, 0.8 + 0.4])


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    key = SiteKey(Ed25519PrivateKey.generate())
    ledger = Ledger.create(tmp_path / "ledger.sqlite", Cohort("record", 1e-5), Policy.of_plan(PLAN, "dcgan", "us"), key)
    ledger.approve(Approval("study", PLAN, "dcgan", "us"))
    return ledger


def release(
    ledger: Ledger, values: Tensor, *, sigma: float = 2.0, purpose: Purpose = "statistic", seed: int | None = 0
) -> Tensor:
    device = torch.device("cpu")
    randomness = SecureRandomness(device) if seed is None else SeededRandomness(torch.Generator().manual_seed(seed))
    return noisy_sum(
        ledger,
        values,
        study_id="study",
        plan_id=PLAN.plan_id,
        purpose=purpose,
        clip_norm=1.0,
        noise_multiplier=sigma,
        randomness=randomness,
    )


def test_rows_are_clipped_and_the_noise_is_added_to_the_sum(ledger: Ledger) -> None:
    noise = torch.randn(2, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(release(ledger, ROWS), CLIPPED + 2.0 * noise)


def test_noise_of_a_real_release_has_the_stated_size_and_differs(ledger: Ledger) -> None:
    first, second = (release(ledger, torch.zeros(3, 5000), seed=None) for _ in range(2))
    assert not torch.equal(first, second)
    assert float(torch.cat((first, second)).std()) == pytest.approx(2.0, rel=0.05)


def test_shape_of_a_unit_is_kept(ledger: Ledger) -> None:
    assert release(ledger, torch.zeros(4, 2, 3)).shape == (2, 3)


@pytest.mark.parametrize("purpose", ["statistic", "evaluation", "image"])
def test_release_composes_with_training_in_one_book(ledger: Ledger, purpose: Purpose) -> None:
    release(ledger, ROWS, purpose=purpose, sigma=3.0)
    assert ledger.mechanisms() == [Mechanism(3.0, 1.0, 1)]
    assert ledger.epsilon() == epsilon([Mechanism(3.0, 1.0, 1)], 1e-5)
    reserved, settled = (entry.content for entry in ledger.entries()[-2:])
    assert (reserved["purpose"], reserved["sample_rate"], settled["steps"]) == (purpose, 1.0, 1)


def test_less_noise_than_the_policy_demands_is_refused(ledger: Ledger) -> None:
    with pytest.raises(PrivacyRefusal, match=r"noise_multiplier 1\.9 is below 2"):
        release(ledger, ROWS, sigma=1.9)
    assert ledger.mechanisms() == []


def test_nothing_is_computed_once_the_budget_is_used_up(ledger: Ledger) -> None:
    once = epsilon([Mechanism(2.0, 1.0, 1)], 1e-5)
    affordable = next(n for n in range(1, 100) if epsilon([Mechanism(2.0, 1.0, n + 1)], 1e-5) > 4.0)
    for _ in range(affordable):
        release(ledger, ROWS)
    with pytest.raises(PrivacyRefusal, match="privacy budget"):
        release(ledger, ROWS)
    assert once <= ledger.epsilon() <= 4.0
    assert len(ledger.mechanisms()) == affordable


def test_study_that_is_not_approved_is_refused(ledger: Ledger) -> None:
    ledger.approve(Approval("other", replace(PLAN, rounds=2), "dcgan", "us"))
    ledger.reject("study", PLAN.plan_id, "no longer")
    with pytest.raises(PrivacyRefusal, match="not approved"):
        release(ledger, ROWS)


MOMENTS = Moments(ImageSchema(8, 1, ("a", "b")), WarmStart(frequencies=4))
WARM = replace(PLAN, warm_start_noise_multiplier=3.0, epsilon=8.0)


def moments_of(images: Images, *, unit: str = "record", sigma: float = 0.0, seed: int = 0) -> Tensor:
    units = Units(images, replace(PLAN, unit=unit))  # type: ignore[arg-type]
    randomness = SeededRandomness(torch.Generator().manual_seed(seed))
    return noisy_moments(images, units, MOMENTS, noise_multiplier=sigma, randomness=randomness)


def bright(count: int, patients: list[int] | None = None) -> Images:
    pixels = torch.randint(0, 256, (count, 1, 8, 8), generator=torch.Generator().manual_seed(9), dtype=torch.uint8)
    return Images(pixels, torch.arange(count) % 2, patients=None if patients is None else torch.tensor(patients))


def test_moments_are_those_of_the_images_whatever_number_is_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    images = bright(11)
    expected = MOMENTS.total(to_unit_range(images.pixels), images.labels, torch.ones(11, dtype=torch.float64))
    monkeypatch.setattr("client.release._AT_A_TIME", 4)
    torch.testing.assert_close(moments_of(images), expected.float())


def test_one_unit_more_or_less_moves_the_moments_by_at_most_one() -> None:
    images = bright(12)
    for left_out in range(12):
        fewer = images.select(torch.tensor([i for i in range(12) if i != left_out]))
        assert 0 < float((moments_of(images) - moments_of(fewer)).norm()) <= 1
    patients = [0, 0, 0, 0, 1, 1, 2, 2, 2, 2, 2, 2]
    images = bright(12, patients)
    for patient in range(3):
        fewer = images.select(torch.tensor([i for i in range(12) if patients[i] != patient]))
        moved = moments_of(images, unit="patient") - moments_of(fewer, unit="patient")
        assert 0 < float(moved.norm()) <= 1


def test_noise_of_the_moments_has_the_stated_size() -> None:
    images = bright(5)
    noise = torch.stack([moments_of(images, sigma=3.0, seed=seed) - moments_of(images) for seed in range(20)])
    assert float(noise.std()) == pytest.approx(3.0, rel=0.02)
    assert abs(float(noise.mean())) < 0.1


@pytest.fixture
def warm_ledger(tmp_path: Path) -> Ledger:
    key = SiteKey(Ed25519PrivateKey.generate())
    cohort = Cohort("record", 1e-5)
    ledger = Ledger.create(tmp_path / "warm.sqlite", cohort, Policy.of_plan(WARM, "dcgan", "us"), key)
    ledger.approve(Approval("study", WARM, "dcgan", "us"))
    return ledger


def test_warm_start_is_charged_as_it_was_approved(warm_ledger: Ledger) -> None:
    warm_ledger.settle(warm_ledger.reserve(Charge.for_warm_start(WARM, "study")), 1)
    assert warm_ledger.mechanisms() == [Mechanism(3.0, 1.0, 1)]
    assert warm_ledger.epsilon() == epsilon([Mechanism(3.0, 1.0, 1)], 1e-5) == WARM.epsilon_after(0)


@pytest.mark.parametrize("change", [{"noise_multiplier": 4.0}, {"steps": 2}, {"clip_norm": 2.0}, {"round": 1}])
def test_another_warm_start_than_the_approved_is_refused(warm_ledger: Ledger, change: dict[str, float]) -> None:
    with pytest.raises(PrivacyRefusal, match="differs from the warm start that was approved"):
        warm_ledger.reserve(replace(Charge.for_warm_start(WARM, "study"), **change))  # type: ignore[arg-type]
    assert warm_ledger.mechanisms() == []


def test_plan_without_a_warm_start_allows_none(ledger: Ledger) -> None:
    with pytest.raises(PrivacyRefusal, match="has no warm start"):
        Charge.for_warm_start(PLAN, "study")
    with pytest.raises(PrivacyRefusal, match="has no warm start"):
        ledger.reserve(replace(Charge.for_round(PLAN, "study", 1), purpose="warm_start"))
    assert ledger.mechanisms() == []
