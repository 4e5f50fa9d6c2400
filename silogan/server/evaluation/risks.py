"""Attacks on patients by synthetic table rows: singling out, linking and inferring.

An attacker who has the synthetic rows alone (to single out), or also a part of a patient's columns (to link, to infer),
guesses about patients in the training data. The same guesses about held-out patients are the control: what succeeds
there is true of people in general. The excess of one over the other is what the rows give away about those in them.

These are attacks that were tried, and no guarantee: another attack may find more. The guarantee is ε.

Source: M. Giomi, F. Boenisch, C. Wehmeyer and B. Tasnádi (2023), A unified framework for quantifying privacy risk in
synthetic data, PoPETs 2023(2), sections 4 and 5. Attacks on training and held-out rows use equally many of both.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from math import sqrt
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from silogan.common.modality.table import Category, TableSchema
from silogan.server.evaluation.row_distances import per_code_set, per_column
from silogan.server.evaluation.singling_out import count_single, predicates
from silogan.server.evaluation.table_groups import label_name
from silogan.server.evaluation.table_rows import Floats, Ints, Rows

MOST_ATTACKED = 1000
"""Predicates, or patients of each kind, that an attack tries at most."""

MOST_ROWS = 10_000
"""Training, held-out and synthetic rows, at most, that attacks look at: drawn at random."""

NEIGHBOURS = 5
"""Synthetic rows near a patient in each half of the columns, among which one in common is a link."""

CLOSE = 0.05
"""Of a number's public range: a guess this near is right."""

_Z = 1.959964  # of a 95 % interval


