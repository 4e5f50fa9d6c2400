"""Drafts the description of a CSV file's columns, for a person to correct.

Privacy:
    Values and ranges of the draft were read from data. It says so in its first line, and is for the hospital alone.
"""

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from silogan.common.csv_file import read_blocks, read_header
from silogan.common.errors import DataError
from silogan.common.modality.table import EPOCH, MOST_COLUMNS, MOST_STEPS
from silogan.common.modality.table_file import days_of, spelled
from silogan.common.printable import printable
from silogan.common.yaml_text import write_yaml

FIRST_LINE = (
    "# NOT PRIVATE: these bounds and values were read from data. Replace them by public ones before you use the file."
)
MOST_LISTED = 30
"""Different values of a column that is drafted as a list of them."""

_NO_VALUE = ("?", "NA", "N/A", "n/a", "NaN", "nan", "NULL", "null", "None", ".")
_PATIENT = re.compile(r"(patient|subject|person)([ _-]?(id|no|number|code))?|mrn|pid", re.IGNORECASE)
_NUMBER = re.compile(r"-?\d{1,15}(\.\d{1,9})?", re.ASCII)


def draft(path: Path) -> str:
    """The description of a CSV file, as YAML.

    Types are guessed. Values are listed where there are at most 30, ranges are rounded outwards, and what cannot be
    described is left out with a comment that says why.

    Raises:
        DataError: the file cannot be read as CSV, or has too many columns.
    """
    thing = f"table '{path.stem}'"
    names = [name for name in read_header(path, thing) if name]
    if len(names) > MOST_COLUMNS:
        raise DataError(thing, f"has more than {MOST_COLUMNS} columns", "export those that a study needs")
    columns = [_Seen() for _ in names]
    for block in read_blocks(path, names, thing):
        for column, texts in zip(columns, block, strict=True):
            column.add(texts)
    return _written(dict(zip(names, columns, strict=True)))


def _written(columns: dict[str, "_Seen"]) -> str:
    patient = next((name for name in columns if _PATIENT.fullmatch(name)), None)
    missing = [text for text in _NO_VALUE if any(text in column.none for column in columns.values())]
    head: dict[str, Any] = ({} if patient is None else {"patient": patient}) | ({"missing": missing} if missing else {})
    lines = [
        FIRST_LINE,
        "# Name the column to be predicted, and remove it from `columns`:",
        "# label: {column: NAME, classes: {healthy: 0, diseased: [1, 2]}}",
    ]
    if patient is None:
        lines.append("# If a patient may have several rows, name the column that says whose a row is: patient: NAME")
    described: dict[str, Any] = {}
    for name, column in columns.items():
        keys = column.described() if _is_name(name) else None
        if keys is not None and name != patient:
            described[name] = keys
        elif name != patient:
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
        elif self.values and len(self.values) <= MOST_LISTED:
            keys = self._listed()
        elif kinds == 1 and self.numbers:
            keys = self._range()
        else:
            keys = None
        return keys if keys is None or not self.none else keys | {"optional": True}

    def _listed(self) -> dict[str, Any] | None:
        if not all(_is_name(value) for value in self.values):
            return None
        ordered = self.numbers and not self.texts and not self.dates
        values = sorted(self.values, key=float) if ordered else sorted(self.values)
        kind = "binary" if len(values) == 2 else "ordinal" if ordered else "categorical"
        return {"type": kind, "values": [int(value) if _is_whole(value) else value for value in values]}

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
