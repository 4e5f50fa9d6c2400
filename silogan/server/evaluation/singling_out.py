"""Predicates that single out one synthetic row, and may single out one patient.

Source: M. Giomi et al. (2023), as in `server/evaluation/risks.py`, section 4.1.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from silogan.common.modality.table import Number, TableSchema
from silogan.server.evaluation.table_rows import Floats

_TRIES = 20  # for each predicate that is asked for


class Condition(NamedTuple):
    """What is said of one column.

    Attributes:
        column: its place.
        holds: "=", "<=", ">=" or "missing".
        value: what it is compared with; 0 if it is missing.
    """

    column: int
    holds: str
    value: float


Predicate = tuple[Condition, ...]
"""Conditions that must all hold."""


def predicates(schema: TableSchema, synthetic: Floats, columns: int, most: int, rng: Generator) -> list[Predicate]:
    """Different predicates that exactly one synthetic row meets, at most so many.

    Args:
        schema: of the rows.
        synthetic: float64[N, D].
        columns: how many columns a predicate speaks of. Of one column: its rare values and its ends. Of several: those
            of a random row, equal in a category, and at least as far from the median in a number.
        most: how many, at most.
        rng: of the order, the rows and the columns.
    """
    made = _rare(schema, synthetic, rng) if columns == 1 else _of_rows(schema, synthetic, columns, most, rng)
    found: dict[Predicate, None] = {}
    for predicate in made:
        if len(found) == most:
            break
        if predicate not in found and _count(predicate, synthetic) == 1:
            found[predicate] = None
    return list(found)


def count_single(tried: Iterable[Predicate], rows: Floats) -> int:
    """How many of the predicates exactly one of the rows float64[N, D] meets."""
    return sum(_count(predicate, rows) == 1 for predicate in tried)


def _rare(schema: TableSchema, synthetic: Floats, rng: Generator) -> list[Predicate]:
    found: list[Predicate] = []
    for place, column in enumerate(schema.columns):
        known = synthetic[:, place][~np.isnan(synthetic[:, place])]
        values, counts = np.unique(known, return_counts=True)
        found += [(Condition(place, "=", float(value)),) for value in values[counts == 1]]
        found.append((Condition(place, "missing", 0.0),))
        if isinstance(column, Number) and len(values):
            found += [(Condition(place, "<=", float(values[0])),), (Condition(place, ">=", float(values[-1])),)]
    return [found[place] for place in rng.permutation(len(found))]


def _of_rows(schema: TableSchema, synthetic: Floats, columns: int, most: int, rng: Generator) -> Iterator[Predicate]:
    middles = [float(np.median(of[~np.isnan(of)])) if not np.isnan(of).all() else 0.0 for of in synthetic.T]
    for _ in range(_TRIES * most):
        row = synthetic[rng.integers(len(synthetic))]
        chosen = np.sort(rng.permutation(len(schema.columns))[:columns])
        yield tuple(_of_value(schema, int(place), float(row[place]), middles[place]) for place in chosen)


def _of_value(schema: TableSchema, place: int, value: float, middle: float) -> Condition:
    if np.isnan(value):
        return Condition(place, "missing", 0.0)
    if isinstance(schema.columns[place], Number):
        return Condition(place, ">=" if value > middle else "<=", value)
    return Condition(place, "=", value)


def _count(predicate: Predicate, rows: Floats) -> int:
    met = np.ones(len(rows), bool)
    for condition in predicate:
        met &= _met(condition, rows[:, condition.column])
    return int(met.sum())


def _met(condition: Condition, values: Floats) -> NDArray[np.bool_]:
    match condition.holds:
        case "=":
            return values == condition.value
        case "<=":
            return values <= condition.value
        case ">=":
            return values >= condition.value
        case _:
            return np.isnan(values)