@dataclass(frozen=True)
class Rate:
    """A share of successes with its 95 % Wilson interval (Wilson, 1927)."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, successes: int, attempts: int) -> "Rate":
        """The rate of at least one attempt."""
        share, square = successes / attempts, _Z**2 / attempts
        middle = (share + square / 2) / (1 + square)
        reach = _Z / (1 + square) * sqrt(share * (1 - share) / attempts + square / attempts / 4)
        return cls(share, max(0.0, min(share, middle - reach)), min(1.0, max(share, middle + reach)))


def excess(attack: Rate, control: Rate) -> Rate | None:
    """The share of what fails in the control that succeeds in the attack, (a - c) / (1 - c) from 0 to 1.

    The interval follows from the half-widths of the two rates, as in Giomi et al. None if the control always succeeds.
    """
    if control.value == 1:
        return None
    left = 1 - control.value
    found = (attack.value - control.value) / left
    errors = ((rate.high - rate.low) / 2 for rate in (attack, control))
    weights = (1 / left, (1 - attack.value) / left**2)
    reach = sqrt(sum((error * weight) ** 2 for error, weight in zip(errors, weights, strict=True)))
    return Rate(*(min(1.0, max(0.0, value)) for value in (found, found - reach, found + reach)))


def risks(schema: TableSchema, synthetic: Rows, train: Rows, test: Rows, seed: int) -> list[dict[str, Any]]:
    """Each attack's `name`, `attempts`, the rates `attack`, `control` and `excess`, and the `reason` if there is none.

    Args:
        schema: of all rows.
        synthetic: rows that the attacker has.
        train: real rows of which they are made.
        test: held-out real rows.
        seed: of the rows that are drawn, and of the attacks.
    """
    targets = min(len(train), len(test), MOST_ROWS)
    members, control = train.drawn(targets, seed), test.drawn(targets, seed)
    synthetic = synthetic.drawn(MOST_ROWS, seed)
    found: list[dict[str, Any]] = []
    for name, columns in (("singling out, one column", 1), ("singling out, several columns", 3)):
        tried = predicates(schema, synthetic.with_codes[:targets], columns, MOST_ATTACKED, np.random.default_rng(seed))
        hits = [count_single(tried, rows.with_codes) for rows in (members, control)]
        found.append(_told(name, len(tried), hits[0], hits[1], "no predicate singles out one synthetic row"))
    members, control = (rows.at(np.arange(min(targets, MOST_ATTACKED))) for rows in (members, control))
    near = [_Near(schema, synthetic, rows, np.random.default_rng(seed)) for rows in (members, control)]
    linked = [one.linked() for one in near]
    reason = "there are too few columns" if _parts(schema) < 2 else "there are too few synthetic rows"
    attempts = len(members) if _parts(schema) > 1 and len(synthetic) > NEIGHBOURS else 0
    found.append(_told("linking two halves of the columns", attempts, linked[0], linked[1], reason))
    for secret in _secrets(schema, synthetic):
        guessed = [one.guessed(secret) for one in near]
        found.append(_told(f"inferring {secret}", len(members), guessed[0], guessed[1], ""))
    return found


def _parts(schema: TableSchema) -> int:
    """Number of columns and code sets that an attacker may know."""
    return len(schema.columns) + len(schema.code_sets)


def _secrets(schema: TableSchema, synthetic: Rows) -> list[str]:
    """Columns to infer from all others: the sensitive ones and the label."""
    sensitive = [name for name in schema.sensitive if _parts(schema) > 1]
    return [*sensitive, *([label_name(schema)] if schema.num_classes > 1 and synthetic.labels is not None else [])]


def _told(name: str, attempts: int, hits: int, control_hits: int, reason: str) -> dict[str, Any]:
    if attempts == 0:
        return {"name": name, "attempts": 0, "attack": None, "control": None, "excess": None, "reason": reason}
    attack, control = Rate.of(hits, attempts), Rate.of(control_hits, attempts)
    more = excess(attack, control)
    rates = {"attack": asdict(attack), "control": asdict(control), "excess": asdict(more) if more else None}
    return {"name": name, "attempts": attempts, **rates, "reason": None if more else "the control always succeeds"}


class _Near:
    """The synthetic rows near some patients."""

    def __init__(self, schema: TableSchema, synthetic: Rows, patients: Rows, rng: Generator) -> None:
        self._schema, self._synthetic, self._patients, self._rng = schema, synthetic, patients, rng

    def linked(self) -> int:
        """How many patients have a synthetic row that is near in one half of the columns and in the other."""
        parts = _parts(self._schema)
        if parts < 2 or len(self._synthetic) <= NEIGHBOURS:
            return 0
        halves = np.array_split(self._rng.permutation(np.arange(parts)), 2)
        first, second = (self._nearest(half, NEIGHBOURS) for half in halves)
        return int((first[:, :, None] == second[:, None, :]).any(axis=(1, 2)).sum())

    def guessed(self, secret: str) -> int:
        """Of how many patients the nearest synthetic row, by all other columns, tells the secret."""
        names = [column.name for column in self._schema.columns]
        every = (*names, *(one.name for one in self._schema.code_sets))
        known = np.array([place for place, name in enumerate(every) if name != secret])
        nearest = self._nearest(known, 1)[:, 0]
        if secret not in names:
            return int((self._synthetic.known_labels[nearest] == self._patients.known_labels).sum())
        place = names.index(secret)
        guess, truth = self._synthetic.values[nearest, place], self._patients.values[:, place]
        return int((self._alike(place)(guess, truth) | (np.isnan(guess) & np.isnan(truth))).sum())

    def _alike(self, place: int) -> Callable[[Floats, Floats], NDArray[np.bool_]]:
        column = self._schema.columns[place]
        if isinstance(column, Category):
            return lambda guess, truth: guess == truth
        return lambda guess, truth: abs(guess - truth) <= CLOSE * (column.high - column.low)

    def _nearest(self, places: Ints, count: int) -> Ints:
        """The nearest synthetic rows int64[N, count] of each patient, equal ones in random order.

        Args:
            places: of the columns and code sets that are compared, the columns first.
            count: how many.
        """
        distances = np.zeros((len(self._patients), len(self._synthetic)), np.float32)
        for place in places:
            distances += self._apart(int(place))
        distances += self._rng.uniform(0, 1e-4, distances.shape[1]).astype(np.float32)
        return np.argpartition(distances, count - 1, axis=1)[:, :count]

    def _apart(self, place: int) -> NDArray[np.float32]:
        """Distances float32[N, M] of patients and synthetic rows in one column or code set."""
        code_set = place - len(self._schema.columns)
        if code_set < 0:
            own = self._patients.values[:, place], self._synthetic.values[:, place]
            return per_column(self._schema.columns[place], *own)
        codes = self._schema.code_places[code_set]
        return per_code_set(self._patients.codes[:, codes], self._synthetic.codes[:, codes])
