"""The door: what is asked of patients comes out as one noisy sum of clipped units, and nothing else does."""

from collections.abc import Callable, Mapping
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from silogan.client.mechanism import Patients, Randomness, Terms
from silogan.client.mechanism.clip import SLACK
from silogan.client.mechanism.dpsgd import BookKeepingModule
from silogan.client.mechanism.noisy_sum import grid_step
from silogan.common.seeding import derive_key

TERMS = Terms(sample_rate=1.0, clip_norm=0.5, noise_multiplier=1e-9, records_per_patient=1, block=8)
LIMIT = (1 - SLACK) * TERMS.clip_norm


def encode(records: Mapping[str, Tensor]) -> Tensor:
    return records["features"].float() / 255


class Critic(nn.Module):
    """One number for a record [4] and its label."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 3)
        self.label = nn.Embedding(3, 3)

    def forward(self, records: Tensor, labels: Tensor) -> Tensor:
        return (torch.tanh(self.layer(records)) * self.label(labels)).sum(dim=1)


@pytest.fixture
def critic() -> Critic:
    torch.manual_seed(0)
    return Critic()


def records(count: int) -> tuple[Tensor, Tensor]:
    rng = torch.Generator().manual_seed(1)
    return torch.randint(256, (count, 4), generator=rng, dtype=torch.uint8), torch.arange(count) % 3


def door(count: int, patients: list[int] | None = None, terms: Terms = TERMS, seed: int | None = 0) -> Patients:
    randomness = Randomness.secure() if seed is None else Randomness(derive_key(seed, "door"))
    codes = None if patients is None else torch.tensor(patients)
    features, labels = records(count)
    return Patients({"features": features}, labels, codes, encode=encode, terms=terms, randomness=randomness)


def loss(answers: Tensor) -> Tensor:
    return nn.functional.softplus(-answers)


def gradient(critic: Critic, patients: Patients) -> Tensor:
    module = BookKeepingModule(critic)
    try:
        return patients.noisy_gradient(module, module, loss)
    finally:
        module.remove_hooks()


def slow(critic: Critic, bags: list[list[int]]) -> Tensor:
    """The clipped sum of the units' mean gradients."""
    images, labels = records(1 + max(max(bag) for bag in bags))
    total = torch.zeros(sum(p.numel() for p in critic.parameters()), dtype=torch.float64)
    for bag in bags:
        mean = loss(critic(encode({"features": images[bag]}), labels[bag])).mean()
        row = torch.cat([g.flatten() for g in torch.autograd.grad(mean, list(critic.parameters()))]).double()
        total += row * min(1.0, LIMIT / float(row.norm()))
    return total


@pytest.mark.parametrize("count", [1, 7, 8, 30])
def test_gradient_is_the_clipped_sum_whatever_the_blocks(critic: Critic, count: int) -> None:
    expected = slow(critic, [[place] for place in range(count)])
    for block in (1, 8, 64):
        found = gradient(critic, door(count, terms=replace(TERMS, block=block)))
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3 * LIMIT)


def test_records_of_a_patient_count_as_one(critic: Critic) -> None:
    patients, terms = [5, 9, 5, 5, 2, 9], replace(TERMS, records_per_patient=3)
    found = gradient(critic, door(6, patients, terms))
    torch.testing.assert_close(found, slow(critic, [[0, 2, 3], [1, 5], [4]]), rtol=1e-3, atol=1e-3 * LIMIT)


