"""From noisy moments to Gaussians and networks: what is there is found, what is noise is not."""

from collections.abc import Callable

import pytest
import torch

from silogan.common.config.scenario import WarmStart
from silogan.common.modality.image import ImageSchema
from silogan.common.privacy.statistics import Moments
from silogan.common.wire.study import Study
from silogan.server.app import initial_weights
from silogan.server.fitting.warm_start import ClassGaussians, largest_total, pretrain

SETTINGS = WarmStart(noise_multiplier=2.0, frequencies=4, steps=3)
SCHEMA = ImageSchema(8, 1, ("a", "b"))
MOMENTS = Moments(SCHEMA, SETTINGS)


def population(count: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Images of two classes that differ in mean and in the direction in which they vary."""
    rng = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 2
    features = torch.zeros(count, MOMENTS.dimensions, dtype=torch.float64)
    features[:, 0] = 0.5 + 0.1 * labels
    spread = 0.08 * torch.randn(count, generator=rng, dtype=torch.float64)
    features[torch.arange(count), 1 + labels] = spread
    return MOMENTS.features.back(features), labels


def sum_of(images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    empty = torch.zeros(MOMENTS.slots, MOMENTS.width, dtype=torch.float64)
    return empty.index_add_(0, labels, MOMENTS.rows(images, labels)).flatten()


def total(count: int, noise: float = 0.0) -> torch.Tensor:
    clean = sum_of(*population(count))
    return clean + noise * torch.randn(MOMENTS.size, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(("count", "noise"), [(2000, 0.0), (20_000, 2.0)])
def test_mean_and_direction_of_each_class_are_found(count: int, noise: float) -> None:
    found = ClassGaussians.fit(MOMENTS, total(count, noise), noise)
    torch.testing.assert_close(found.means[:, 0], torch.tensor([0.5, 0.6], dtype=torch.float64), atol=0.01, rtol=0)
    for label in (0, 1):
        covariance = found.roots[label] @ found.roots[label].T
        assert float(covariance[1 + label, 1 + label]) == pytest.approx(0.08**2, rel=0.2)
        assert abs(float(covariance[2 - label, 2 - label])) < 0.2 * 0.08**2


def test_noise_alone_shows_no_direction() -> None:
    found = ClassGaussians.fit(MOMENTS, total(1000, noise=500.0), 500.0)
    assert float(found.roots.abs().max()) < 1  # a count below the noise is not divided by
    assert found.means.isfinite().all()
    # images that are all alike: what rises above the noise by chance is next to nothing
    alike, labels = MOMENTS.features.back(torch.full((1, 16), 0.1).expand(20_000, 16)), torch.arange(20_000) % 2
    noise = 5.0 * torch.randn(MOMENTS.size, generator=torch.Generator().manual_seed(3))
    clean = ClassGaussians.fit(MOMENTS, sum_of(alike, labels) + noise, 5.0)
    assert sum(int((root.norm(dim=0) > 1e-9).sum()) for root in clean.roots) <= 2  # of 32


def test_images_are_drawn_from_the_class_that_is_asked_for() -> None:
    found = ClassGaussians.fit(MOMENTS, total(4000), 0.0)
    labels = torch.tensor([0] * 500 + [1] * 500)
    images = found.sample(labels, torch.Generator().manual_seed(0))
    assert images.shape == (1000, 1, 8, 8)
    assert images.dtype == torch.float32
    assert -1 <= float(images.min()) <= float(images.max()) <= 1
    features = MOMENTS.features.of(images)
    assert float(features[:500, 1].std()) > 5 * float(features[500:, 1].std())
    again = found.sample(labels, torch.Generator().manual_seed(0))
    assert torch.equal(images, again)


@pytest.fixture
def study(make_study: Callable[..., Study]) -> Study:
    return make_study(schema=SCHEMA, sizes=(100,), training={"warm_start": SETTINGS.model_dump()})


def test_both_networks_are_trained_and_the_given_weights_stay(study: Study) -> None:
    fresh = initial_weights(study)
    before = {name: tensor.clone() for name, tensor in fresh.items()}
    first, again = (pretrain(study, study.plan.phases[0], SETTINGS, fresh, total(2000), 1) for _ in range(2))
    assert all(torch.equal(fresh[name], tensor) for name, tensor in before.items())
    assert first.keys() == fresh.keys()
    for name, tensor in first.items():
        assert not torch.equal(tensor, fresh[name]), name
        assert torch.equal(tensor, again[name]), name


def test_an_honest_sum_is_within_the_largest_and_a_poisoned_one_is_not() -> None:
    honest = float(total(100).norm()) + 2.0 * float(torch.randn(MOMENTS.size).norm())
    assert honest < largest_total(100, 2.0, MOMENTS.size) < 1e4
