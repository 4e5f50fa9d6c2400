"""Which codes of a released mixture occur together, as a graph that says what is above the noise.

In a component codes are independent. So of rows of a mixture with the chances π_k of its components, a share of
Σ_k π_k q_ka has code a and Σ_k π_k q_ka q_kb has a and b, without drawing a row.

An edge is above the noise if its two codes occur together more or less often than independent ones by more than
chance shows in any pair: by √(2 ln P) standard deviations for P pairs, which the largest of P numbers from N(0, 1)
hardly exceeds (Donoho and Johnstone, 1994). What varies is the noise of all hospitals in the count of a pair, as the
plan says, and the number of rows that have both, as of a Poisson count. Where pairs of codes were not counted no
edge is above it.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from silogan.common.errors import UsageError
from silogan.common.modality.table import TableSchema
from silogan.common.modality.table_options import Mixture
from silogan.common.models.networks.mixture import MixtureOfProducts
from silogan.common.privacy.plan import PAIRS
from silogan.common.privacy.statistics.pairs import noise_of_pairs
from silogan.common.wire.study import Study
from silogan.server.release.generator import ReleasedGenerator

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class CodeGraph:
    """Codes as nodes, and all pairs of them as edges.

    Attributes:
        codes: of each node its code set and itself.
        frequencies: float64[codes], shares of rows.
        first, second: int64[pairs], the nodes of each edge, the first below the second.
        together: float64[pairs], shares of rows with both.
        noise: float64[pairs], standard deviation of `together`.
        above: bool[pairs], whether the edge is above the noise.
    """

    codes: tuple[tuple[str, str], ...]
    frequencies: Floats
    first: Integers
    second: Integers
    together: Floats
    noise: Floats
    above: NDArray[np.bool_]

    @property
    def lift(self) -> Floats:
        """How many times as often as independent codes the two occur together, float64[pairs]."""
        return self.together / self._if_independent

    @property
    def _if_independent(self) -> Floats:
        return np.maximum(self.frequencies[self.first] * self.frequencies[self.second], np.finfo(np.float64).tiny)


def code_graph(generator: ReleasedGenerator, study: Study) -> CodeGraph:
    """The graph of a released generator.

    Args:
        generator: a mixture of a table with code sets.
        study: of its run; its noise is taken to be that of all hospitals.

    Raises:
        UsageError: there are no code sets.

    Privacy:
        Post-processing of the released weights and of the public study.
    """
    network, schema, model = generator.network, study.schema, study.scenario.model
    if (
        not isinstance(network, MixtureOfProducts)
        or not isinstance(schema, TableSchema)
        or not isinstance(model, Mixture)
        or network.codes is None
    ):
        raise UsageError("graph", "needs a run of a table with code sets", "describe a column of type codes")
    chances, codes = network.chances.double().numpy(), network.codes.double().numpy()
    frequencies, both = chances @ codes, (codes * chances[:, None]).T @ codes
    first, second = np.triu_indices(len(frequencies), 1)
    together = both[first, second]
    noise = _noise(study, model, schema, together)
    excess = np.abs(together - frequencies[first] * frequencies[second])
    above = (excess > math.sqrt(2 * math.log(max(2, len(first)))) * noise) & (model.code_pairs is True)
    names = tuple((one.name, code) for one in schema.code_sets for code in one.values)
    return CodeGraph(names, frequencies, first, second, together, noise, above)


def _noise(study: Study, model: Mixture, schema: TableSchema, together: Floats) -> Floats:
    """Standard deviation float64[pairs] of a pair's share of the rows."""
    phase, by_class = study.plan.find(PAIRS), model.classes_apart
    columns, slots = len(schema.columns) + (not by_class), schema.num_classes if by_class else 1
    of_total = 0.0 if phase is None else phase.noise_multiplier * math.sqrt(len(study.sites) * slots)
    rows = sum(site.declared_size for site in study.sites)
    of_pairs = noise_of_pairs(of_total, columns, schema.most_codes, code_pairs=True)
    return np.sqrt(of_pairs**2 + rows * together) / rows
