"""Conditions on rows of a table, as text: `sex = F and age > 60 and chol is not missing`.

    condition  = test { "and" test }
    test       = name ( operator value | "in" "(" value { "," value } ")" | "is" [ "not" ] "missing" | "contains" code )
    operator   = "=" | "!=" | "<" | "<=" | ">" | ">="

Names and values that hold a blank, a comma, an operator or a keyword are quoted, by ' or ". A missing value meets
`is missing` and nothing else. The name of the label's column stands for the class. `contains` is for code sets alone.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from itertools import pairwise

from silogan.common.errors import UsageError
from silogan.common.modality.code_set import CodeSet
from silogan.common.modality.table import EPOCH, Category, Column, TableSchema, day_of
from silogan.common.modality.table_grid import Grid, grid_of
from silogan.common.modality.table_where import Wanted, Where
from silogan.common.registry import nearest
from silogan.common.section import shown

_LONGEST = 10_000
"""Characters of a condition."""

_TOKEN = re.compile(r"""\s*(?:'([^']*)'|"([^"]*)"|(<=|>=|!=|[=<>(),])|([^\s'"=<>!(),]+))""")
_OPERATORS = ("=", "!=", "<", "<=", ">", ">=")


def parse_where(text: str, schema: TableSchema) -> Where:
    """The rows of a schema that meet a condition.

    Raises:
        UsageError: it is not a condition, names what there is not, or no value of a column can meet it.
    """
    wanted: dict[str, Wanted] = {}
    words = _Words(text)
    columns, code_sets = _columns(schema), {one.name: one for one in schema.code_sets}
    codes: dict[str, tuple[int, ...]] = {}
    while True:
        name = words.text("a column")
        if name in code_sets:
            codes[name] = _codes(words, code_sets[name], codes.get(name, ()))
        elif name in columns:
            found = _test(words, columns[name])
            wanted[name] = wanted[name] & found if name in wanted else found
            if not wanted[name]:
                raise _error(f"no value of {shown(name)} meets what is asked of it", _range(columns[name]))
        else:
            raise _unknown(f"unknown column {shown(name)}", name, [*columns, *code_sets])
        if words.done:
            break
        words.keyword("and")
    of_label = wanted.pop(schema.label, None)
    classes = None if of_label is None else tuple(code for span in of_label.spans for code in range(*span))
    return Where(wanted, classes, codes)


@dataclass(frozen=True)
class _Token:
    """A word, and whether it can be a keyword or an operator."""

    text: str
    is_quoted: bool = False
    is_sign: bool = False


class _Words:
    """The tokens of a condition, taken one by one."""

    def __init__(self, text: str) -> None:
        if len(text) > _LONGEST:
            raise _error(f"has {len(text):,} characters, above {_LONGEST:,}", "ask for less")
        self._tokens, place, end = list[_Token](), 0, len(text.rstrip())
        while place < end:
            match = _TOKEN.match(text, place)
            if match is None:
                rest = text[place:end].lstrip()
                quoted = rest[:1] in ("'", '"')
                hint = "close the quote" if quoted else "quote names and values that hold signs"
                raise _error(f"cannot be read from {shown(rest)} on", hint)
            single, double, sign, bare = match.groups()
            quoted = single if single is not None else double
            self._tokens.append(_Token(sign or bare, is_sign=bool(sign)) if quoted is None else _Token(quoted, True))
            place = match.end()
        self._next = 0

    @property
    def done(self) -> bool:
        """Whether all tokens are taken."""
        return self._next == len(self._tokens)

    def text(self, what: str) -> str:
        """The next name or value."""
        token = self._take(what)
        if token.is_sign:
            raise _error(f"has {shown(token.text)} in the place of {what}", "quote names and values that hold signs")
        return token.text

    def sign(self, *known: str) -> str | None:
        """The next token if it is one of these signs or keywords; it stays where it is if not."""
        token = None if self.done else self._tokens[self._next]
        if token is None or token.is_quoted or token.text.lower() not in known:
            return None
        self._next += 1
        return token.text.lower()

    def keyword(self, *known: str) -> str:
        """The next token, one of these signs or keywords."""
        found = self.sign(*known)
        if found is None:
            what = " or ".join(known) if len(known) < 4 else f"{', '.join(known[:-1])} or {known[-1]}"
            token = self._take(what)
            raise _error(f"has {shown(token.text)} in the place of {what}", "quote names and values that hold blanks")
        return found

    def _take(self, what: str) -> _Token:
        if self.done:
            raise _error(f"ends where {what} should follow", "as in: sex = F and age > 60")
        self._next += 1
        return self._tokens[self._next - 1]


