"""The interface of every family of networks."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from silogan.common.errors import UsageError
from silogan.common.modality.base import Schema, Stored
from silogan.common.modality.table_where import Where

_CLASSIFIED_AT_ONCE = 1000

Classify = Callable[[Tensor], Tensor | None]
"""Logits float[B, classes] of encoded records float[B, *shape]; None if there is no classifier."""


class Drawn(NamedTuple):
    """Synthetic records as they are kept, and their labels int64[N]; None of a generator without classes."""

    records: Stored
    labels: Tensor | None


class Sampler(ABC):
    """Draws records of a generator.

    Attributes:
        chunk: how many at once; memory grows with it, and it is part of what a seed determines.
    """

    chunk: int

    @abstractmethod
    def draw(self, count: int, rng: torch.Generator, labels: Tensor | None = None) -> Drawn:
        """Draws at most `chunk` records.

        Args:
            count: how many.
            rng: on the CPU; the only source of randomness.
            labels: int64[count], of the classes asked for; None where nobody asks.
        """


class Generator(nn.Module, ABC):
    """Turns noise into encoded records.

    Attributes:
        latent_dim: length of one noise vector, to be drawn from N(0, I).
        conditional: whether the record depends on the label.
        draws: False where no records are drawn at all, and only `classify` is of use.
        knows_frequencies: whether classes are as frequent as among real records where nobody asks for one.
    """

    latent_dim: int
    conditional: bool
    draws: bool = True
    knows_frequencies: bool = False

    @abstractmethod
    def forward(self, z: Tensor, labels: Tensor | None) -> Tensor:
        """Records for noise and labels.

        Args:
            z: float[B, latent_dim].
            labels: int64[B] in [0, classes); ignored, and may be None, unless `conditional`.

        Returns:
            float[B, *shape] of the schema.

        Raises:
            ValueError: labels are None though the generator is conditional.
        """

    def classify(self, records: Tensor) -> Tensor | None:  # noqa: ARG002
        """Logits float[B, classes] of records, by a classifier that the generator holds as well; else None."""
        return None

    def baselines(self) -> Mapping[str, Classify]:
        """Simpler classifiers that the generator holds beside `classify`, by name: what that must beat."""
        return {}

    def draw(self, count: int, classes: int, rng: torch.Generator) -> tuple[Tensor, Tensor | None]:
        """`count` records of random noise and classes, and their labels; None if it is unconditional."""
        z = torch.randn(count, self.latent_dim, generator=rng, device=rng.device)
        labels = uniform_labels(count, classes, rng) if self.conditional else None
        return self(z, labels), labels

    def sampler(self, schema: Any, where: Where | None = None) -> Sampler:
        """Draws records as they are kept, and of those alone that meet a condition.

        Args:
            schema: what the generator was built for.
            where: the condition; none if None.

        Raises:
            UsageError: the generator knows no conditions, or no record of it meets this one.
        """
        if where is not None:
            raise UsageError("--where", "needs a generator that is a mixture", "leave it out")
        return _NetworkSampler(self, schema)


def classified(classify: Classify | None, schema: Schema, records: Stored) -> Tensor | None:
    """Logits float[N, classes] of records as they are kept, some at a time; None if there is no classifier.

    Args:
        classify: see `Generator.classify`; None if there is none.
        schema: of the records.
        records: N of them, at least 1.
    """
    if classify is None:
        return None
    count, parts = len(next(iter(records.values()))), list[Tensor]()
    for start in range(0, count, _CLASSIFIED_AT_ONCE):
        part = {name: column[start : start + _CLASSIFIED_AT_ONCE] for name, column in records.items()}
        logits = classify(schema.encode(part))
        if logits is None:
            return None
        parts.append(logits)
    return torch.cat(parts)


class _NetworkSampler(Sampler):
    """Decodes what a network makes of noise; its classes are evenly spread where nobody asks."""

    chunk = 512

    def __init__(self, network: Generator, schema: Schema) -> None:
        self._network, self._schema = network, schema

    def draw(self, count: int, rng: torch.Generator, labels: Tensor | None = None) -> Drawn:
        """See `Sampler.draw`."""
        z = torch.randn(count, self._network.latent_dim, generator=rng)
        if labels is None and self._network.conditional:
            labels = torch.arange(count) % self._schema.num_classes
        return Drawn(self._schema.decode(self._network(z, labels)), labels)


class Discriminator(nn.Module, ABC):
    """Scores encoded records: large where it takes them for real.

    Parameters sit in leaf layers only, and each such layer runs exactly once in a forward pass: a private engine
    attributes what a layer saw and what came back to it to single patients (`common/models/networks/supported.py`).

    Attributes:
        conditional: whether the score depends on the label.
    """

    conditional: bool

    @abstractmethod
    def forward(self, records: Tensor, labels: Tensor | None) -> Tensor:
        """Logits of records and labels; the sigmoid belongs to the loss.

        Args:
            records: float[B, *shape] of the schema.
            labels: int64[B] in [0, classes); ignored, and may be None, unless `conditional`.

        Returns:
            float[B], unbounded; float[B, 2] where it names classes too, with the logit of the label beside.

        Raises:
            ValueError: labels are None though the discriminator is conditional.
        """


class GAN(NamedTuple):
    """A generator and the discriminator that teaches it."""

    generator: Generator
    discriminator: Discriminator


Family = Callable[[Any, Any], tuple[Generator, Discriminator]]
"""Builds both networks from the family's options and a schema of its kind of record.

Raises:
    ConfigError: it has none for that schema.
"""


def uniform_labels(count: int, classes: int, rng: torch.Generator) -> Tensor:
    """Labels int64[count], each of the classes as likely, on the device of `rng`."""
    return torch.randint(classes, (count,), generator=rng, device=rng.device)
