"""The file that describes the columns of a table: public, short, and written by people.

label: {column: num, classes: {healthy: [0], diseased: [1, 2, 3, 4]}}
missing: ["?", -9]
columns:
  age: {type: integer, min: 20, max: 90, unit: years}
  sex: {type: binary, values: {female: [0], male: [1]}}
  chol: {type: integer, min: 100, max: 600, edges: [200, 240], missing: [0], optional: true, outside: clamp}
"""

from datetime import date
from pathlib import Path
from typing import Any

from common.modality.table import TableSchema

_EPOCH = date(1970, 1, 1)


def spelled(value: Any) -> Any:
    """A value as files may write it: numbers lose their trailing zeros, so that 1, 1.0 and "1" are one spelling."""
    if isinstance(value, bool):
        raise ValueError(f"{value!r} may be meant as a text; quote it")
    if isinstance(value, int | float):
        return f"{value:g}" if float(value).is_integer() is False else str(int(value))
    return value.strip() if isinstance(value, str) else value


def read_description(path: Path) -> TableSchema:
    """The schema that a file describes.

    Raises:
        ConfigError: the file is missing or not YAML, or a key or value is wrong.
    """
    raise NotImplementedError
