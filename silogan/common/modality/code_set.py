"""A column of a table that holds a set of codes in each row, as diagnoses or drugs, from a public list of them."""

from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from silogan.common.bounds import STRICT, Name

if TYPE_CHECKING:
    from torch import Tensor

MOST_CODES, MOST_IN_ROW = 512, 64
"""Of all code sets of a table together, and in a row of one of them."""


@dataclass(frozen=True, config=STRICT)
class CodeSet:
    """A column of sets of codes; an empty text is the empty set, so that none is missing.

    Attributes:
        name: as in the header of the hospitals' files.
        values: the codes, as files write them.
        most: how many codes a row has at most.
        separator: the sign between two codes in a file.
        drop: whether codes beyond `values`, and those after the first `most` of a row, are left out; else they are
            refused.
        missing: how else files write that there is no code.
    """

    type: Literal["codes"]
    name: Name
    values: Annotated[tuple[Name, ...], Field(min_length=1, max_length=MOST_CODES, strict=False)]
    most: Annotated[int, Field(ge=1, le=MOST_IN_ROW)]
    separator: Annotated[str, Field(min_length=1, max_length=1)] = "|"
    drop: bool = False
    missing: Annotated[tuple[Name, ...], Field(max_length=MOST_CODES, strict=False)] = ()

    @model_validator(mode="after")
    def _codes_are_told_apart(self) -> Self:
        if not self.separator.isprintable():
            raise ValueError("has a separator that cannot be printed")
        if self.most > len(self.values):
            raise ValueError(f"may have {self.most} codes in a row, but lists {len(self.values)}")
        if len(set(self.values)) < len(self.values):
            raise ValueError("has the same code twice")
        for code in self.values:
            if self.separator in code or code != code.strip():
                raise ValueError(f"has a code that holds its separator, or blanks around it, '{code}'")
        if spelled := set(self.values).intersection(self.missing):
            raise ValueError(f"spells a code and a missing value alike, '{min(spelled)}'")
        return self

    def kept(self, present: "Tensor") -> "Tensor":
        """Which codes of rows bool[N, codes] count, bool[N, codes]: of a row with more than `most` the first."""
        return present & (present.cumsum(dim=1) <= self.most)
