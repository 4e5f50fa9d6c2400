"""Partitions of one data set over simulated hospitals, even and uneven like real federations.

A partition is a list of int64 arrays, one a site: sorted positions in the data set, disjoint, together all of it, and
none of them empty.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from silogan.client.data.positions import site_key
from silogan.common.config.scenario import Sites
from silogan.common.errors import ConfigError, DataError
from silogan.common.files import write_atomically, writing
from silogan.common.registry import lookup

Ints = NDArray[np.int64]


# One way to spread at least as many images as sites, by labels and natural sites: positions for each, in any order.
Partition = Callable[[Sites, Ints, Ints | None, Generator], list[Ints]]


def iid(sites: Sites, labels: Ints, _natural: Ints | None, rng: Generator) -> list[Ints]:
    """Equal shares, drawn at random."""
    return np.array_split(rng.permutation(len(labels)), sites.count)


def dirichlet(sites: Sites, labels: Ints, _natural: Ints | None, rng: Generator) -> list[Ints]:
    """Equal shares with a different mixture of classes at each site: q ~ Dirichlet(alpha p), p the overall mixture.

    A site draws its images from q without replacement; classes that have run out are left out of q. Since the sizes are
    fixed beforehand, no alpha leaves a site without images.

    Source: T. Hsu, H. Qi and M. Brown (2019), Measuring the effects of non-identical data distribution for federated
    visual classification, section 3.
    """
    _, classes, totals = np.unique(labels, return_inverse=True, return_counts=True)
    queues = [rng.permutation(np.flatnonzero(classes == label)) for label in range(len(totals))]
    concentration = np.maximum(sites.alpha * totals / len(labels), np.finfo(np.float64).tiny)
    left = totals.copy()
    parts: list[Ints] = []
    for size in _share_out(len(labels), np.ones(sites.count)):
        mixture = rng.dirichlet(concentration)
        take = np.zeros_like(left)
        # Each turn fills the site or uses up a class, so there are about as many turns as classes.
        while (missing := size - take.sum()) > 0:
            available = left > take
            if not mixture[available].sum() > 0:
                # What is left of q is too small for a float. Scaled to 1, it is a Dirichlet draw of its own.
                mixture[available] = rng.dirichlet(concentration[available])
            mixture = np.where(available, mixture, 0.0)
            mixture /= mixture.sum()
            take = np.minimum(take + rng.multinomial(missing, mixture), left)
        starts = totals - left
        pieces = [queue[start : start + n] for queue, start, n in zip(queues, starts, take, strict=True)]
        parts.append(np.concatenate(pieces))
        left -= take
    return parts


def shards(sites: Sites, labels: Ints, _natural: Ints | None, rng: Generator) -> list[Ints]:
    """Images sorted by label and cut into equal shards, of which each site gets `shards_per_site` at random.

    Source: H. B. McMahan et al. (2017), Communication-efficient learning of deep networks from decentralized data,
    section 3 ("pathological non-IID").
    """
    number = sites.count * sites.shards_per_site
    if number > len(labels):
        problem = f"{sites.shards_per_site} for {sites.count} sites makes more shards than there are units"
        raise ConfigError("sites.shards_per_site", problem, "use fewer shards or sites")
    shuffled = rng.permutation(len(labels))
    by_label = shuffled[np.argsort(labels[shuffled], kind="stable")]
    pieces = np.array_split(by_label, number)
    dealt = rng.permutation(number).reshape(sites.count, sites.shards_per_site)
    return [np.concatenate([pieces[shard] for shard in hand]) for hand in dealt]


def size_skew(sites: Sites, labels: Ints, _natural: Ints | None, rng: Generator) -> list[Ints]:
    """Random shares whose sizes fall geometrically: the first site is `size_ratio` times as large as the last."""
    weights = np.geomspace(1.0, 1.0 / sites.size_ratio, sites.count)
    sizes = _share_out(len(labels), weights)
    return np.split(rng.permutation(len(labels)), np.cumsum(sizes)[:-1])


def by_natural_site(sites: Sites, _labels: Ints, natural: Ints | None, _rng: Generator) -> list[Ints]:
    """The sites that the images came from, in the order of their codes."""
    if natural is None:
        problem = "'natural' needs data with a site column, which this data does not have"
        raise ConfigError("sites.partition", problem, "use another partition or add the column")
    codes = np.unique(natural)
    if len(codes) != sites.count:
        raise ConfigError(
            "sites.count", f"is {sites.count}, but the data comes from {len(codes)} sites", "use that number"
        )
    return [np.flatnonzero(natural == code) for code in codes]


PARTITIONS: dict[str, Partition] = {
    "iid": iid,
    "dirichlet": dirichlet,
    "shards": shards,
    "size_skew": size_skew,
    "natural": by_natural_site,
}


def partition(
    sites: Sites, labels: Ints, natural: Ints | None, rng: Generator, patients: Ints | None = None
) -> list[Ints]:
    """Spreads images over `sites.count` sites as `sites.partition` says; all images of a patient go to one site.

    Natural sites keep the images that they have: a patient seen at two of them is a unit of privacy at each.

    Args:
        sites: the scenario's `sites` section.
        labels: int64 [N], the class of each image.
        natural: int64 [N], the natural site of each image; None where the data has none.
        rng: all randomness; the same state gives the same partition.
        patients: int64 [N], the patient of each image, whose label is that of the first image; None where each image
            goes by itself.

    Returns:
        One int64 array a site: sorted positions in `labels`, disjoint, together all of them, none empty.

    Raises:
        ConfigError: there are more sites (or shards) than records or patients, or the partition is unknown or does not
            fit the data.
    """
    split = lookup(PARTITIONS, sites.partition, "sites.partition")
    if patients is None or split is by_natural_site:
        _check_enough(sites, len(labels), "records")
        return [np.sort(part).astype(np.int64, copy=False) for part in split(sites, labels, natural, rng)]
    _, first, unit = np.unique(patients, return_index=True, return_inverse=True)
    _check_enough(sites, len(first), "patients")
    site_of = np.empty(len(first), dtype=np.int64)
    for site, part in enumerate(split(sites, labels[first], None, rng)):
        site_of[part] = site
    return [np.flatnonzero(site_of[unit] == site) for site in range(sites.count)]


def save(path: Path, parts: list[Ints]) -> None:
    """Writes a partition to one `.npz` file, all of it or none: an interruption leaves what was there before.

    Raises:
        DataError: the file cannot be written.
    """
    arrays: dict[str, Any] = {site_key(site): part for site, part in enumerate(parts)}
    with writing(f"partition '{path}'", "check the folder and the space on it", DataError):
        write_atomically(path, lambda file: np.savez(file, **arrays))


def _check_enough(sites: Sites, units: int, name: str) -> None:
    if sites.count > units:
        raise ConfigError("sites.count", f"{sites.count} sites are more than there are {name}", "use fewer sites")


def _share_out(total: int, weights: NDArray[np.float64]) -> Ints:
    """Whole sizes, at least 1 each, that add up to `total` and are as near to the weights as largest remainders get."""
    exact = total * weights / weights.sum()
    sizes = np.floor(exact).astype(np.int64)
    remainders = np.argsort(sizes - exact, kind="stable")
    sizes[remainders[: total - sizes.sum()]] += 1
    for site in np.flatnonzero(sizes == 0):
        sizes[np.argmax(sizes)] -= 1
        sizes[site] = 1
    return sizes
