"""Scattering against a plain computation in NumPy, and what makes it of use: it is finite, smooth and holds still."""

import math

import numpy as np
import pytest
import torch

from silogan.common.models.networks.scattering import ANGLES, Scattering

Maps = np.ndarray


def wavelet(scale: int, angle: int, radius: int) -> Maps:
    """A Morlet wavelet by its formula, point by point."""
    sigma, slant, theta = 0.8 * 2**scale, 4 / ANGLES, math.pi * angle / ANGLES
    size = 2 * radius + 1
    envelope, wave = np.zeros((size, size)), np.zeros((size, size), complex)
    for row in range(size):
        for column in range(size):
            y, x = row - radius, column - radius
            along = x * math.cos(theta) + y * math.sin(theta)
            across = y * math.cos(theta) - x * math.sin(theta)
            envelope[row, column] = math.exp(-(along**2 + (slant * across) ** 2) / (2 * sigma**2))
            wave[row, column] = envelope[row, column] * np.exp(1j * along * 0.75 * math.pi / 2**scale)
    return (wave - envelope * wave.sum() / envelope.sum()) * slant / (2 * math.pi * sigma**2)


def filtered(image: Maps, kernel: Maps, stride: int) -> Maps:
    """The kernel laid over every `stride`-th pixel of an image that is mirrored at its borders."""
    radius = len(kernel) // 2
    padded = np.pad(image, radius, mode="reflect")
    places = range(0, len(image), stride)
    seen = [[padded[y : y + len(kernel), x : x + len(kernel)] for x in places] for y in places]
    return (np.array(seen) * kernel).sum(axis=(2, 3))


def averaged(image: Maps, sigma: float, stride: int) -> Maps:
    radius = math.ceil(2.5 * sigma)
    one = np.exp(-(np.arange(-radius, radius + 1) ** 2) / (2 * sigma**2))
    kernel = np.outer(one, one)
    return filtered(image, kernel / kernel.sum(), stride)


def image_of(size: int, channels: int = 1) -> torch.Tensor:
    return torch.rand(1, channels, size, size, generator=torch.Generator().manual_seed(size)).mul(2).sub(1)


def test_the_first_order_of_digits_is_that_of_the_formula() -> None:
    image, angle = image_of(8), 3
    found = Scattering(1, 8)(image).view(-1, 4, 4)
    pixels = image[0, 0].double().numpy()
    expected = averaged(np.abs(filtered(pixels, wavelet(0, angle, 4), 1)), 0.8, 2)
    np.testing.assert_allclose(found[1 + angle].numpy(), expected, atol=1e-4)
    np.testing.assert_allclose(found[0].numpy(), averaged(pixels, 0.8, 2), atol=1e-5)


def test_the_second_order_is_that_of_the_formula() -> None:
    image, first, second = image_of(28), 2, 5
    found = Scattering(1, 28)(image).view(-1, 7, 7)
    moduli = np.abs(filtered(image[0, 0].double().numpy(), wavelet(0, first, 4), 1))
    again = np.abs(filtered(moduli, wavelet(1, second, 8), 2))
    np.testing.assert_allclose(found[1 + ANGLES + first * ANGLES + second].numpy(), averaged(again, 0.8, 2), atol=1e-4)


@pytest.mark.parametrize(
    ("size", "channels", "places", "orders"), [(8, 1, 4, 9), (28, 1, 7, 81), (32, 3, 8, 81), (64, 1, 8, 81)]
)
def test_there_are_as_many_features_as_it_says(size: int, channels: int, places: int, orders: int) -> None:
    scattering = Scattering(channels, size)
    assert scattering.dimensions == channels * orders * places**2
    found = scattering(image_of(size, channels))
    assert found.shape == (1, scattering.dimensions)
    assert found.isfinite().all()


def test_colours_are_looked_at_by_themselves() -> None:
    image = image_of(32, 3)
    of_each = [Scattering(1, 32)(image[:, [channel]]) for channel in range(3)]
    torch.testing.assert_close(Scattering(3, 32)(image), torch.cat(of_each, dim=1))


def test_flat_images_have_slopes_and_nothing_but_their_mean() -> None:
    image = torch.full((2, 1, 28, 28), 0.5, requires_grad=True)
    found = Scattering(1, 28)(image)
    (slope,) = torch.autograd.grad(found.sum(), image)
    assert slope.isfinite().all()
    orders = found.detach().view(2, -1, 49)
    torch.testing.assert_close(orders[:, 0], torch.full((2, 49), 0.5))
    assert orders[:, 1:].abs().max() < 1e-3


def test_it_holds_still_where_pixels_do_not() -> None:
    """A fine pattern that moves by a pixel: far away among pixels, near among features."""
    line = torch.cos(torch.arange(29) * 2.4)
    here, moved = (line[start : start + 28].expand(1, 1, 28, 28) for start in (0, 1))
    scattering = Scattering(1, 28)
    one, other = scattering(here), scattering(moved)
    assert (here - moved).norm() / here.norm() > 1
    assert (one - other).norm() / one.norm() < 0.25


def test_nothing_is_learnt_or_kept() -> None:
    assert Scattering(1, 28).state_dict() == {}
