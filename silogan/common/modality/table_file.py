"""The file that describes the columns of a table: public, short, and written by people.

label: {column: num, classes: {healthy: 0, diseased: [1, 2, 3, 4]}}
missing: ["?", -9]
columns:
  age: {type: integer, min: 20, max: 90, unit: years}
  sex: {type: binary, values: {female: 0, male: 1}}
  chol: {type: integer, min: 100, max: 600, edges: [200, 240], missing: [0], optional: true, outside: clamp}
"""

# pyright: reportIncompatibleVariableOverride=false
# Sections are frozen, so a narrower type of a key is safe.

import re
from abc import abstractmethod
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, ValidationError

from silogan.common.bounds import Name, Text
from silogan.common.errors import ConfigError
from silogan.common.modality.code_set import CodeSet
from silogan.common.modality.table import EPOCH, MOST_COLUMNS, MOST_VALUES, Category, Column, Number, TableSchema
from silogan.common.reading import one_line, parse, read_keys
from silogan.common.section import Section, shown, variant

_DECIMAL = re.compile(r"([-+]?)(\d*)\.(\d*?)0*", re.ASCII)
_DAY = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)


def spelled(value: Any) -> Any:
    """A value as files may write it: numbers lose their trailing zeros, so that 1, 1.0 and "1" are one spelling.

    Blanks around a text do not count. Zeros in front do: 007 is a text of its own.

    Raises:
        ValueError: it is true or false, which YAML makes of yes, no, on and off.
    """
    if isinstance(value, bool):
        raise ValueError(f"holds {str(value).lower()}, which YAML reads for yes, no, on and off (quote it)")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, int | float):
        value = format(Decimal(repr(value)), "f")
    if not isinstance(value, str):
        return value
    text = value.strip()
    found = _DECIMAL.fullmatch(text)
    if found is None or text.strip("+-") == ".":
        return text
    sign, whole, part = found.groups()
    return f"{sign}{whole or 0}{part and f'.{part}'}"


def days_of(text: str) -> int | None:
    """The days from 1970-01-01 to a date as 2026-03-09; None if the text is none."""
    try:
        return (date.fromisoformat(text) - EPOCH).days if _DAY.fullmatch(text) else None
    except ValueError:
        return None


def read_description(path: Path) -> TableSchema:
    """The schema that a file describes.

    Raises:
        ConfigError: the file is missing or not YAML, or a key or value is wrong.
    """
    whole = "description"
    values = read_keys(path, whole, "start from a draft: silogan data describe FILE.csv --draft")
    found = parse(_Description, values, whole)
    each = [_column(name, keys, whole) for name, keys in found.columns.items()]
    columns = tuple(column for column in each if not isinstance(column, CodeSet))
    if not columns:
        raise ConfigError("columns", "are code sets alone", "describe another column too, as age or sex")
    try:
        code_sets = tuple(column for column in each if isinstance(column, CodeSet))
        return TableSchema(columns=columns, code_sets=code_sets, **found.fields())
    except ValidationError as error:
        raise one_line(error, whole) from None


def _column(name: str, keys: dict[str, Any], whole: str) -> Column | CodeSet:
    """The column that such keys describe."""
    at = ("columns", name)
    if "type" not in keys:
        raise ConfigError(".".join((*at, "type")), "is missing", f"give one of {', '.join(_TYPES)}")
    try:
        options = variant(_TYPES, keys, section=".".join(at), tag="type", default="numeric")
        return options.column(name)
    except ValidationError as error:
        raise one_line(error, whole, at) from None


def _listed(value: Any) -> Any:
    """Spellings, of which there may be one alone."""
    return tuple(spelled(one) for one in value) if isinstance(value, list | tuple) else (spelled(value),)


def _named(value: Any) -> Any:
    """Pairs of a name and its spellings, of a list of names or a map of names to spellings.

    A name is a spelling too, if it is not one of another name.
    """
    if isinstance(value, list):
        return tuple((spelled(one), (spelled(one),)) for one in value)
    if not isinstance(value, dict):
        raise ValueError("is neither a list of values nor values with their spellings")
    pairs = [(spelled(name), _listed(texts)) for name, texts in value.items()]
    taken = [text for _, texts in pairs for text in texts]
    return tuple((name, texts if name in taken else (*texts, name)) for name, texts in pairs)


def _code(value: Any) -> Any:
    """A code, which YAML must not have read as a number: 250.00 and 250 are two codes, and 010 is one."""
    if not isinstance(value, str):
        raise ValueError(f"holds {shown(value)}, which YAML does not read as text (quote all codes)")
    return value


