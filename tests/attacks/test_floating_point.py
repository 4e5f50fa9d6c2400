"""Row 3: outputs that are possible under one data set only: on 97d0510 presence was told in 200 of 200 releases.

Noise that is computed in floating point, scaled and added has gaps (Mironov, 2012). Now every output is a point of a
public grid, rounded afterwards, and each point is possible whatever the data.
"""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.stats import binom
from torch import Tensor

from silogan.client.data import Records, read
from silogan.client.mechanism import Patients, Randomness, Terms
from silogan.client.mechanism.noisy_sum import grid_step
from silogan.client.training.steps import PrivateStep
from silogan.common.config.scenario import WarmStart
from silogan.common.modality.image import ImageSchema
from silogan.common.modality.image_options import Dcgan, Digits
from silogan.common.models.losses import LOSSES
from silogan.common.models.networks import build
from silogan.common.models.networks.base import Discriminator
from silogan.common.privacy.accounting import Mechanism, epsilon, find_noise_multiplier
from silogan.common.privacy.statistics import Moments
from silogan.common.wire.messages import STATISTICS, Instruction, Reply, pack, unpack
from silogan.server.app import initial_weights as fresh_weights
from tests.attacks.conftest import DECLARED_SIZE, HospitalNode

DIGITS = ImageSchema(8, 1, tuple("0123456789"))
DELTA = 1e-5
TRIALS = 200


@pytest.fixture(scope="module")
def digits() -> Records:
    return read(Digits()).train


def neighbours(digits: Records) -> tuple[Records, Records]:
    """Data in which one patient alone has a nine, and data without that patient."""
    others = (digits.labels != 9).nonzero().squeeze(1)
    nine = (digits.labels == 9).nonzero().squeeze(1)[:1]
    return digits.select(others), digits.select(torch.cat((others, nine)))


def door(images: Records, sigma: float, *, rate: float = 1.0, clip: float = 1.0) -> Patients:
    terms = Terms(sample_rate=rate, clip_norm=clip, noise_multiplier=sigma, records_per_patient=1, block=64)
    return Patients(
        images.stored, images.labels, None, encode=DIGITS.encode, terms=terms, randomness=Randomness.secure()
    )


def chance(correct: int, target: float) -> float:
    """Of at least so many right guesses by randomised response at ε, the best that (ε, δ) allows."""
    return float(binom.sf(correct - 1, TRIALS, 1 / (1 + math.exp(-target)) + DELTA))


MOMENTS = Moments(DIGITS, WarmStart(frequencies=8))


def statistic(images: Records, sigma: float) -> NDArray[np.float32]:
    """What leaves after a warm start."""
    return door(images, sigma).noisy_statistic(MOMENTS.placed, MOMENTS.slots, MOMENTS.width).float().numpy()


def test_a_million_coordinates_of_a_warm_start_lie_on_the_public_grid(digits: Records) -> None:
    step = grid_step(1.0, MOMENTS.size)
    seen = 0
    for images in neighbours(digits):
        for sigma in (0.7, 8.0):
            while seen < 1_000_000 * (1 + (sigma > 1)) / 2:
                found = statistic(images, sigma)
                nearest = np.round(found.astype(np.float64) / step)
                assert (((nearest * step).astype(np.float32)) == found).all(), "an output that no data set gives"
                seen += found.size
    assert seen >= 1_000_000


def old_lattice(released: NDArray[np.float32], sums: NDArray[np.float64], sigma: float) -> int:
    """The attack of 97d0510: coordinates that no float32 noise gives for these sums."""
    wide = released.astype(np.float64)
    nearest = ((wide - sums) / sigma).astype(np.float32)
    possible = np.zeros(released.shape, bool)
    below = above = nearest
    for _ in range(4):
        for candidate in (below, above):
            possible |= (sums + sigma * candidate.astype(np.float64)).astype(np.float32) == released
        below, above = np.nextafter(below, np.float32(-np.inf)), np.nextafter(above, np.float32(np.inf))
    return int((~possible).sum())


@pytest.mark.parametrize("target", [0.5, 1.0])
def test_nobody_tells_a_patients_presence_from_a_warm_start_better_than_epsilon_allows(
    digits: Records, target: float
) -> None:
    without, within = neighbours(digits)
    sigma = find_noise_multiplier(target, DELTA, 1.0, 1)
    sums = [statistic(images, 1e-9).astype(np.float64) for images in (without, within)]
    direction = sums[1] - sums[0]
    assert 0.1 < np.linalg.norm(direction) <= 1
    coins = np.random.default_rng(0).integers(0, 2, TRIALS)
    by_lattice = by_likelihood = 0
    for coin in coins:
        released = statistic((without, within)[coin], sigma)
        impossible = [old_lattice(released, one, sigma) for one in sums]
        by_lattice += int(impossible[0] > impossible[1]) == coin
        by_likelihood += int((released - sums[0]) @ direction > direction @ direction / 2) == coin
    for correct in (by_lattice, by_likelihood):
        assert chance(correct, target) > 1e-6


# --- steps: the weights that leave ------------------------------------------------------------------------------------


