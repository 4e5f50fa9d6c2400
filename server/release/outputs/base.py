"""Output formats of one kind of record."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from common.modality import Stored
from server.release.generator import ReleasedGenerator

Writer = Callable[[Path, Stored, Tensor | None, ReleasedGenerator], None]
"""Writes synthetic records and their labels int64[N] to a path, with the generator's marks.

Raises:
    UsageError: the format cannot hold them.
    OSError: the path cannot be written.
"""

Preview = Callable[[Stored, Tensor | None, ReleasedGenerator], bytes]
"""A PNG of a few synthetic records, with the generator's marks."""


@dataclass(frozen=True)
class Output:
    """Output formats of one kind of record.

    Attributes:
        formats: of `silogan generate`; the first is its default.
        preview: what a person looks at first.
        columns: records side by side in a preview that has no classes.
    """

    formats: Mapping[str, Writer]
    preview: Preview
    columns: int
