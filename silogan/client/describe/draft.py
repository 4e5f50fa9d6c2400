"""Drafts the description of a table's columns, for a person to correct.

Privacy:
    Values and ranges of the draft were read from data. It says so in its first line, and is for the hospital alone.
"""

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from silogan.common.errors import DataError, UsageError
from silogan.common.modality.table import EPOCH, MOST_COLUMNS, MOST_STEPS
from silogan.common.modality.table_file import days_of, spelled
from silogan.common.printable import printable
from silogan.common.registry import nearest
from silogan.common.rows_file import read_blocks, read_header
from silogan.common.yaml_text import write_yaml

FIRST_LINE = (
    "# NOT PRIVATE: these bounds and values were read from data. Replace them by public ones before you use the file."
)
MOST_LISTED = 30
"""Different values of a column that is drafted as a list of them."""

_NO_VALUE = ("?", "NA", "N/A", "n/a", "NaN", "nan", "NULL", "null", "None", ".")
_PATIENT = re.compile(r"(patient|subject|person)([ _-]?(id|no|number|code))?|mrn|pid", re.IGNORECASE)
_LABEL = re.compile(r"label|class|target|outcome|diagnosis", re.IGNORECASE)
_SITE = re.compile(r"(site|hospital|cent(re|er)|clinic)([ _-]?(id|no|number|code|name))?", re.IGNORECASE)
_NUMBER = re.compile(r"-?\d{1,15}(\.\d{1,9})?", re.ASCII)


def draft(path: Path) -> str:
    """The description of a CSV or Parquet file, as YAML; see `look`."""
    return look([path]).written()


def look(paths: Sequence[Path]) -> "Draft":
    """What is seen of the columns that all files have, in the order of the first.

    Types are guessed. Values are listed where there are at most 30, ranges are rounded outwards, and what cannot be
    described is left out with a comment that says why.

    Raises:
        DataError: a file cannot be read, or has too many columns; or the files have no column in common.
        UsageError: a file is Parquet, and pyarrow is not installed.
    """
    things = {path: f"table '{path.stem}'" for path in paths}
    headers = [[name for name in read_header(path, thing) if name] for path, thing in things.items()]
    shared = set[str].intersection(*map(set, headers))
    names = [name for name in headers[0] if name in shared]
    if not names:
        raise DataError(things[paths[0]], "has no column that the others have", "give files with the same header")
    if len(names) > MOST_COLUMNS:
        problem = f"has more than {MOST_COLUMNS} columns"
        raise DataError(things[paths[0]], problem, "export those that a study needs")
    columns = [_Seen() for _ in names]
    for path, thing in things.items():
        for block in read_blocks(path, names, thing):
            for column, texts in zip(columns, block, strict=True):
                column.add(texts)
    return Draft(dict(zip(names, columns, strict=True)))


@dataclass(frozen=True)
class Draft:
    """What was seen of a table.

    Attributes:
        columns: each by its name, in the order of the file.
    """

    columns: dict[str, "_Seen"]

    @property
    def label(self) -> str | None:
        """The column that is called as labels are; None if none is."""
        return next((name for name in self.columns if _LABEL.fullmatch(name)), None)

    @property
    def site(self) -> str | None:
        """The column that is called as hospitals are, if it names at least two of them; else None."""
        named = (name for name, column in self.columns.items() if _SITE.fullmatch(name) and len(column.listed()) > 1)
        return next(named, None)

    @property
    def patient(self) -> str | None:
        """The column that is called as patients' numbers are; None if none is."""
        return next((name for name in self.columns if _PATIENT.fullmatch(name)), None)

    def classes(self, label: str) -> list[Any]:
        """The values of a column that is to be predicted.

        Raises:
            UsageError: there is no such column, or it cannot be one.
        """
        if label not in self.columns:
            close = nearest(label, self.columns)
            hint = f"did you mean '{close}'?" if close else "name a column of the table"
            raise UsageError(f"--label {label}", "is not a column of the table", hint)
        column = self.columns[label]
        values = column.listed() if _is_name(label) else []
        if not values:
            problem = f"has not at most {MOST_LISTED} values, so they are no classes"
            raise UsageError(f"--label {label}", problem, "name a column of few values")
        if column.none:
            raise UsageError(f"--label {label}", "is missing in some rows", "complete or remove such rows")
        return values

    def written(self, label: str | None = None, site: str | None = None) -> str:
        """The description as YAML.

        Args:
            label: the column to be predicted, whose values are the classes; to be named later if None.
            site: the column that says which hospital a row is from.

        Raises:
            UsageError: the label is not such a column.
        """
        lines = [FIRST_LINE]
        head: dict[str, Any] = {}
        if label is None:
            lines.append("# Name the column to be predicted, and remove it from `columns`:")
            lines.append("# label: {column: NAME, classes: {healthy: 0, diseased: [1, 2]}}")
        else:
            head["label"] = {"column": label, "classes": self.classes(label)}
        patient = None if self.patient == label else self.patient
        if patient is None:
            lines.append(
                "# If a patient may have several rows, name the column that says whose a row is: patient: NAME"
            )
        head |= {key: name for key, name in (("patient", patient), ("site", site)) if name is not None}
        missing = [text for text in _NO_VALUE if any(text in column.none for column in self.columns.values())]
        head |= {"missing": missing} if missing else {}
        described: dict[str, Any] = {}
        for name, column in self.columns.items():
            keys = column.described() if _is_name(name) else None
            if name in (label, patient, site):
                continue
            if keys is not None:
                described[name] = keys
                continue
            why = "different texts; if a category or codes, list its values" if column.values else "no values"
            lines.append(f"# left out: {printable(name[:100])} ({why})")
        return "\n".join(lines) + "\n" + write_yaml(head | {"columns": described}, compact=True)


