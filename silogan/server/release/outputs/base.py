"""Output formats of one kind of record."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from silogan.common.modality import Stored
from silogan.common.modality.table_where import Where
from silogan.common.models.networks import Drawn
from silogan.server.release.about import About
from silogan.server.release.generator import ReleasedGenerator, together

Writer = Callable[[Path, Iterable[Drawn], About], None]
"""Writes synthetic records and their labels, which come in parts, to a path, with all that they must say of themselves.

Raises:
    UsageError: the format cannot hold them.
    OSError: the path cannot be written.
"""

WholeWriter = Callable[[Path, Stored, Tensor | None, About], None]
"""The same, of all records at once."""

Preview = Callable[[Stored, Tensor | None, ReleasedGenerator], bytes]
"""A PNG of a few synthetic records, with the generator's marks."""

Condition = Callable[[str, Any], Where]
"""Reads a condition on records of a schema of this kind.

Raises:
    UsageError: it is not one, or none of these records can meet it.
"""


@dataclass(frozen=True)
class Output:
    """Output formats of one kind of record.

    Attributes:
        formats: of `silogan generate`; the first is its default.
        preview: what a person looks at first.
        columns: records side by side in a preview that has no classes.
        rows: records of each class, or of each column without classes, in a preview.
        condition: reads the conditions that such records can be drawn under; None if there are none.
    """

    formats: Mapping[str, Writer]
    preview: Preview
    columns: int
    rows: int = 8
    condition: Condition | None = None


def whole(write: WholeWriter) -> Writer:
    """The writer of a format that needs all records at once."""

    def writer(out: Path, drawn: Iterable[Drawn], about: About) -> None:
        records, labels = together(drawn)
        write(out, records, labels, about)

    return writer
