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
        column: its place; codes are columns after the others, each 1 where it is there.
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
        synthetic: float64[N, D], the codes included (`Rows.with_codes`).
        columns: how many columns or code sets a predicate speaks of. Of one column: its rare values and its ends, or a
            rare code. Of several: those of a random row, equal in a category, at least as far from the median in a
            number, and with one of its codes, of which there may be none.
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
    codes = range(len(schema.columns), synthetic.shape[1])
    found += [(Condition(place, "=", 1.0),) for place in codes if synthetic[:, place].sum() == 1]
    return [found[place] for place in rng.permutation(len(found))]


def _of_rows(schema: TableSchema, synthetic: Floats, columns: int, most: int, rng: Generator) -> Iterator[Predicate]:
    of_columns = len(schema.columns)
    numbers = synthetic[:, :of_columns].T
    middles = [float(np.median(of[~np.isnan(of)])) if not np.isnan(of).all() else 0.0 for of in numbers]
    for _ in range(_TRIES * most):
        row = synthetic[rng.integers(len(synthetic))]
        chosen = np.sort(rng.permutation(of_columns + len(schema.code_sets))[:columns])
        of_values = [_of_value(schema, int(at), float(row[at]), middles[at]) for at in chosen if at < of_columns]
        of_codes = [_of_codes(schema, int(at) - of_columns, row, rng) for at in chosen if at >= of_columns]
        yield (*of_values, *(one for one in of_codes if one is not None))


def _of_value(schema: TableSchema, place: int, value: float, middle: float) -> Condition:
    if np.isnan(value):
        return Condition(place, "missing", 0.0)
    if isinstance(schema.columns[place], Number):
        return Condition(place, ">=" if value > middle else "<=", value)
    return Condition(place, "=", value)


def _of_codes(schema: TableSchema, code_set: int, row: Floats, rng: Generator) -> Condition | None:
    """One of the codes that a row has; None if it has none."""
    first, among = len(schema.columns), schema.code_places[code_set]
    there = np.flatnonzero(row[first + among.start : first + among.stop])
    return Condition(first + among.start + int(rng.choice(there)), "=", 1.0) if len(there) else None


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
