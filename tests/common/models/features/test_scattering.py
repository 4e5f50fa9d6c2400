"""The scattering transform against sums over pixels, and what follows from its definition."""

import numpy as np
import pytest
import torch

from common.models.features.scattering import CHANNELS, DIRECTIONS, POOL, Scattering

SIZE = 16


@pytest.fixture(scope="module")
def scattering() -> Scattering:
    return Scattering(SIZE)


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return torch.rand(3, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(0)) * 2 - 1


def kernel(size: int, scale: int, step: int) -> np.ndarray:
    """A Morlet wavelet on a periodic grid, as Bruna and Mallat (2013) write it."""
    sigma, angle, slant = 0.8 * 2**scale, np.pi * step / 8, 0.5

    def gabor(frequency: float) -> np.ndarray:
        found = np.zeros((size, size), dtype=complex)
        for down in range(-2 * size, 3 * size):
            for right in range(-2 * size, 3 * size):
                along = down * np.cos(angle) + right * np.sin(angle)
                across = right * np.cos(angle) - down * np.sin(angle)
                height = np.exp(-(along**2 + (slant * across) ** 2) / (2 * sigma**2) + 1j * frequency * along)
                found[down % size, right % size] += height
        return found * slant / (2 * np.pi * sigma**2)

    wave, envelope = gabor(3 * np.pi / 4 / 2**scale), gabor(0.0)
    return wave - wave.sum() / envelope.sum() * envelope


def convolved(image: np.ndarray, by: np.ndarray) -> np.ndarray:
    """Circular convolution, summed up place by place."""
    return sum(by[down, right] * np.roll(image, (down, right), (0, 1)) for down, right in np.ndindex(*by.shape))


def test_first_and_second_order_are_those_of_sums_over_pixels(scattering: Scattering, images: torch.Tensor) -> None:
    padded = np.pad(images[0, 0].double().numpy(), POOL, mode="reflect")
    places = np.arange(len(padded))
    wide = np.minimum(places, len(padded) - places)
    low = np.exp(-(wide[:, None] ** 2 + wide[None] ** 2) / (2 * 1.6**2)) / (2 * np.pi * 1.6**2)
    inner = slice(POOL, -POOL, POOL)
    found = scattering(images)[0]
    step, then = 3, 5
    fine = np.abs(convolved(padded, kernel(len(padded), 0, step)))
    first = convolved(fine, low)[inner, inner]
    assert np.allclose(found[1 + step], first, atol=1e-5)
    second = np.abs(convolved(fine, kernel(len(padded), 1, then)))
    # The coarser modulus is kept at every other place, which is exact but for what aliases.
    expected = convolved(second, low)[inner, inner]
    assert np.allclose(found[1 + 2 * DIRECTIONS + step * DIRECTIONS + then], expected, atol=2e-3)


def test_it_has_a_place_for_each_pool_and_channel(scattering: Scattering, images: torch.Tensor) -> None:
    assert scattering(images).shape == (3, CHANNELS, SIZE // POOL, SIZE // POOL)
    colours = scattering(images.expand(3, 3, SIZE, SIZE))
    assert colours.shape == (3, 3 * CHANNELS, SIZE // POOL, SIZE // POOL)


@pytest.mark.parametrize("size", [8, 28, 32, 64])
def test_brightness_alone_is_seen_by_the_low_pass_alone(size: int) -> None:
    found = Scattering(size)(torch.full((1, 1, size, size), 0.5))
    assert found.shape[-1] == size // POOL
    assert torch.allclose(found[:, 0], torch.tensor(0.5), atol=1e-5)
    assert found[:, 1:].abs().max() < 1e-4


def test_an_image_alone_and_among_others_is_seen_alike(scattering: Scattering, images: torch.Tensor) -> None:
    assert torch.allclose(scattering(images)[1:2], scattering(images[1:2]), atol=1e-6)


def test_a_gradient_is_finite_and_right(scattering: Scattering, images: torch.Tensor) -> None:
    exact = scattering.double()
    one = images[:1].double().requires_grad_()
    weights = torch.randn(exact(one).shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    (exact(one) * weights).sum().backward()
    step = 1e-6 * torch.ones_like(one[0])
    change = ((exact(one + step) - exact(one - step)) * weights).sum() / 2
    assert one.grad is not None
    assert torch.allclose((one.grad * step).sum(), change, rtol=1e-4)
    black = torch.zeros_like(one).requires_grad_()
    exact(black).sum().backward()
    assert black.grad is not None and black.grad.isfinite().all()  # noqa: PT018
