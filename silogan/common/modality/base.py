"""A kind of record: its public schema, its data sources, and the networks that can generate it.

A batch of records is always one float tensor; only the schema knows what stands in it. The options of sources and
families are here and not beside `client/data` and `common/models/networks`: the coordinator has no client, and a reader
who reads a scenario need not wait for torch.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, NamedTuple, Protocol, Self, cast

from pydantic import Field

from silogan.common.bounds import Classes
from silogan.common.section import Section

if TYPE_CHECKING:  # it takes seconds to import, for which those who only read a schema need not wait
    from torch import Tensor

Stored = Mapping[str, "Tensor"]
"""Records as they are kept, one tensor [N, ...] a part: an image's pixels, or the columns of a table."""


class Features(Protocol):
    """The features of records that a warm start releases.

    Attributes:
        dimensions: d.
    """

    dimensions: int

    def of(self, batch: "Tensor") -> "Tensor":
        """Features float32[N, d] of encoded records, each of its record alone, with norms below 1."""
        ...

    def back(self, features: "Tensor") -> "Tensor":
        """Encoded records float32[N, *shape] with these features float[N, d], as far as the features determine them."""
        ...


class Schema(ABC):
    """The public shape of records, from public constants or the scenario, never from the data.

    Attributes:
        kind: its name in `KINDS`.
        noun: the word for such records, in the plural.
        classes: one name per label; label i is `classes[i]`.
    """

    kind: ClassVar[str]
    noun: ClassVar[str]
    classes: tuple[str, ...]

    @property
    @abstractmethod
    def shape(self) -> tuple[int, ...]:
        """Of one encoded record."""

    @abstractmethod
    def encode(self, stored: Stored) -> "Tensor":
        """Stored records as float32[N, *shape], each by itself and by public constants alone."""

    @abstractmethod
    def decode(self, batch: "Tensor") -> Stored:
        """The inverse: of any batch float32[N, *shape], records that satisfy the schema."""

    def possible(self, stored: Stored) -> "Tensor | None":  # noqa: ARG002
        """Whether records are such as can be, bool[N]; None where all records are that the schema can hold."""
        return None

    @abstractmethod
    def features(self, *, frequencies: int, largest_norm: float) -> Features:
        """The features for a warm start with these settings (`silogan.common.config.scenario.WarmStart`)."""

    @abstractmethod
    def describe(self) -> str:
        """In words, as "images of 8x8 pixels, grey"."""

    def difference(self, other: "Schema") -> str:
        """What another schema says otherwise, as "size, classes"; empty if nothing."""
        if other.kind != self.kind:
            return "kind"
        names = [field.name for field in fields(cast(Any, self))]
        return ", ".join(name for name in names if getattr(self, name) != getattr(other, name))

    @property
    def num_classes(self) -> int:
        """Number of labels."""
        return len(self.classes)

    def with_classes(self, classes: tuple[str, ...]) -> Self:
        """The same records under other labels."""
        return cast(Self, replace(cast(Any, self), classes=classes))

    def to_plain(self) -> dict[str, Any]:
        """As `run.yaml`, a register and a generator's file hold it."""
        return {"kind": self.kind, **asdict(cast(Any, self)), "classes": list(self.classes)}


class Data(Section):
    """Which records the hospitals hold: what may be said of every source (`client/data`)."""

    simulates: ClassVar[str] = ""
    """the option that says how many records a simulated patient has, where there is one"""

    source: str
    root: Path | None = Field(default=None, strict=False)
    """folder or file with the data; not needed for embedded data"""

    classes: Classes | None = None
    """public class names, where the source has no class names of its own"""

    test_fraction: Annotated[float, Field(ge=0, lt=1)] = 0.2
    """share held out for testing, where the data has no test split; 0 only at hospitals, which test nothing"""

    @abstractmethod
    def declared_schema(self) -> Schema:
        """What these options alone say of the records: a coordinator has none to look at.

        Raises:
            ConfigError: they leave something open.
        """

    def described(self, registered: Schema) -> Schema:
        """The schema of data that was `registered`, as public descriptions give it now, without a look at a record."""
        return registered

    @property
    def simulated_per_patient(self) -> int:
        """Records per simulated patient; 1 where patients are not simulated."""
        return getattr(self, self.simulates) if self.simulates else 1

    @property
    def names_patients(self) -> bool:
        """Whether these options alone say that several records may be one patient's."""
        return self.simulated_per_patient > 1

    def places(self) -> dict[str, Path]:
        """Every named file or folder, by its key."""
        return {key: value for key, value in self if isinstance(value, Path)}


class Model(Section):
    """Options of generator and discriminator that every family has (`common/models/networks`)."""

    fitted: ClassVar[bool] = False
    """whether the server fits it to releases, and nothing is trained"""

    family: str
    latent_dim: Annotated[int, Field(ge=1, le=4096)] = 64

    def released(self) -> "Model":
        """The same options as a released generator's file states them: without the folders of one's own machine."""
        return self

    def drawn(self, schema: Schema, sites: Sequence[str]) -> Schema:  # noqa: ARG002
        """The schema of what is drawn, where hospitals of these names hold records of `schema`.

        Raises:
            ConfigError: what these options add to a record does not fit it.
        """
        return schema

    def credit(self) -> str | None:
        """In one line, what drawn records owe to public ones; None if nothing."""
        return None


class Kind(NamedTuple):
    """A kind of record: its schema, and the options of its sources and families by their names."""

    schema: type[Schema]
    sources: dict[str, type[Data]]
    families: dict[str, type[Model]]
