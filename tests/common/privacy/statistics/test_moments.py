"""Moments: no record's part is longer than 1, a sum of parts is read back as moments, and images are smoothed."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.fft import dctn

from silogan.common.config.scenario import WarmStart
from silogan.common.modality.image import ImageSchema
from silogan.common.privacy.statistics import Moments

CLASSES = ("a", "b", "c")


def moments(size: int = 8, channels: int = 1, *, frequencies: int = 4, largest_norm: float = 0.4) -> Moments:
    settings = WarmStart(frequencies=frequencies, largest_norm=largest_norm)
    return Moments(ImageSchema(size, channels, CLASSES), settings)


def random_images(count: int, size: int = 8, channels: int = 1, seed: int = 0) -> torch.Tensor:
    return torch.rand(count, channels, size, size, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def total(of: Moments, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """The sum of what records add, each in its class's part."""
    empty = torch.zeros(of.slots, of.width, dtype=torch.float64)
    return empty.index_add_(0, labels, of.rows(images, labels)).flatten()


@given(st.integers(0, 2**32 - 1), st.sampled_from([(8, 1), (28, 1), (8, 3)]), st.floats(0.01, 1), st.integers(0, 2))
def test_no_records_part_is_longer_than_one(seed: int, shape: tuple[int, int], largest_norm: float, label: int) -> None:
    of = moments(*shape, frequencies=6, largest_norm=largest_norm)
    image = random_images(1, *shape, seed=seed)
    extreme = torch.where(image > 0, 1.0, -1.0) if seed % 2 else torch.ones_like(image)
    for one_image in (image, extreme):
        (part,) = of.rows(one_image, torch.tensor([label]))
        assert part.dtype == torch.float64
        # the door clips to (1 - 2⁻⁶)·1: an honest record stays as it is
        assert 0 < float(part.norm()) <= 1 - 2.0**-6


@given(st.integers(0, 2**32 - 1), st.lists(st.floats(0.01, 1), min_size=2, max_size=6))
def test_a_units_records_together_are_no_longer_than_one(seed: int, raw: list[float]) -> None:
    of, weights = moments(), torch.tensor(raw, dtype=torch.float64)
    labels = torch.arange(len(raw)) % 3
    rows = of.rows(random_images(len(raw), seed=seed), labels) * (weights / weights.sum())[:, None]
    part = torch.zeros(of.slots, of.width, dtype=torch.float64).index_add_(0, labels, rows)
    assert float(part.norm()) <= 1


def test_what_a_record_adds_depends_on_it_alone() -> None:
    of, images, labels = moments(), random_images(7), torch.tensor([0, 1, 1, 2, 0, 0, 1])
    singly = torch.cat([of.rows(images[i : i + 1], labels[i : i + 1]) for i in range(7)])
    torch.testing.assert_close(of.rows(images, labels), singly, rtol=1e-6, atol=1e-9)
    assert of.rows(images, labels).shape == (7, of.width)
    assert of.size == 3 * of.width


def test_moments_are_read_back() -> None:
    of, images, labels = moments(), random_images(50), torch.arange(50) % 2
    found = of.of_classes(total(of, images, labels))
    features = of.features.of(images).double()
    for label, moment in enumerate(found):
        mine = features[labels == label]
        assert moment.count == pytest.approx(len(mine))
        torch.testing.assert_close(moment.mean_sum, mine.sum(0))
        torch.testing.assert_close(moment.second_sum, mine.T @ mine)


def test_frequencies_are_those_of_the_cosine_transform() -> None:
    of, images = moments(28, frequencies=5, largest_norm=1.0), random_images(3, 28)
    expected = dctn(((images + 1) / 2).numpy(), axes=(2, 3), norm="ortho")[:, :, :5, :5] / 28
    np.testing.assert_allclose(of.features.of(images).numpy(), expected.reshape(3, -1), atol=1e-6)


def test_all_frequencies_of_a_dim_image_give_it_back() -> None:
    of, images = moments(8, 3, frequencies=8, largest_norm=1.0), random_images(4, 8, 3) * 0.9
    torch.testing.assert_close(of.features.back(of.features.of(images)), images, atol=1e-5, rtol=0)
    assert of.dimensions == 3 * 64


def test_black_is_nothing_and_what_is_too_bright_is_scaled_down() -> None:
    of = moments(largest_norm=0.5)
    assert torch.equal(of.features.of(-torch.ones(1, 1, 8, 8)), torch.zeros(1, 16))
    white = of.features.of(torch.ones(1, 1, 8, 8))
    assert 0.99 < float(white.norm()) < 1
    assert of.features.of(torch.full((1, 1, 8, 8), -0.5)).norm() == pytest.approx(0.25 / 0.5)


def test_noise_is_alike_in_all_directions_of_the_matrix() -> None:
    of = moments()
    rng = torch.Generator().manual_seed(0)
    found = [of.of_classes(torch.randn(of.size, generator=rng) * 3.0)[0].second_sum for _ in range(400)]
    noise = torch.stack(found)
    off = noise[:, 0, 1:].std()
    assert float(off) == pytest.approx(of.noise_of_second_moments(3.0), rel=0.05)
    assert float(noise[:, range(16), range(16)].std()) == pytest.approx(math.sqrt(2) * float(off), rel=0.05)


def test_more_frequencies_than_pixels_are_all_of_them() -> None:
    assert moments(8, frequencies=32).dimensions == 64