def one_each(images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    return labels, torch.cat((torch.ones(len(images), 1), images), dim=1).double() / 10


def test_statistic_is_the_sum_of_clipped_means_in_their_slots() -> None:
    patients, terms = [0, 0, 1, 2, 2, 2], replace(TERMS, records_per_patient=3)
    images, labels = records(6)
    _, rows = one_each(encode({"features": images}), labels)
    assert rows.norm(dim=1).max() < LIMIT
    expected = torch.zeros(3, 5, dtype=torch.float64)
    for row, label, share in zip(rows, labels.tolist(), (1 / 2, 1 / 2, 1, 1 / 3, 1 / 3, 1 / 3), strict=True):
        expected[label] += share * row
    found = door(6, patients, terms).noisy_statistic(one_each, 3, 5)
    torch.testing.assert_close(found, expected.flatten(), rtol=0, atol=2 * grid_step(0.5, 15))


def too_long(images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    return labels, 1e6 * one_each(images, labels)[1]


def by_sign(images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Records of a patient in several slots."""
    return (images[:, 0] > 0).long(), one_each(images, labels)[1]


def not_finite(images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    return labels, one_each(images, labels)[1].masked_fill(labels.unsqueeze(1) == 1, torch.nan)


@pytest.mark.parametrize("rows", [one_each, too_long, not_finite, by_sign])
@pytest.mark.parametrize("patients", [None, [0, 0, 1, 1, 1, 2, 3, 3, 4]], ids=["records", "patients"])
def test_one_unit_moves_a_statistic_by_at_most_c(
    rows: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]], patients: list[int] | None
) -> None:
    images, labels = records(9)
    codes = torch.arange(9) if patients is None else torch.tensor(patients)
    terms = replace(TERMS, records_per_patient=2 if patients else 1)

    def statistic(kept: Tensor) -> Tensor:
        randomness = Randomness(derive_key(0, "door"))
        own = None if patients is None else codes[kept]
        return Patients(
            {"features": images[kept]}, labels[kept], own, encode=encode, terms=terms, randomness=randomness
        ).noisy_statistic(rows, 3, 5)

    for unit in codes.unique():
        alone = statistic(codes == unit)
        assert float(alone.norm()) <= terms.clip_norm
        assert alone.isfinite().all()


def test_an_empty_sample_is_noise_alone_and_of_full_size(critic: Critic) -> None:
    size = sum(p.numel() for p in critic.parameters())
    terms = replace(TERMS, sample_rate=1e-12, noise_multiplier=2.0)
    noise = torch.stack([gradient(critic, door(5, terms=terms, seed=None)) for _ in range(200)])
    assert noise.shape == (200, size)
    assert float(noise.std()) == pytest.approx(1.0, rel=0.05)


def test_a_sum_has_its_noise_once_and_anew_each_time(critic: Critic) -> None:
    patients = door(20, terms=replace(TERMS, noise_multiplier=2.0), seed=None)
    module = BookKeepingModule(critic)
    sums = torch.stack([patients.noisy_gradient(module, module, loss) for _ in range(200)])
    assert float((sums - sums.mean(dim=0)).std()) == pytest.approx(1.0, rel=0.05)


def test_each_unit_is_in_a_sum_with_the_rate(critic: Critic) -> None:
    terms = replace(TERMS, sample_rate=0.3)
    patients = door(1, terms=terms, seed=None)
    module = BookKeepingModule(critic)
    taken = [bool(patients.noisy_gradient(module, module, loss).norm() > 1e-3) for _ in range(1000)]
    assert sum(taken) / 1000 == pytest.approx(0.3, abs=0.1)


def test_a_unit_that_gives_nan_changes_nothing_else(critic: Critic) -> None:
    def broken(answers: Tensor) -> Tensor:
        return loss(answers) * torch.ones(len(answers)).index_fill(0, torch.tensor(3), torch.nan)

    module = BookKeepingModule(critic)
    spoilt = door(8).noisy_gradient(module, module, broken)
    whole = door(8).noisy_gradient(module, module, loss)
    assert spoilt.isfinite().all()
    assert 0 < float((whole - spoilt).norm()) <= TERMS.clip_norm


def test_nothing_but_noisy_sums_can_be_asked_for() -> None:
    assert [name for name in vars(Patients) if not name.startswith("_")] == ["noisy_gradient", "noisy_statistic"]
    assert [name for name in vars(door(3)) if not name.startswith("_")] == []
