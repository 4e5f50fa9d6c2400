"""Rows that the schema forbids: there must be none among synthetic ones."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from silogan.common.modality.table import Category, Column, TableSchema
from silogan.server.evaluation.table_rows import Floats, Rows

_ROUNDING = 1e-6  # of a multiple of the resolution


def violations(schema: TableSchema, rows: Rows) -> dict[str, Any]:
    """How many rows break the schema: `rows`, `violating`, and `by_rule` for each column or combination that is broken.

    A value is out of its column's list, range or resolution, or missing where it must not be; a row has too many codes;
    or it has all values of a combination that is impossible.
    """
    broken = {
        f"values of {column.name}": ~_allowed(column, rows.values[:, place])
        for place, column in enumerate(schema.columns)
    }
    for one, places in zip(schema.code_sets, schema.code_places, strict=True):
        broken[f"number of codes of {one.name}"] = rows.codes[:, places].sum(axis=1) > one.most
    for combination in schema.impossible:
        broken[" and ".join(f"{name} = {value}" for name, value in combination)] = _matches(schema, rows, combination)
    by_rule = {rule: int(rows.sum()) for rule, rows in broken.items() if rows.any()}
    return {"rows": len(rows), "violating": int(np.any([*broken.values()], axis=0).sum()), "by_rule": by_rule}


def _allowed(column: Column, values: Floats) -> NDArray[np.bool_]:
    missing = np.isnan(values)
    known = np.where(missing, 0.0, values)
    if isinstance(column, Category):
        fits = (known >= 0) & (known < len(column.values)) & (known == np.floor(known))
    else:
        fits = (known >= column.low) & (known <= column.high)
        if column.resolution:
            steps = (known - column.low) / column.resolution
            fits &= np.abs(steps - np.round(steps)) < _ROUNDING
    return np.where(missing, column.optional, fits)


def _matches(schema: TableSchema, rows: Rows, combination: tuple[tuple[str, str], ...]) -> NDArray[np.bool_]:
    names = [column.name for column in schema.columns]
    found = np.ones(len(rows), bool)
    for name, value in combination:
        column = schema.column(name)
        assert isinstance(column, Category)  # noqa: S101  (the schema refuses another)
        found &= rows.values[:, names.index(name)] == column.values.index(value)
    return found