@dataclass
class _Seen:
    """What was seen of a column.

    Attributes:
        values: different values, up to one more than are listed.
        none: how it was written that a value is missing; "" where it was left out.
        texts, numbers, dates: whether there were texts, numbers or dates.
        low, high: the range of numbers, or of dates in days.
        digits: most digits after a number's point.
    """

    values: dict[str, None] = field(default_factory=dict[str, None])
    none: set[str] = field(default_factory=set[str])
    texts: bool = False
    numbers: bool = False
    dates: bool = False
    low: float = math.inf
    high: float = -math.inf
    digits: int = 0

    def add(self, texts: Iterable[str]) -> None:
        """Sees more rows."""
        for text in dict.fromkeys(texts):
            written: str = spelled(text)
            if not written or written in _NO_VALUE:
                self.none.add(written)
                continue
            if len(self.values) <= MOST_LISTED:
                self.values[written] = None
            self._measure(written)

    def _measure(self, written: str) -> None:
        days = days_of(written)
        if days is not None:
            self.dates, value = True, float(days)
        elif _NUMBER.fullmatch(written):
            self.numbers, value = True, float(written)
            self.digits = max(self.digits, len(written.partition(".")[2]))
        else:
            self.texts = True
            return
        self.low, self.high = min(self.low, value), max(self.high, value)

    def described(self) -> dict[str, Any] | None:
        """The keys of the column; None if it cannot be described."""
        kinds = self.texts + self.numbers + self.dates
        if kinds == 1 and self.dates:
            keys = self._dates()
        elif listed := self.listed():
            keys = self._category(listed)
        elif len(self.values) <= MOST_LISTED:
            keys = None
        elif kinds == 1 and self.numbers:
            keys = self._range()
        else:
            keys = None
        return keys if keys is None or not self.none else keys | {"optional": True}

    def listed(self) -> list[Any]:
        """The values in their order; none where they are too many, or cannot be named."""
        if len(self.values) > MOST_LISTED or not all(_is_name(value) for value in self.values):
            return []
        values = sorted(self.values, key=float) if self._ordered else sorted(self.values)
        return [int(value) if _is_whole(value) else value for value in values]

    @property
    def _ordered(self) -> bool:
        return self.numbers and not self.texts and not self.dates

    def _category(self, values: list[Any]) -> dict[str, Any]:
        kind = "binary" if len(values) == 2 else "ordinal" if self._ordered else "categorical"
        return {"type": kind, "values": values}

    def _range(self) -> dict[str, Any]:
        """Whole numbers, or others of up to three digits after the point, are multiples of their last digit."""
        fine = 10.0**-self.digits
        step = max(10.0 ** math.floor(math.log10(self.high - self.low)) / 2, fine)
        low, high = math.floor(self.low / step), math.ceil(self.high / step)
        ends = {"min": _tidy(low * step), "max": _tidy(high * step)}
        if self.digits > 3 or (high - low) * step / fine > MOST_STEPS:
            return {"type": "numeric", **ends}
        if self.digits:
            return {"type": "numeric", **ends, "resolution": _tidy(fine)}
        return {"type": "integer", **{key: round(value) for key, value in ends.items()}}

    def _dates(self) -> dict[str, Any]:
        first, last = (EPOCH.fromordinal(int(days) + EPOCH.toordinal()).year for days in (self.low, self.high))
        return {"type": "date", "min": f"{first:04}-01-01", "max": f"{min(last, 9998):04}-12-31"}


def _tidy(value: float) -> float:
    """Without the last digits, which are those of rounding."""
    return float(f"{value:.12g}")


def _is_whole(text: str) -> bool:
    return re.fullmatch(r"0|-?[1-9]\d{0,14}", text, re.ASCII) is not None


def _is_name(text: str) -> bool:
    return len(text) <= 100 and text.isprintable()