def critic() -> Discriminator:
    """Weights that show the gradient of class 9 alone, as in the attack: zero heads, and fakes without a gradient."""
    torch.manual_seed(0)
    discriminator = build(Dcgan(latent_dim=4, width=2), DIGITS).discriminator
    with torch.no_grad():
        discriminator.shared.weight.zero_()
        discriminator.by_class.weight.zero_()
        discriminator.shared.bias.fill_(-2.0)
    return discriminator


RATE, EXPECTED, LEARNING_RATE = 0.25, 250.0, 1e-3


def after_a_step(images: Records, sigma: float, optimizer: Callable[[list[Tensor]], torch.optim.Optimizer]) -> Tensor:
    """The row of class 9 after one private step, from zeros; float32."""
    discriminator = critic()
    step = PrivateStep(
        discriminator,
        optimizer(list(discriminator.parameters())),
        door(images, sigma, rate=RATE),
        clip_norm=1.0,
        expected_batch=EXPECTED,
        at_once=64,
        precision=torch.autocast("cpu", torch.bfloat16, enabled=False),
    )
    step.take(LOSSES["hinge"], torch.rand(8, 1, 8, 8) * 2 - 1, torch.arange(8))
    return discriminator.by_class.weight.detach()[9].clone()


def sgd(parameters: list[Tensor]) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=LEARNING_RATE)


def adam(parameters: list[Tensor]) -> torch.optim.Optimizer:
    return torch.optim.Adam(parameters, lr=LEARNING_RATE, betas=(0.0, 0.99), fused=True)


def images_of_the_grid(
    weights: Tensor, step: float, learning_rate: float = LEARNING_RATE, expected: float = EXPECTED
) -> Tensor:
    """Whether each weight is what plain steps make of some point of the grid: the same rounding, tried around it."""
    nearest = (-weights.double() * expected / learning_rate / step).round()
    possible = torch.zeros(weights.shape, dtype=torch.bool)
    for offset in range(-40, 41):
        gradient = ((nearest + offset) * step / expected).float()
        possible |= torch.zeros_like(weights).add_(gradient, alpha=-learning_rate) == weights
    return possible


def test_weights_after_plain_steps_are_possible_under_every_data_set(digits: Records) -> None:
    size = sum(p.numel() for p in critic().parameters())
    for images in neighbours(digits):
        for _ in range(100):
            assert bool(images_of_the_grid(after_a_step(images, 1.0, sgd), grid_step(1.0, size)).all())


@pytest.mark.slow
@pytest.mark.parametrize("target", [0.5, 1.0])
@pytest.mark.parametrize("optimizer", [sgd, adam])
def test_nobody_tells_a_patients_presence_from_weights_better_than_epsilon_allows(
    digits: Records, target: float, optimizer: Callable[[list[Tensor]], torch.optim.Optimizer]
) -> None:
    without, within = neighbours(digits)
    sigma = find_noise_multiplier(target, DELTA, RATE, 1)
    assert epsilon([Mechanism(sigma, RATE, 1)], DELTA) <= target
    nine = digits.select((digits.labels == 9).nonzero().squeeze(1)[:1])
    direction = -after_a_step(nine.select(torch.zeros(64, dtype=torch.int64)), 1e-9, sgd)  # what class 9 looks like
    assert direction.any()
    coins = torch.randint(0, 2, (TRIALS,), generator=torch.Generator().manual_seed(0)).tolist()
    scores = torch.tensor(
        [float(-after_a_step((without, within)[coin], sigma, optimizer) @ direction) for coin in coins]
    )
    # the attacker even knows the best threshold
    order = torch.tensor(coins)[scores.argsort()]
    right = [int((1 - order[:cut]).sum() + order[cut:].sum()) for cut in range(TRIALS + 1)]
    assert chance(max(right), target) > 1e-6


# --- through the wire -------------------------------------------------------------------------------------------------


def test_what_a_node_sends_is_possible_under_every_data_set(hospital_node: HospitalNode) -> None:
    """A warm start and plain steps of a real node: its records, its ledger, Flower's messages."""
    training = {"warm_start": {"frequencies": 4}, "discriminator_adam": "server", "server_generator_steps": 1}
    study = hospital_node.study(training=training)
    hospital_node.approve(study)
    moments = Moments(study.schema, study.scenario.training.warm_start)
    request = Instruction(study.study_id, study.plan.plan_id, "statistics", 1).to_record(pack({}))
    released = unpack(Reply.from_record(hospital_node.hospital.answer(request))[1])[STATISTICS].double()
    step = grid_step(1.0, moments.size)
    assert torch.equal((released / step).round().mul(step).float(), released.float())
    sent = {name: torch.zeros_like(tensor) for name, tensor in fresh_weights(study).items()}
    sent["discriminator.shared.bias"].fill_(-2.0)
    request = Instruction(study.study_id, study.plan.plan_id, "training", 1).to_record(pack(sent))
    found = unpack(Reply.from_record(hospital_node.hospital.answer(request))[1])["discriminator.by_class.weight"]
    assert found.any()
    size = sum(t.numel() for name, t in sent.items() if name.startswith("discriminator."))
    lr, batch = study.scenario.training.lr_discriminator, study.plan.training.sample_rate * DECLARED_SIZE
    assert bool(images_of_the_grid(found, grid_step(study.plan.training.clip_norm, size), lr, batch).all())
