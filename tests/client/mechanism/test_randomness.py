import os
from collections.abc import Callable

import pytest
import torch
from scipy.stats import binomtest, kstest

from client.randomness import Randomness, SecureRandomness, SeededRandomness

CPU = torch.device("cpu")
NEVER = 1e-9  # a p-value that a correct source practically never falls below

SOURCES: list[Callable[[], Randomness]] = [
    lambda: SecureRandomness(CPU),
    lambda: SeededRandomness(torch.Generator().manual_seed(5)),
]
each_source = pytest.mark.parametrize("source", SOURCES, ids=["secure", "seeded"])


def eight_sigma(standard_deviation: float, count: int) -> float:
    return 8 * standard_deviation / count**0.5


@each_source
def test_normal_values_are_standard_normal_and_independent(source: Callable[[], Randomness]) -> None:
    count = 200_000
    values = source().normal(count)
    assert values.dtype == torch.float32
    assert values.shape == (count,)
    wide = values.double()
    assert kstest(wide.numpy(), "norm").pvalue > NEVER
    assert abs(wide.mean()) < eight_sigma(1, count)
    assert abs(wide.var() - 1) < eight_sigma(2**0.5, count)
    assert abs((wide**4).mean() - 3) < eight_sigma(96**0.5, count)  # tails: the fourth moment's variance is 96
    for lag in (1, count // 2):  # neighbours, and the two values that Box and Muller make of one radius
        assert abs((wide[lag:] * wide[:-lag]).mean()) < eight_sigma(1, count - lag)
        assert abs(((wide[lag:] ** 2 - 1) * (wide[:-lag] ** 2 - 1)).mean()) < eight_sigma(2, count - lag)


@each_source
@pytest.mark.parametrize("size", [0, 1, 2, 7])
def test_normal_gives_as_many_values_as_asked(source: Callable[[], Randomness], size: int) -> None:
    values = source().normal(size)
    assert values.shape == (size,)
    assert values.isfinite().all()


@each_source
def test_poisson_sample_takes_every_unit_independently_at_the_rate(source: Callable[[], Randomness]) -> None:
    population, rate, draws = 20, 0.3, 5000
    randomness = source()
    taken = torch.zeros(draws, population, dtype=torch.float64)
    for row in taken:
        row[randomness.poisson_sample(population, rate)] = 1

    one = (rate * (1 - rate)) ** 0.5
    assert (taken.mean(dim=0) - rate).abs().max() < eight_sigma(one, draws)
    sizes = taken.sum(dim=1)
    variance = population * rate * (1 - rate)
    # a fixed batch size has variance 0
    assert abs(sizes.var() - variance) < eight_sigma(variance * 2**0.5, draws)
    covariance = torch.cov(taken.T)
    assert (covariance - torch.diag(covariance.diag())).abs().max() < eight_sigma(one**2, draws)
    consecutive = (taken[1:] * taken[:-1]).mean()
    assert abs(consecutive - rate**2) < eight_sigma(rate, (draws - 1) * population)


@each_source
@pytest.mark.parametrize("rate", [1e-3, 0.5, 1 - 1e-3])
def test_poisson_sample_is_exact_at_small_and_large_rates(source: Callable[[], Randomness], rate: float) -> None:
    taken = len(source().poisson_sample(100_000, rate))
    assert binomtest(taken, 100_000, rate).pvalue > NEVER


@each_source
def test_poisson_sample_is_increasing_indices(source: Callable[[], Randomness]) -> None:
    chosen = source().poisson_sample(1000, 0.5)
    assert chosen.dtype == torch.int64
    assert bool((chosen.diff() > 0).all())
    assert chosen[0] >= 0
    assert chosen[-1] < 1000


@each_source
def test_rate_one_takes_everybody(source: Callable[[], Randomness]) -> None:
    assert source().poisson_sample(5000, 1.0).tolist() == list(range(5000))


@each_source
def test_empty_population_gives_an_empty_sample(source: Callable[[], Randomness]) -> None:
    chosen = source().poisson_sample(0, 0.5)
    assert chosen.shape == (0,)
    assert chosen.dtype == torch.int64


def test_secure_sources_never_repeat_and_no_seed_reaches_them() -> None:
    rounds: list[torch.Tensor] = []
    with torch.random.fork_rng(devices=[]):
        for _ in range(3):
            torch.manual_seed(0)
            source = SecureRandomness(CPU)
            rounds += [source.normal(64), source.normal(64)]
    values = torch.stack(rounds).flatten()
    assert len(values.unique()) == len(values)


def test_secure_source_has_a_fresh_key_from_the_operating_system(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    draw = os.urandom

    def no_nonce(size: int) -> bytes:
        asked.append(size)
        return bytes(size) if size == 16 else draw(size)

    monkeypatch.setattr(os, "urandom", no_nonce)
    first, second = (SecureRandomness(CPU).normal(4) for _ in range(2))
    assert sorted(asked) == [16, 16, 32, 32]
    assert not torch.equal(first, second)


def test_seeded_source_is_reproducible_and_depends_on_its_seed() -> None:
    def draw(seed: int) -> tuple[list[int], list[float]]:
        source = SeededRandomness(torch.Generator().manual_seed(seed))
        return source.poisson_sample(100, 0.5).tolist(), source.normal(10).tolist()

    assert draw(1) == draw(1)
    assert draw(1)[0] != draw(2)[0]
    assert draw(1)[1] != draw(2)[1]


@pytest.mark.parametrize("uniform", [2.0**-53, 1.0])
def test_ends_of_the_uniform_range_are_safe(uniform: float, monkeypatch: pytest.MonkeyPatch) -> None:
    source = SecureRandomness(CPU)
    monkeypatch.setattr(source, "_uniform", lambda size: torch.full((size,), uniform, dtype=torch.float64))
    values = source.normal(2)
    assert values.isfinite().all()
    assert values.abs().max() < 8.6  # the largest radius that 53 bits can give
    assert len(source.poisson_sample(3, 1.0)) == 3


@each_source
def test_uniform_values_are_uniform_and_independent(source: Callable[[], Randomness]) -> None:
    count = 100_000
    values = source().uniform(count)
    assert values.dtype == torch.float64
    assert values.shape == (count,)
    assert kstest(values.numpy(), "uniform").pvalue > NEVER
    centred = values - 0.5
    assert abs((centred[1:] * centred[:-1]).mean()) < eight_sigma(1 / 12, count)
    assert len(values.unique()) == count
