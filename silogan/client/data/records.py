"""What a reader returns: labelled records, held as they were stored until a batch needs them."""

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from silogan.common.modality import Schema

_BLOCK = 4096
"""Records whose content is put together at once."""


@dataclass(frozen=True, eq=False)
class Records:
    """Labelled records; what is stored takes less memory than floats, so a batch is encoded only when it is used.

    Attributes:
        stored: tensors [N, ...] by name, as the schema of the data set says.
        labels: int64 [N], positions in the schema's classes.
        sites: int64 [N], the public site that each record came from, as a position in `DataSet.site_names`; None where
            the data does not say.
        patients: int64 [N], a code for the patient of each record, without gaps from 0 as it was read; None where the
            data does not say, so that each record is a patient of its own.
        patient_names: the hospital's own name of each code, in the order of the codes; never leaves it. Two sites may
            have the same name for two patients.
    """

    stored: Mapping[str, Tensor]
    labels: Tensor
    sites: Tensor | None = None
    patients: Tensor | None = None
    patient_names: tuple[str, ...] | None = field(default=None, repr=False)

    def __len__(self) -> int:
        return len(self.labels)

    def select(self, indices: Tensor | NDArray[np.int64]) -> "Records":
        """A copy of the records at `indices` (int64 [M]), in that order."""
        index = torch.as_tensor(indices)
        return self._each(lambda part: part[index])

    def of_patients(self, names: Sequence[Hashable], *, by_site: bool = False) -> "Records":
        """The same records, with the name [N] of each record's patient; equal names are one patient.

        With `by_site` they are so within a site only, since hospitals number their patients on their own.
        """
        sites = [0] * len(names) if self.sites is None or not by_site else self.sites.tolist()
        told = list(zip(sites, names, strict=True))
        codes = {one: code for code, one in enumerate(dict.fromkeys(told))}
        patients = torch.tensor([codes[one] for one in told], dtype=torch.int64)
        return replace(self, patients=patients, patient_names=tuple(str(name) for _, name in codes))

    def of_one_hospital(self) -> "Records":
        """The same records as one hospital holds them: those under one name are of one patient, from whatever site."""
        alone = replace(self, sites=None)
        if self.patients is None or self.patient_names is None:
            return alone
        return alone.of_patients([self.patient_names[code] for code in self.patients.tolist()])

    def to(self, device: torch.device) -> "Records":
        """The same records on a device; no copy where they are there already."""
        return self._each(lambda part: part.to(device))

    def contents(self) -> Iterator[bytes]:
        """What is stored of each record, with its shape but without its label: equal where the records are."""
        return (shape + content for shape, content in self.parts())

    def parts(self) -> Iterator[tuple[bytes, bytes]]:
        """Shape and content of each record."""
        columns = [self.stored[name] for name in sorted(self.stored)]
        shape = "".join(f"{tuple(column.shape[1:])} " for column in columns).encode()
        for start in range(0, len(self), _BLOCK):
            blocks = [column[start : start + _BLOCK].numpy() for column in columns]
            rows = [np.ascontiguousarray(block).reshape(len(block), -1).view(np.uint8) for block in blocks]
            width = sum(part.shape[1] for part in rows)
            content = np.concatenate(rows, axis=1).tobytes()
            for end in range(width, len(content) + 1, width):
                yield shape, content[end - width : end]

    def _each(self, change: Callable[[Tensor], Tensor]) -> "Records":
        sites, patients = (None if codes is None else change(codes) for codes in (self.sites, self.patients))
        stored = {name: change(part) for name, part in self.stored.items()}
        return Records(stored, change(self.labels), sites, patients, self.patient_names)


@dataclass(frozen=True, eq=False)
class DataSet:
    """A data set: its public shape, and its two splits.

    Attributes:
        schema: of both splits.
        train: what the hospitals hold.
        test: held out, for evaluation only.
        site_names: names of the natural sites; None where the data has no site column.
    """

    schema: Schema
    train: Records
    test: Records
    site_names: tuple[str, ...] | None = None


Reader = Callable[[Any], DataSet]
"""Reads one kind of source as its options in the scenario's `data` section say.

Raises:
    ConfigError: an option is missing or does not fit the source.
    DataError: the data is missing, corrupt or not what the options say.
"""