def _columns(schema: TableSchema) -> dict[str, Column]:
    """All columns by their names; the label is a category of classes."""
    known: dict[str, Column] = {column.name: column for column in schema.columns}
    if schema.label:
        empty = tuple(() for _ in schema.classes)
        known[schema.label] = Category("category", schema.label, schema.classes, empty)
    return known


def _test(words: _Words, column: Column) -> Wanted:
    """What one test wants of its column."""
    grid = grid_of(column)
    whole = Wanted(((0, grid.count),))
    operator = words.keyword(*_OPERATORS, "in", "is")
    if operator == "is":
        negated = words.sign("not") is not None
        words.keyword("missing")
        return whole if negated else Wanted((), missing=column.optional)
    if operator == "in":
        words.keyword("(")
        values = [words.text("a value")]
        while words.keyword(",", ")") == ",":
            values.append(words.text("a value"))
        equal = sorted({_equal(grid, value) for value in values})
        return Wanted(tuple(span for span in equal if span[0] < span[1]))
    value = words.text("a value")
    if operator in ("=", "!="):
        start, end = _equal(grid, value)
        return Wanted(_without_empty((start, end) if operator == "=" else (0, start, end, grid.count)))
    if isinstance(column, Category) and not column.ordered:
        raise _error(f"the values of {shown(column.name)} have no order", "use = or in (...)")
    bound = grid.first(_value(column, value), above=operator in (">", "<="))
    return Wanted(_without_empty((bound, grid.count) if operator in (">", ">=") else (0, bound)))


def _codes(words: _Words, of: CodeSet, before: tuple[int, ...]) -> tuple[int, ...]:
    """The codes that a set must contain, those that were asked for before included."""
    words.keyword("contains")
    code = words.text("a code")
    if code not in of.values:
        raise _unknown(f"{shown(of.name)} has no code {shown(code)}", code, of.values)
    found = tuple(sorted({*before, of.values.index(code)}))
    if len(found) > of.most:
        raise _error(f"no row has more than {of.most} codes in {shown(of.name)}", "ask for fewer")
    return found


def _equal(grid: Grid, text: str) -> tuple[int, int]:
    """The span of steps that have a value: one or none."""
    value = _value(grid.column, text)
    return grid.first(value), grid.first(value, above=True)


def _without_empty(ends: Sequence[int]) -> tuple[tuple[int, int], ...]:
    """The spans between every other two of these ends, those of no step left out."""
    return tuple(span for span in list(pairwise(ends))[::2] if span[0] < span[1])


def _value(column: Column, text: str) -> float:
    """The value that a text names; of a category its position."""
    if isinstance(column, Category):
        if text not in column.values:
            raise _unknown(f"{shown(column.name)} has no value {shown(text)}", text, column.values)
        return float(column.values.index(text))
    try:
        value = float((date.fromisoformat(text) - EPOCH).days if column.date else text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        hint = "write it as 2026-03-09" if column.date else "write it as 60 or 0.5"
        raise _error(f"{shown(text)} is not a {'date' if column.date else 'number'}", hint)
    return value


def _range(column: Column) -> str:
    """A hint on the values of a column."""
    if isinstance(column, Category):
        return f"use one of {', '.join(column.values)}"
    low, high = (day_of(end) if column.date else f"{end:g}" for end in (column.low, column.high))
    multiples = f", in steps of {column.resolution:g}" if column.resolution and not column.date else ""
    return f"its values lie from {low} to {high}{multiples}" + ("" if column.optional else ", none is missing")


def _unknown(problem: str, name: str, known: Sequence[str]) -> UsageError:
    close = nearest(name, known)
    return _error(problem, f"did you mean '{close}'?" if close else f"use one of {', '.join(known)}")


def _error(problem: str, hint: str) -> UsageError:
    return UsageError("--where", problem, hint)
