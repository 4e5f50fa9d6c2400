"""A noisy sum is clipped, noised and charged, and computed only if the ledger allows it."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from torch import Tensor

from client.keys import SiteKey
from client.ledger import Approval, Cohort, Ledger, Purpose
from client.policy import Policy
from client.randomness import SecureRandomness, SeededRandomness
from client.release import noisy_sum
from common.accounting import Mechanism, epsilon
from common.errors import PrivacyRefusal
from common.plan import PrivacyPlan

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
