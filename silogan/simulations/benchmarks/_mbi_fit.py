"""Fits models of mbi to a release and draws rows of them: run by the Python of an environment that has mbi.

    python _mbi_fit.py RELEASE.npz MODEL ROWS OUT.npz

It knows nothing of SiloGAN, and mbi nothing of this environment: both sides write arrays.
"""

import sys
import time
from importlib import import_module
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

LABEL = "label"
MODEL_SIZE = 1.0
"""MiB of a graphical model's tables, at most."""

_TOTALS = 1e-6  # least variance of a count


def main(release: Path, model: str, rows: int, out: Path) -> None:
    """Writes the groups int64[rows, columns] and labels int64[rows] of synthetic rows, and the seconds of the fit."""
    jax = import_module("jax")
    jax.config.update("jax_enable_x64", True)
    jax.config.update("jax_enable_compilation_cache", False)  # both as mbi asks for
    mbi = import_module("mbi")
    begin = time.perf_counter()
    with np.load(release) as arrays:
        told = Release({name: arrays[name] for name in arrays.files})
    domain = mbi.Domain([LABEL, *map(str, range(told.columns))], [told.classes, *told.sizes])
    fitted = {"graphical": _graphical, "mixture": _mixture}[model](mbi, domain, told)
    drawn = fitted.synthetic_data(rows=rows)
    seconds = time.perf_counter() - begin
    columns = [np.asarray(drawn.data[str(column)]) for column in range(told.columns)]
    np.savez(out, groups=np.stack(columns, axis=1), labels=np.asarray(drawn.data[LABEL]), seconds=seconds)


class Release:
    """Noisy counts, class by class.

    Attributes:
        classes, columns: how many there are.
        sizes: groups of each column.
        total: of all rows.
    """

    def __init__(self, arrays: dict[str, Any]) -> None:
        self._starts: list[int] = arrays["starts"].tolist()
        self._counts, self._variance, self._pairs = arrays["counts"], arrays["variance"], arrays["pairs"]
        self.pair_variance = max(float(arrays["pairs_noise"]) ** 2, _TOTALS)
        self.classes, self.columns = len(self._counts), len(self._starts) - 1
        self.sizes = np.diff(self._starts).tolist()
        self.total = float(self._counts.sum() / self.columns)

    def alone(self, column: int, known: set[tuple[int, int]]) -> tuple[Floats, Floats]:
        """Counts float64[classes, groups] of a column, and their variance float64[groups].

        Sums of pairs count as well, weighted by what is known, but for those pairs that are in the model themselves.
        """
        part = self._part(column)
        weight = 1 / np.maximum(self._variance[part], _TOTALS)
        counts = self._counts[:, part] * weight
        for other in range(self.columns):
            if other != column and (min(column, other), max(column, other)) not in known:
                of_pairs = 1 / (self.pair_variance * self.sizes[other])
                counts, weight = counts + self.pair(column, other).sum(axis=2) * of_pairs, weight + of_pairs
        return counts / weight, 1 / weight

    def pair(self, one: int, other: int) -> Floats:
        """Counts float64[classes, groups of one, groups of the other]."""
        if one > other:
            return self.pair(other, one).transpose(0, 2, 1)
        return self._pairs[:, self._part(one), self._part(other)]

    def _part(self, column: int) -> slice:
        return slice(self._starts[column], self._starts[column + 1])


def _graphical(mbi: Any, domain: Any, told: Release) -> Any:
    """Private-PGM (McKenna, Sheldon and Miklau, 2019) on the pairs that matter most and fit in a model of some size.

    How much a pair matters is what AIM asks (McKenna et al., 2022): its distance from what its columns say alone,
    beyond that of its noise.
    """
    scores: dict[tuple[int, int], float] = {}
    for pair in combinations(range(told.columns), 2):
        one, other = (_shares(told.alone(column, set())[0]) for column in pair)
        rows = told.alone(pair[0], set())[0].clip(0).sum(axis=1)
        found = told.pair(*pair)
        apart = np.abs(found - rows[:, None, None] * one[:, :, None] * other[:, None, :]).sum()
        scores[pair] = float(apart - np.sqrt(2 / np.pi * told.pair_variance) * found.size)
    known: set[tuple[int, int]] = set()
    alone = [(LABEL, str(column)) for column in range(told.columns)]
    for pair in sorted(scores, key=lambda pair: -scores[pair]):
        if scores[pair] > 0:
            cliques = [*alone, *((LABEL, str(one), str(other)) for one, other in known | {pair})]
            if mbi.junction_tree.hypothetical_model_size(domain, cliques) <= MODEL_SIZE:
                known.add(pair)
    return mbi.estimation.MirrorDescent().estimate(domain, _measurements(mbi, told, known), known_total=told.total)


def _mixture(mbi: Any, domain: Any, told: Release) -> Any:
    """A mixture of products, fitted to all pairs by mbi's own estimator (after Aydore et al., 2021)."""
    estimator = mbi.extensions.mixture_of_products.MixtureOfProductsEstimator(
        optimizer=import_module("optax").adam(0.1)
    )
    known = {*combinations(range(told.columns), 2)}
    return estimator.estimate(domain, _measurements(mbi, told, known), known_total=told.total)


def _measurements(mbi: Any, told: Release, known: set[tuple[int, int]]) -> list[Any]:
    found: list[Any] = []
    for column in range(told.columns):
        counts, variance = told.alone(column, known)
        weights = np.broadcast_to(variance**-0.5, counts.shape).flatten()
        query = mbi.WeightedQuery(weights)
        found.append(mbi.LinearMeasurement(counts.flatten() * weights, (LABEL, str(column)), 1.0, query))
    for one, other in sorted(known):
        counts = told.pair(one, other).flatten()
        clique = (LABEL, str(one), str(other))
        found.append(mbi.LinearMeasurement(counts, clique, told.pair_variance**0.5))
    return found


def _shares(counts: Floats) -> Floats:
    positive = counts.clip(1e-3)
    return positive / positive.sum(axis=1, keepdims=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), Path(sys.argv[4]))
