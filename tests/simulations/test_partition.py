import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from silogan.client.data.positions import load_positions
from silogan.common.config.scenario import Sites
from silogan.common.errors import ConfigError, DataError
from silogan.simulations.partition import PARTITIONS, Ints, partition, save


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def spread(labels: Ints, natural: Ints | None = None, seed: int = 0, **keys: Any) -> list[Ints]:
    return partition(Sites(**keys), labels, natural, rng(seed))


@st.composite
def cases(draw: st.DrawFn) -> tuple[Sites, Ints, Ints | None, int]:
    name = draw(st.sampled_from(sorted(PARTITIONS)))
    count = draw(st.integers(1, 12))
    per_site = draw(st.integers(1, 4))
    size = draw(st.integers(count * per_site, 200))
    labels = np.array(draw(st.lists(st.integers(0, 5), min_size=size, max_size=size)), dtype=np.int64)
    natural = None
    if name == "natural":
        natural = rng(draw(st.integers(0, 99))).permutation(np.arange(size, dtype=np.int64) % count)
    sites = Sites(
        count=count,
        partition=name,
        alpha=draw(st.sampled_from([5e-324, 1e-12, 0.01, 0.3, 1.0, 100.0, 1e6])),
        shards_per_site=per_site,
        size_ratio=draw(st.floats(1, 1e6)),
    )
    return sites, labels, natural, draw(st.integers(0, 2**32))


@settings(max_examples=300)
@given(cases())
def test_every_partition_is_sorted_disjoint_complete_and_repeatable(case: tuple[Sites, Ints, Ints | None, int]) -> None:
    sites, labels, natural, seed = case
    parts = partition(sites, labels, natural, rng(seed))
    assert len(parts) == sites.count
    for part in parts:
        assert part.dtype == np.int64
        assert part.size > 0
        assert np.all(np.diff(part) > 0)
    assert np.array_equal(np.sort(np.concatenate(parts)), np.arange(len(labels)))
    again = partition(sites, labels, natural, rng(seed))
    assert all(np.array_equal(one, two) for one, two in zip(parts, again, strict=True))


@settings(max_examples=300)
@given(cases(), st.integers(1, 6))
def test_the_images_of_a_patient_stay_together(case: tuple[Sites, Ints, Ints | None, int], most: int) -> None:
    sites, labels, natural, seed = case
    patients = rng(seed).permutation(np.arange(len(labels), dtype=np.int64) // most * 3)  # codes with gaps
    enough = sites.count * (sites.shards_per_site if sites.partition == "shards" else 1)
    if natural is None and len(np.unique(patients)) < enough:
        with pytest.raises(ConfigError):
            partition(sites, labels, natural, rng(seed), patients)
        return
    parts = partition(sites, labels, natural, rng(seed), patients)
    assert all(part.dtype == np.int64 and part.size and np.all(np.diff(part) > 0) for part in parts)
    assert np.array_equal(np.sort(np.concatenate(parts)), np.arange(len(labels)))
    if natural is None:
        owners = np.concatenate([np.unique(patients[part]) for part in parts])
        assert len(owners) == len(np.unique(patients))
    else:
        assert all(len(np.unique(natural[part])) == 1 for part in parts)


def test_patients_are_spread_as_images_are_by_the_label_of_the_first() -> None:
    patients = np.array([0, 0, 1, 2, 2, 3], dtype=np.int64)
    labels = np.array([0, 1, 1, 0, 1, 1], dtype=np.int64)
    parts = partition(Sites(count=2, partition="shards", shards_per_site=1), labels, None, rng(), patients)
    assert sorted(part.tolist() for part in parts) == [[0, 1, 3, 4], [2, 5]]


def test_more_sites_than_patients_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"^sites\.count: 3 sites are more than there are patients"):
        partition(Sites(count=3), np.zeros(9, np.int64), None, rng(), np.arange(9) % 2)


LABELS = np.repeat(np.arange(10, dtype=np.int64), 100)


@pytest.mark.parametrize("name", ["iid", "dirichlet", "shards", "size_skew"])
def test_the_seed_matters(name: str) -> None:
    one, two = (spread(LABELS, seed=seed, partition=name) for seed in (0, 1))
    assert any(not np.array_equal(a, b) for a, b in zip(one, two, strict=True))


def mixtures(parts: list[Ints]) -> np.ndarray:
    return np.stack([np.bincount(LABELS[part], minlength=10) / len(part) for part in parts])


def test_iid_sites_are_equal_in_size_and_mixture() -> None:
    parts = spread(LABELS, count=3, partition="iid")
    assert sorted(map(len, parts)) == [333, 333, 334]
    assert np.abs(mixtures(parts) - 0.1).max() < 0.06