def _days(value: Any) -> Any:
    """A date, which YAML may have made of the text."""
    if isinstance(value, date) and not isinstance(value, datetime):
        return value.toordinal() - EPOCH.toordinal()
    found = days_of(value) if isinstance(value, str) else None
    if found is None:
        raise ValueError("is not a date as 2026-03-09")
    return found


_Spellings = Annotated[tuple[Name, ...], BeforeValidator(_listed), Field(max_length=MOST_VALUES)]
_Named = Annotated[
    tuple[tuple[Name, tuple[Name, ...]], ...], BeforeValidator(_named), Field(min_length=1, max_length=1000)
]
_Day = Annotated[int, BeforeValidator(_days)]
_Code = Annotated[str, BeforeValidator(_code)]


class _Options(Section):
    """The keys of every column."""

    type: str
    optional: bool = False
    missing: _Spellings = ()

    @abstractmethod
    def column(self, name: str) -> Column | CodeSet:
        """The column of this name."""


class _Range(_Options):
    """The keys of a column with a range."""

    outside: Literal["refuse", "clamp"] = "refuse"
    unit: Text = ""
    min: float
    max: float
    edges: Annotated[tuple[float, ...], Field(strict=False)] = ()
    resolution: float = 0.0
    dates: ClassVar[bool] = False

    def column(self, name: str) -> Column:
        return Number(
            type="number",
            name=name,
            low=self.min,
            high=self.max,
            resolution=self.resolution,
            edges=self.edges,
            unit=self.unit,
            date=self.dates,
            clamp=self.outside == "clamp",
            optional=self.optional,
            missing=self.missing,
        )


class _Numeric(_Range):
    type: Literal["numeric"]


class _Integer(_Range):
    type: Literal["integer"]
    min: int
    max: int
    edges: Annotated[tuple[int, ...], Field(strict=False)] = ()
    resolution: Annotated[int, Field(ge=1)] = 1


class _Date(_Range):
    type: Literal["date"]
    min: _Day
    max: _Day
    edges: Annotated[tuple[_Day, ...], Field(strict=False)] = ()
    resolution: Annotated[int, Field(ge=1)] = 1
    dates: ClassVar[bool] = True


class _Categorical(_Options):
    type: Literal["categorical"]
    values: _Named
    ordered: ClassVar[bool] = False

    def column(self, name: str) -> Column:
        return Category(
            type="category",
            name=name,
            values=tuple(value for value, _ in self.values),
            spellings=tuple(texts for _, texts in self.values),
            ordered=self.ordered,
            optional=self.optional,
            missing=self.missing,
        )


class _Ordinal(_Categorical):
    type: Literal["ordinal"]
    ordered: ClassVar[bool] = True


class _Binary(_Categorical):
    type: Literal["binary"]
    values: Annotated[_Named, Field(min_length=2, max_length=2)]


class _Codes(_Options):
    type: Literal["codes"]
    values: Annotated[tuple[_Code, ...], Field(strict=False)]
    most: int
    separator: str = "|"
    outside: Literal["refuse", "drop"] = "refuse"
    optional: Literal[False] = False

    def column(self, name: str) -> CodeSet:
        return CodeSet(
            type="codes",
            name=name,
            values=self.values,
            most=self.most,
            separator=self.separator,
            drop=self.outside == "drop",
            missing=self.missing,
        )


_TYPES: dict[str, type[_Options]] = {
    "numeric": _Numeric,
    "integer": _Integer,
    "ordinal": _Ordinal,
    "categorical": _Categorical,
    "binary": _Binary,
    "date": _Date,
    "codes": _Codes,
}


class _Label(Section):
    """The column that says the class."""

    column: Name
    classes: _Named


class _Description(Section):
    """The whole file; each column is read by its type."""

    label: _Label | None = None
    patient: Text = ""
    site: Text = ""
    missing: _Spellings = ()
    sensitive: Annotated[tuple[Name, ...], Field(strict=False)] = ()
    impossible: Annotated[
        tuple[dict[Name, Annotated[Name, BeforeValidator(spelled)]], ...], Field(max_length=256, strict=False)
    ] = ()
    columns: Annotated[dict[Name, dict[str, Any]], Field(min_length=1, max_length=MOST_COLUMNS)]

    def fields(self) -> dict[str, Any]:
        """All but the columns, as `TableSchema` has it."""
        classes = (("all", ()),) if self.label is None else self.label.classes
        return {
            "classes": tuple(name for name, _ in classes),
            "label": "" if self.label is None else self.label.column,
            "label_spellings": () if self.label is None else tuple(texts for _, texts in classes),
            "patient": self.patient,
            "site": self.site,
            "missing": self.missing,
            "sensitive": self.sensitive,
            "impossible": tuple(tuple(pairs.items()) for pairs in self.impossible),
        }
