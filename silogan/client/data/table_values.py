"""From the texts of a table's column to the numbers that its schema stores."""

import math
import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from silogan.common.errors import DataError
from silogan.common.modality.code_set import CodeSet
from silogan.common.modality.table import Category, Column, Number
from silogan.common.modality.table_file import days_of, spelled

Convert = Callable[[str], float]
"""The number of a text, NaN if it says that the value is missing.

Raises:
    Unreadable: the column has no such value.
"""

_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?", re.ASCII)


class Unreadable(Exception):  # noqa: N818  (it becomes a `DataError` where the file is known)
    """A text that is no value of its column; the text itself is in no message.

    Args:
        problem: what is wrong.
        hint: what to do about it.
    """

    def __init__(self, problem: str, hint: str) -> None:
        super().__init__(problem)
        self.problem, self.hint = problem, hint


def converted(texts: Sequence[str], convert: Convert) -> NDArray[np.float64]:
    """The numbers float64[N] of texts, each different text converted once.

    Raises:
        Unreadable: see `Convert`.
    """
    found = {text: convert(text) for text in dict.fromkeys(texts)}
    return np.fromiter(map(found.__getitem__, texts), np.float64, len(texts))


def converter(column: Column, missing: Sequence[str]) -> Convert:
    """How a column's texts are read; `missing` are spellings of a missing value in any column."""
    value = _of_category(column.spellings) if isinstance(column, Category) else _of_number(column)
    none = {"", *missing, *column.missing}

    def convert(text: str) -> float:
        written = spelled(text)
        if written not in none:
            return value(written)
        if not column.optional:
            raise Unreadable("has a missing value", "complete it, or set optional: true in the description")
        return math.nan

    return convert


Read = Callable[[Sequence[str]], NDArray[Any]]
"""A column of texts [N] as it is stored, one entry or row of an array for each.

Raises:
    Unreadable: see `Convert`.
"""


def reader(column: Column | CodeSet, missing: Sequence[str]) -> Read:
    """How a whole column is read: float64[N], or bool[N, codes] of a code set; `missing` as for `converter`."""
    if isinstance(column, CodeSet):
        return _of_code_set(column, {"", *missing, *column.missing})
    return partial(converted, convert=converter(column, missing))


def read_column(name: str, read: Read, texts: Sequence[str], thing: str) -> NDArray[Any]:
    """A column of texts as it is stored.

    Raises:
        DataError: it has a text that is not one of its values; `thing` is what an error calls the file.
    """
    try:
        return read(texts)
    except Unreadable as fault:
        raise DataError(f"column '{name}' of {thing}", fault.problem, fault.hint) from None


def class_converter(spellings: Sequence[Sequence[str]], missing: Sequence[str]) -> Convert:
    """How the texts of the label are read, into positions of the classes."""
    known = {text: float(label) for label, texts in enumerate(spellings) for text in texts}
    none = {"", *missing}

    def convert(text: str) -> float:
        written = spelled(text)
        if written in none:
            raise Unreadable("has a row without a label", "complete or remove such rows")
        if written not in known:
            raise Unreadable("has a value that is none of the classes", "correct it, or label.classes")
        return known[written]

    return convert


def _of_category(spellings: Sequence[Sequence[str]]) -> Convert:
    known = {text: float(position) for position, texts in enumerate(spellings) for text in texts}

    def convert(text: str) -> float:
        if text not in known:
            raise Unreadable("has a value that is not listed", "correct it, or list it under values or missing")
        return known[text]

    return convert


def _of_code_set(column: CodeSet, none: set[str]) -> Read:
    """The codes of each text; those that are left out are chosen by the row alone, as the bound of a row needs."""
    known = {code: place for place, code in enumerate(column.values)}

    def places(text: str) -> list[int]:
        codes = [] if text.strip() in none else [code.strip() for code in text.split(column.separator)]
        codes = [code for code in dict.fromkeys(codes) if code]
        if not column.drop and not known.keys() >= set(codes):
            raise Unreadable("has a code that is not listed", "correct it, list it under values, or set outside: drop")
        found = [known[code] for code in codes if code in known]
        if not column.drop and len(found) > column.most:
            hint = "correct it, raise most, or set outside: drop, which keeps the first codes of a row"
            raise Unreadable("has a row of more codes than most allows", hint)
        return found[: column.most]

    def read(texts: Sequence[str]) -> NDArray[np.bool_]:
        found = {text: places(text) for text in dict.fromkeys(texts)}
        rows = np.zeros((len(texts), len(column.values)), np.bool_)
        for row, text in enumerate(texts):
            rows[row, found[text]] = True
        return rows

    return read


def _of_number(column: Number) -> Convert:
    def convert(text: str) -> float:
        number = _date(text) if column.date else _number(text)
        if column.whole and not number.is_integer():
            raise Unreadable("has a value that is not a whole number", "correct it, or make the column numeric")
        if column.clamp:
            return min(max(number, column.low), column.high)
        if not column.low <= number <= column.high:
            hint = "correct it, list it under missing, or set outside: clamp"
            raise Unreadable("has a value outside of its range", hint)
        return number

    return convert


def _number(text: str) -> float:
    number = float(text) + 0.0 if _NUMBER.fullmatch(text) else math.inf  # -0 is 0
    if not math.isfinite(number):
        raise Unreadable("has a value that is not a number", "correct it, or list it under missing")
    return number


def _date(text: str) -> float:
    days = days_of(text)
    if days is None:
        raise Unreadable("has a value that is not a date as 2026-03-09", "correct it, or list it under missing")
    return float(days)
