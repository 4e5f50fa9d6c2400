import os
from collections import Counter
from collections.abc import Callable

import pytest
import torch
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from scipy.stats import binomtest, chisquare, kstest

from silogan.client.mechanism.randomness import Randomness
from silogan.common.seeding import derive_key

NEVER = 1e-9  # a p-value that a correct source practically never falls below

SOURCES: list[Callable[[], Randomness]] = [
    Randomness.secure,
    lambda: Randomness(derive_key(5, "site-1", 3)),
]
each_source = pytest.mark.parametrize("source", SOURCES, ids=["secure", "seeded"])


def eight_sigma(standard_deviation: float, count: int) -> float:
    return 8 * standard_deviation / count**0.5


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
            source = Randomness.secure()
            rounds += [source.bits(64, 63), source.bits(64, 63)]
    values = torch.stack(rounds).flatten()
    assert len(values.unique()) == len(values)


def test_secure_source_has_a_fresh_key_from_the_operating_system(monkeypatch: pytest.MonkeyPatch) -> None:
    keys: list[bytes] = []
    monkeypatch.setattr(os, "urandom", lambda size: keys.append(bytes([len(keys)]) * size) or keys[-1])
    first, second = (Randomness.secure().bits(4, 63) for _ in range(2))
    assert [len(key) for key in keys] == [32, 32]
    assert not torch.equal(first, second)
    assert torch.equal(first, Randomness(keys[0]).bits(4, 63))


def test_stream_is_aes_256_in_counter_mode() -> None:
    """NIST SP 800-38A, F.5.5: its key with a counter from 0; the first block is AES of sixteen zero bytes."""
    key = bytes.fromhex("603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4")
    block = Cipher(algorithms.AES256(key), modes.ECB()).encryptor().update(bytes(16))  # noqa: S305  (one block)
    expected = [int.from_bytes(block[start : start + 8], "little") & (2**63 - 1) for start in (0, 8)]
    assert Randomness(key).bits(2, 63).tolist() == expected


def test_seeded_source_is_reproducible_and_depends_on_seed_and_purpose() -> None:
    def draw(seed: int, *purpose: str | int) -> list[int]:
        return Randomness(derive_key(seed, *purpose)).bits(8, 63).tolist()

    assert draw(1, "a", 2) == draw(1, "a", 2)
    assert len({tuple(draw(*key)) for key in ((1, "a", 2), (2, "a", 2), (1, "b", 2), (1, "a", 3), (1, "a2"))}) == 5


@pytest.mark.parametrize("width", [1, 7, 52, 63])
def test_bits_have_their_width(width: int) -> None:
    bits = Randomness(derive_key(0, "bits")).bits(4000, width)
    assert 0 <= int(bits.min()) <= int(bits.max()) < 2**width
    for place in range(width):
        assert binomtest(int((bits >> place & 1).sum()), 4000, 0.5).pvalue > NEVER


@pytest.mark.parametrize("uniform", [2.0**-53, 1.0])
def test_ends_of_the_uniform_range_are_safe(uniform: float, monkeypatch: pytest.MonkeyPatch) -> None:
    source = Randomness.secure()
    monkeypatch.setattr(source, "uniform", lambda size: torch.full((size,), uniform, dtype=torch.float64))
    assert len(source.poisson_sample(3, 1.0)) == 3
    assert len(source.poisson_sample(3, 2.0**-54)) == 0


@each_source
def test_all_orders_are_equally_likely(source: Callable[[], Randomness]) -> None:
    randomness = source()
    seen = Counter(tuple(randomness.permutation(4).tolist()) for _ in range(6000))
    assert len(seen) == 24
    assert chisquare(list(seen.values())).pvalue > NEVER


def test_equal_keys_are_drawn_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    draws = [torch.tensor([5, 5, 1]), torch.tensor([5, 9, 1])]
    source = Randomness.secure()
    monkeypatch.setattr(source, "bits", lambda *_: draws.pop(0))
    assert source.permutation(3).tolist() == [2, 0, 1]
    assert not draws


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
