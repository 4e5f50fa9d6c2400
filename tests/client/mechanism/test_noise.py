"""Rounded Gaussian noise: exactly the distribution of the rounded real number."""

import math

import pytest
import torch
from mpmath import mp
from scipy.stats import chisquare, kstest, norm

from silogan.client.mechanism import noise
from silogan.client.mechanism.noise import rounded_gaussian
from silogan.client.mechanism.randomness import Randomness
from silogan.common.seeding import derive_key

NEVER = 1e-9


def stream(purpose: str = "noise") -> Randomness:
    return Randomness(derive_key(3, purpose))


@pytest.mark.parametrize("scale", [0.3, 1.0, 2.7])
def test_every_whole_number_has_its_probability(scale: float) -> None:
    drawn = rounded_gaussian(stream(), 400_000, scale)
    edge = math.ceil(3 * scale)
    inner = range(-edge, edge + 1)
    counts = [int((drawn == value).sum()) for value in inner]
    chances = [norm.cdf((value + 0.5) / scale) - norm.cdf((value - 0.5) / scale) for value in inner]
    counts.append(len(drawn) - sum(counts))
    chances.append(1 - sum(chances))
    assert chisquare(counts, [chance * len(drawn) for chance in chances]).pvalue > NEVER


@pytest.mark.parametrize("scale", [2.0**10, 2.0**22, 2.0**40])
def test_large_scales_are_normal_whole_numbers(scale: float) -> None:
    drawn = rounded_gaussian(stream(), 200_000, scale)
    assert torch.equal(drawn, drawn.round())
    assert kstest((drawn / scale).numpy(), "norm").pvalue > NEVER
    assert abs(float((drawn[1:] * drawn[:-1]).mean())) / scale**2 < 8 / 200_000**0.5
    half = len(drawn) // 2  # the two values that Box and Muller make of one radius
    assert abs(float((drawn[:half] * drawn[half:]).mean())) / scale**2 < 8 / half**0.5


@pytest.mark.parametrize("scale", [1.0, 2.0**22, 2.0**30])
def test_what_was_decided_at_once_is_what_further_bits_decide(scale: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever bits follow: the first 52 of a decided draw leave only one rounded value."""
    quick = rounded_gaussian(stream(), 3000, scale)
    monkeypatch.setattr(noise, "_ERROR", 1.0)  # nothing is decided at once
    assert torch.equal(rounded_gaussian(stream(), 3000, scale), quick)


def test_further_bits_decide_as_exact_arithmetic_does() -> None:
    """Golden values of an independent computation: 400 digits, all bits known beforehand."""
    rng = Randomness(derive_key(0, "bits"))
    for first, second in zip(rng.bits(40, 52).tolist(), rng.bits(40, 52).tolist(), strict=True):
        for scale in (0.5, 1000.0, 2.0**30):
            further, copy = (Randomness(derive_key(1, first)) for _ in range(2))
            found = noise._decided(further, first, second, scale)
            with mp.workdps(400):
                u, v = (mp.mpf((bits << 60) + int(copy.bits(1, 60))) for bits in (first, second))
                radius, angle = mp.sqrt(-2 * mp.log(u / 2**112)), 2 * mp.pi * v / 2**112
                expected = int(mp.nint(scale * radius * mp.cos(angle))), int(mp.nint(scale * radius * mp.sin(angle)))
            assert found == expected


def test_smallest_uniform_is_no_wall() -> None:
    """Where all 52 bits are 0 the tail goes on: beyond 8.6 standard deviations, where float64 alone would end."""
    largest = max(
        abs(value) for place in range(50) for value in noise._decided(Randomness(derive_key(place)), 0, 1, 1e6)
    )
    assert largest > 8.6e6


@pytest.mark.parametrize("size", [0, 1, 2, 7])
def test_there_are_as_many_values_as_asked_for(size: int) -> None:
    assert rounded_gaussian(stream(), size, 5.0).shape == (size,)


def test_no_scale_is_no_noise() -> None:
    assert not rounded_gaussian(stream(), 100, 0.0).any()
