"""What a reader returns: images with their labels, held as bytes until a batch needs them."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from common.config.scenario import Data
from common.modality.image import ImageSchema


@dataclass(frozen=True, eq=False)
class Images:
    """Labelled images; bytes take a quarter of the memory of floats, so a batch is converted only when it is used.

    Attributes:
        pixels: uint8 [N, C, S, S], 0 black to 255 white.
        labels: int64 [N], positions in the schema's classes.
        sites: int64 [N], the public site that each image came from, as a position in `ImageData.site_names`; None where
            the data does not say.
        patients: int64 [N], a code for the patient of each image, without gaps from 0 as it was read; None where the
            data does not say, so that each image is a patient of its own.
        patient_names: the hospital's own name of each code, in the order of the codes; never leaves it.
    """

    pixels: Tensor
    labels: Tensor
    sites: Tensor | None = None
    patients: Tensor | None = None
    patient_names: tuple[str, ...] | None = field(default=None, repr=False)

    def __len__(self) -> int:
        return len(self.labels)

    def select(self, indices: Tensor | NDArray[np.int64]) -> "Images":
        """A copy of the images at `indices` (int64 [M]), in that order."""
        index = torch.as_tensor(indices)
        sites, patients = (None if codes is None else codes[index] for codes in (self.sites, self.patients))
        return Images(self.pixels[index], self.labels[index], sites, patients, self.patient_names)

    def of_patients(self, names: Sequence[Hashable]) -> "Images":
        """The same images, with the name [N] of each image's patient; equal names are one patient."""
        codes = {name: code for code, name in enumerate(dict.fromkeys(names))}
        patients = torch.tensor([codes[name] for name in names], dtype=torch.int64)
        return replace(self, patients=patients, patient_names=tuple(map(str, codes)))

    def to(self, device: torch.device) -> "Images":
        """The same images on a device; no copy where they are there already."""
        sites, patients = (None if codes is None else codes.to(device) for codes in (self.sites, self.patients))
        return Images(self.pixels.to(device), self.labels.to(device), sites, patients, self.patient_names)


@dataclass(frozen=True, eq=False)
class ImageData:
    """A data set: its public shape, and its two splits.

    Attributes:
        schema: size, channels and class names of both splits.
        train: what the hospitals hold.
        test: held out, for evaluation only.
        site_names: names of the natural sites; None where the data has no site column.
    """

    schema: ImageSchema
    train: Images
    test: Images
    site_names: tuple[str, ...] | None = None


class Reader(Protocol):
    """Reads one kind of source as the scenario's `data` section says."""

    def __call__(self, data: Data) -> ImageData:
        """The data set.

        Raises:
            ConfigError: a key of the `data` section is missing or does not fit the source.
            DataError: the data is missing, corrupt or not what the `data` section says.
        """
        ...


def to_unit_range(pixels: Tensor) -> Tensor:
    """Scales bytes by public constants, x / 127.5 - 1: uint8 [...] to float32 [...] in [-1, 1]."""
    return pixels.to(torch.float32).div(127.5).sub_(1.0)
