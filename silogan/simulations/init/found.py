"""What is public of data that was looked at."""

from dataclasses import dataclass, field
from typing import Any

from silogan.client.describe.draft import Draft


@dataclass(frozen=True)
class Found:
    """The structure of data: nothing of it is a patient's value or a count of patients.

    Attributes:
        source: what reads it.
        keys: more of a scenario's data section that follows from it.
        described: the data in a few words.
        sites: number of hospitals that the data names; None if it names none.
        classes: names of the class folders, to be confirmed as public; () where the source or a description has them.
        asks_classes: whether the class names are known to nobody but the user.
        asks_size: whether images must be resized.
        asks_fit: whether images are not square.
        asks_window: whether images have values that only a window makes visible.
        asks_slices: whether there are volumes.
        draft: what was seen of a table's columns.
        remarks: what a comment of the scenario says of the data.
    """

    source: str
    described: str
    keys: dict[str, Any] = field(default_factory=dict[str, Any])
    sites: int | None = None
    classes: tuple[str, ...] = ()
    asks_classes: bool = False
    asks_size: bool = False
    asks_fit: bool = False
    asks_window: bool = False
    asks_slices: bool = False
    draft: Draft | None = None
    remarks: tuple[str, ...] = ()