def test_dirichlet_runs_from_one_class_to_the_overall_mixture() -> None:
    def skew(alpha: float) -> float:
        runs = [mixtures(spread(LABELS, count=10, partition="dirichlet", alpha=alpha, seed=s)) for s in range(10)]
        return float(np.mean([np.abs(run - 0.1).sum(axis=1).mean() / 2 for run in runs]))

    skews = [skew(alpha) for alpha in (1e-6, 0.1, 1.0, 1000.0)]
    assert skews == sorted(skews, reverse=True)
    assert skews[0] > 0.89  # one class a site
    assert skews[-1] < 0.15


def test_dirichlet_first_site_follows_its_draw() -> None:
    """E[q_k^2] = (alpha p_k + 1) p_k / (alpha + 1), for the site whose draw no other site has disturbed."""
    labels = np.repeat(np.arange(2, dtype=np.int64), 5000)
    shares = [labels[spread(labels, count=50, partition="dirichlet", alpha=1.0, seed=s)[0]].mean() for s in range(200)]
    assert abs(np.mean(shares) - 0.5) < 0.1
    assert abs(np.mean(np.square(shares)) - 0.375) < 0.1
    assert np.std(shares) > 0.25  # 0.354 in expectation; a mixture that ignores the draw has 0.035


def test_dirichlet_sizes_are_equal() -> None:
    sizes = [len(part) for part in spread(LABELS, count=7, partition="dirichlet", alpha=1e-9)]
    assert max(sizes) - min(sizes) <= 1


def test_shards_bound_the_classes_of_a_site() -> None:
    parts = spread(LABELS, count=5, partition="shards", shards_per_site=2)
    assert all(len(part) == 200 and len(np.unique(LABELS[part])) <= 2 for part in parts)


def test_too_many_shards_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"^sites\.shards_per_site: 3 for 4 sites") as caught:
        spread(LABELS[:11], count=4, partition="shards", shards_per_site=3)
    assert "11" not in str(caught.value)


def test_size_skew_falls_geometrically_from_first_to_last() -> None:
    sizes = np.array([len(part) for part in spread(np.zeros(100_000, np.int64), partition="size_skew", size_ratio=8.0)])
    np.testing.assert_allclose(sizes[:-1] / sizes[1:], 2.0, rtol=1e-3)
    assert len(spread(LABELS, count=1, partition="size_skew")[0]) == len(LABELS)


def test_size_skew_leaves_the_smallest_one_image() -> None:
    sizes = [len(part) for part in spread(LABELS[:20], count=5, partition="size_skew", size_ratio=1e6)]
    assert sizes == [16, 1, 1, 1, 1]


def test_natural_sites_keep_their_images() -> None:
    codes = np.array([7, 2, 7, 5], dtype=np.int64)
    parts = spread(np.zeros(4, np.int64), codes, count=3, partition="natural")
    assert [part.tolist() for part in parts] == [[1], [3], [0, 2]]
    with pytest.raises(ConfigError, match=r"^sites\.count: is 2, but the data comes from 3 sites"):
        spread(np.zeros(4, np.int64), codes, count=2, partition="natural")
    with pytest.raises(ConfigError, match=r"^sites\.partition: 'natural' needs data with a site column"):
        spread(np.zeros(4, np.int64), None, count=2, partition="natural")


@pytest.mark.parametrize("name", sorted(PARTITIONS))
def test_more_sites_than_images_are_refused_without_the_number_of_images(name: str) -> None:
    labels = np.zeros(37, np.int64)
    with pytest.raises(ConfigError, match=r"^sites\.count: 50 sites are more than there are records") as caught:
        spread(labels, labels, count=50, partition=name)
    assert "37" not in str(caught.value)


def test_an_unknown_partition_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"^sites\.partition: unknown value 'dirichlett'; did you mean 'dirichlet'\?"):
        spread(LABELS, partition="dirichlett")


def test_saved_partitions_are_the_same_bytes_and_read_back(tmp_path: Path) -> None:
    parts = spread(LABELS, count=4, partition="dirichlet")
    one, two = tmp_path / "one.npz", tmp_path / "two.npz"
    save(one, parts)
    save(two, parts)
    assert one.read_bytes() == two.read_bytes()
    for site, part in enumerate(parts):
        assert np.array_equal(load_positions(one, site), part)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one.npz", "two.npz"]


@pytest.mark.parametrize("step", [(np, "savez"), (os, "fsync"), (Path, "replace")])
def test_an_interrupted_save_leaves_the_old_partition(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: tuple[object, str]
) -> None:
    path = tmp_path / "parts.npz"
    save(path, [np.array([0, 1])])

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(*step, full)
    with pytest.raises(DataError, match=r"cannot be written \(No space left on device\)"):
        save(path, [np.array([5])])
    assert load_positions(path, 0).tolist() == [0, 1]
    assert [item.name for item in tmp_path.iterdir()] == ["parts.npz"]


def test_a_partition_needs_its_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be written"):
        save(tmp_path / "nowhere/parts.npz", [np.array([0])])
