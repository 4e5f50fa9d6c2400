"""Rows of a table: columns with a public range or a public list of values, and any of them may be missing.

A column is cut into cells: one for each value of a category, and intervals of a number's public range. A record is
encoded as one block a column: which cell it is in, and where in the cell a number lies.
"""

from collections.abc import Iterable
from dataclasses import replace
from datetime import date, timedelta
from functools import cached_property
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self, cast

from pydantic import BeforeValidator, Field, model_validator
from pydantic.dataclasses import dataclass

from silogan.common.bounds import STRICT, Name, Text
from silogan.common.modality.base import Features, Schema, Stored
from silogan.common.modality.code_set import MOST_CODES, CodeSet

if TYPE_CHECKING:
    from torch import Tensor

MOST_COLUMNS, MOST_VALUES, MOST_CELLS = 256, 512, 4096
"""Of a table, of a category, and of all columns of a table together."""

MOST_CODE_SETS = 16
"""Of a table."""

NUMBER_CELLS = 64
"""Into which the range of a number is cut where its edges are not given."""

MOST_STEPS = 2**22
"""Multiples of the resolution in a range: more cannot be told apart within a cell in float32."""

_MOST_NAMED = 3
"""Columns in an error."""

LARGEST_NUMBER = 1e15
"""Of a column, in absolute value."""

_Finite = Annotated[float, Field(ge=-LARGEST_NUMBER, le=LARGEST_NUMBER, allow_inf_nan=False)]
_Spellings = Annotated[tuple[Name, ...], Field(max_length=MOST_VALUES, strict=False)]


@dataclass(frozen=True, config=STRICT)
class Category:
    """A column with a public list of values.

    Attributes:
        name: as in the header of the hospitals' files.
        values: the names of the values.
        spellings: for each value, how files write it.
        ordered: whether the values rise from the first to the last.
        optional: whether a value may be missing.
        missing: how files write that a value is missing, beyond leaving it out.
    """

    type: Literal["category"]
    name: Name
    values: Annotated[tuple[Name, ...], Field(min_length=1, max_length=MOST_VALUES, strict=False)]
    spellings: Annotated[tuple[_Spellings, ...], Field(max_length=MOST_VALUES, strict=False)]
    ordered: bool = False
    optional: bool = False
    missing: _Spellings = ()

    @model_validator(mode="after")
    def _spellings_are_told_apart(self) -> Self:
        if len(set(self.values)) < len(self.values):
            raise ValueError("has the same value twice")
        if len(self.spellings) != len(self.values):
            raise ValueError("has not one list of spellings for each value")
        _refuse_repeated([*self.missing, *(one for each in self.spellings for one in each)])
        return self

    @property
    def known_cells(self) -> int:
        """Number of cells for values that are not missing."""
        return len(self.values)

    @property
    def positions(self) -> int:
        """Numbers of a block that say where in its cell a value lies: none."""
        return 0

    def cell_names(self) -> tuple[str, ...]:
        """The cells in words."""
        return self.values

    def located(self, values: "Tensor") -> "tuple[Tensor, Tensor]":
        """The cell int64[N] of values float64[N] without missing ones, and where in it they lie, float64[N]."""
        import torch  # noqa: PLC0415

        return values.long().clamp(0, self.known_cells - 1), torch.zeros_like(values)

    def placed(self, cells: "Tensor", positions: "Tensor") -> "Tensor":  # noqa: ARG002
        """The inverse: values float64[N] of cells int64[N] and positions float64[N] in [0, 1]."""
        return cells.double()


@dataclass(frozen=True, config=STRICT)
class Number:
    """A column of numbers, or of dates, with a public range.

    Attributes:
        name: as in the header of the hospitals' files.
        low, high: the range, both included; of a date the days since 1970-01-01.
        resolution: values are multiples of it, counted from `low`; 0 for any number.
        edges: inner edges of the cells, rising; equal parts of the range if there are none.
        unit: of the values, in words.
        date: whether files write dates, as 2026-03-09.
        clamp: whether values outside of the range are moved to its ends; else they are refused.
        optional: whether a value may be missing.
        missing: how files write that a value is missing, beyond leaving it out.
    """

    type: Literal["number"]
    name: Name
    low: _Finite
    high: _Finite
    resolution: Annotated[float, Field(ge=0, le=LARGEST_NUMBER)] = 0.0
    edges: Annotated[tuple[_Finite, ...], Field(max_length=MOST_VALUES, strict=False)] = ()
    unit: Text = ""
    date: bool = False
    clamp: bool = False
    optional: bool = False
    missing: _Spellings = ()

    @model_validator(mode="after")
    def _range_is_one(self) -> Self:
        if not self.low < self.high:
            raise ValueError("has no range: its lowest value is not below its highest")
        if self.resolution:
            self._check_resolution()
        if self.date and not (self.whole and self.low >= FIRST_DAY and self.high <= LAST_DAY):
            raise ValueError("is of dates, which are whole days of the years 1 to 9998")
        if any(b <= a for a, b in zip(self.ends, self.ends[1:], strict=False)):
            raise ValueError("has edges that do not rise within its range")
        _refuse_repeated(self.missing)
        return self

    def _check_resolution(self) -> None:
        """Whole numbers of multiples lie between lowest value, edges and highest value."""
        if self.resolution > (self.high - self.low) * (1 + 1e-6):
            raise ValueError("has a resolution wider than its range")
        if (self.high - self.low) / self.resolution > MOST_STEPS:
            raise ValueError(f"has a resolution finer than 1/{MOST_STEPS} of its range")
        for what, value in (*(("an edge", edge) for edge in self.edges), ("a highest value", self.high)):
            steps = (value - self.low) / self.resolution
            if abs(steps - round(steps)) > 1e-6:
                raise ValueError(f"has {what} that is not a multiple of its resolution, counted from the lowest value")

    @property
    def whole(self) -> bool:
        """Whether all values are whole numbers."""
        return self.resolution >= 1 and self.resolution.is_integer() and self.low.is_integer()

    @cached_property
    def ends(self) -> tuple[float, ...]:
        """The ends of all cells; the last one lies beyond the highest value where values are multiples."""
        top = self.high + self.resolution
        if self.edges:
            return (self.low, *self.edges, top)
        steps = round((top - self.low) / self.resolution) if self.resolution else NUMBER_CELLS
        cells = min(steps, NUMBER_CELLS)
        # of whole multiples, so that no cell has more room than values
        parts = [steps * cell // cells / steps for cell in range(1, cells)]
        return (self.low, *(self.low + (top - self.low) * part for part in parts), top)

    @property
    def known_cells(self) -> int:
        """Number of cells for values that are not missing."""
        return len(self.ends) - 1

    @property
    def positions(self) -> int:
        """Numbers of a block that say where in its cell a value lies."""
        return 1

    def cell_names(self) -> tuple[str, ...]:
        """The cells in words."""
        shown = day_of if self.date else "{:g}".format
        return tuple(f"{shown(a)} to {shown(b)}" for a, b in zip(self.ends, self.ends[1:], strict=False))

    def located(self, values: "Tensor") -> "tuple[Tensor, Tensor]":
        """The cell int64[N] of values float64[N] without missing ones, and where in it they lie, float64[N] in [0, 1].

        Values outside of the range count as its ends, and those between two multiples as the nearer one. A multiple
        lies in the middle of its part of the cell, which rounding to float32 does not leave.
        """
        import torch  # noqa: PLC0415

        values = values.clamp(self.low, self.high)
        if self.resolution:
            values = ((values - self.low) / self.resolution).round()
        ends = self._scaled_ends()
        cells = torch.bucketize(values, ends[1:-1], right=True)
        middle = 0.5 if self.resolution else 0.0
        return cells, ((values + middle - ends[cells]) / (ends[cells + 1] - ends[cells])).clamp(0, 1)

    def placed(self, cells: "Tensor", positions: "Tensor") -> "Tensor":
        """The inverse: values float64[N] of cells int64[N] and positions float64[N] in [0, 1]."""
        ends = self._scaled_ends()
        values = ends[cells] + positions * (ends[cells + 1] - ends[cells])
        if self.resolution:
            values = self.low + values.floor().minimum(ends[cells + 1] - 1) * self.resolution
        return values.clamp(self.low, self.high)

    def _scaled_ends(self) -> "Tensor":
        """The ends of all cells, float64: in multiples from the lowest value where values are multiples."""
        import torch  # noqa: PLC0415

        ends = torch.tensor(self.ends, dtype=torch.float64)
        return ((ends - self.low) / self.resolution).round() if self.resolution else ends


Column = Category | Number
_TYPES = {"category": Category, "number": Number}


def _column(value: Any) -> Any:
    """A column as it is, or made of plain values."""
    if not isinstance(value, dict):
        return value
    fields = {str(key): part for key, part in value.items()}  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    kind = _TYPES.get(str(fields.get("type")))
    if kind is None:
        raise ValueError("has a column of no known type")
    return kind(**fields)


def _code_set(value: Any) -> Any:
    """A code set as it is, or made of plain values."""
    if not isinstance(value, dict):
        return value
    return CodeSet(**{str(key): part for key, part in value.items()})  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]


@dataclass(frozen=True, config=STRICT)
class TableSchema(Schema):
    """Columns and classes of a table.

    Attributes:
        classes: one name per label; label i is `classes[i]`.
        columns: without those of label, patient and site, and without code sets.
        code_sets: columns that hold a set of codes in each row; files written have them after the others.
        label: the column that says the class; "" if there is none, and one class.
        label_spellings: for each class, how files write it.
        patient: the column that says whose a row is; "" if each row is a patient of its own.
        site: the column that says which hospital a row is from, for simulations; "" if there is none.
        missing: how files write that a value is missing, in any column.
        sensitive: columns by which a report tells groups apart.
        impossible: combinations, each as pairs of column and value of a category, that no record has.

    Raises:
        ValueError: a field has another type than is said here, or names what is not there.
    """

    kind: ClassVar[str] = "table"
    noun: ClassVar[str] = "table rows"

    classes: Annotated[tuple[Name, ...], Field(min_length=1, strict=False)]
    columns: Annotated[
        tuple[Annotated[Column, BeforeValidator(_column)], ...],
        Field(min_length=1, max_length=MOST_COLUMNS, strict=False),
    ]
    label: Annotated[str, Field(max_length=100)] = ""
    label_spellings: Annotated[tuple[_Spellings, ...], Field(max_length=1000, strict=False)] = ()
    patient: Annotated[str, Field(max_length=100)] = ""
    site: Annotated[str, Field(max_length=100)] = ""
    missing: _Spellings = ()
    sensitive: _Spellings = ()
    impossible: Annotated[
        tuple[
            Annotated[
                tuple[Annotated[tuple[Name, Name], Field(strict=False)], ...],
                Field(min_length=1, max_length=8, strict=False),
            ],
            ...,
        ],
        Field(max_length=256, strict=False),
    ] = ()
    code_sets: Annotated[
        tuple[Annotated[CodeSet, BeforeValidator(_code_set)], ...], Field(max_length=MOST_CODE_SETS, strict=False)
    ] = ()

    @model_validator(mode="after")
    def _names_fit_together(self) -> Self:
        special = [name for name in (self.label, self.patient, self.site) if name]
        names = [*special, *(column.name for column in self.columns), *(one.name for one in self.code_sets)]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"names column '{name}' twice")
        if self.cells > MOST_CELLS:
            raise ValueError(f"has {self.cells} cells, above {MOST_CELLS}: give fewer edges or values")
        if self.codes > MOST_CODES:
            raise ValueError(f"has {self.codes} codes, above {MOST_CODES}: put those together that belong together")
        if len(self.label_spellings) != (len(self.classes) if self.label else 0):
            raise ValueError("has not one list of spellings for each class")
        if len(set(self.classes)) < len(self.classes):
            raise ValueError("has the same class twice")
        _refuse_repeated([*self.missing, *(one for each in self.label_spellings for one in each)])
        for column in self.columns:
            if isinstance(column, Category):
                _refuse_repeated([*self.missing, *(one for each in column.spellings for one in each)])
        for codes in self.code_sets:
            _refuse_repeated([*self.missing, *codes.values])
        for name in self.sensitive:
            self.column(name)
        for name, value in (pair for combination in self.impossible for pair in combination):
            column = self.column(name)
            if not isinstance(column, Category) or value not in column.values:
                raise ValueError(f"calls '{name} = {value}' impossible, which is no value of a category")
        return self

    @cached_property
    def blocks(self) -> tuple[slice, ...]:
        """Where in an encoded record each column's cells are; the last of an optional one says that it is missing."""
        found: list[slice] = []
        for column in self.columns:
            start = found[-1].stop if found else 0
            found.append(slice(start, start + column.known_cells + column.optional))
        return tuple(found)

    @property
    def cells(self) -> int:
        """Of all columns together."""
        return self.blocks[-1].stop

    @property
    def numbers(self) -> int:
        """How many columns have a position in their cell."""
        return sum(column.positions for column in self.columns)

    @property
    def codes(self) -> int:
        """Of all code sets together."""
        return sum(len(one.values) for one in self.code_sets)

    @property
    def most_codes(self) -> int:
        """The most codes of a row, of all code sets together."""
        return sum(one.most for one in self.code_sets)

    @cached_property
    def code_places(self) -> tuple[slice, ...]:
        """Where among all codes each code set's codes are."""
        ends = accumulate((len(one.values) for one in self.code_sets), initial=0)
        return tuple(slice(a, b) for a, b in pairwise(ends))

    @cached_property
    def code_blocks(self) -> tuple[slice, ...]:
        """Where in an encoded record each code set's codes are: behind the cells and positions."""
        first = self.cells + self.numbers
        return tuple(slice(first + places.start, first + places.stop) for places in self.code_places)

    @property
    def shape(self) -> tuple[int, ...]:
        """The cells of all columns, then where in its cell each number lies, then all codes."""
        return (self.cells + self.numbers + self.codes,)

    def difference(self, other: Schema) -> str:
        """See `Schema.difference`: columns are named, the first few of them, and code sets are columns too."""
        if not isinstance(other, TableSchema) or (self.columns, self.code_sets) == (other.columns, other.code_sets):
            return super().difference(other)
        ours, theirs = ({one.name: one for one in (*schema.columns, *schema.code_sets)} for schema in (self, other))
        names = [name for name in {**ours, **theirs} if ours.get(name) != theirs.get(name)]
        if not names:
            return "order of the columns"
        named = ", ".join(f"column '{name}'" for name in names[:_MOST_NAMED])
        more = len(names) - _MOST_NAMED
        return f"{named} and {more} more" if more > 0 else named

    def with_classes(self, classes: tuple[str, ...]) -> "TableSchema":
        """See `Schema.with_classes`; files have no column that says these."""
        return replace(self, classes=classes, label="", label_spellings=())

    def column(self, name: str) -> Column:
        """The column of this name.

        Raises:
            ValueError: there is none.
        """
        for column in self.columns:
            if column.name == name:
                return column
        raise ValueError(f"has no column '{name}'")

    def encode(self, stored: Stored) -> "Tensor":
        """Records as float32[N, *shape]: 1 in the cell of each column, the positions in [0, 1], and 1 for each code.

        Args:
            stored: a float64[N] for each column, by name: positions in a category's values, or numbers; NaN where a
                value is missing. And a bool[N, codes] for each code set.
        """
        import torch  # noqa: PLC0415

        rows = len(stored[self.columns[0].name])
        batch, place = torch.zeros(rows, *self.shape), self.cells
        for column, block in zip(self.columns, self.blocks, strict=True):
            values = stored[column.name].double()
            missing = values.isnan()
            cells, positions = column.located(values.nan_to_num(0.0))
            cells[missing] = block.stop - block.start - 1
            batch[:, block].scatter_(1, cells.unsqueeze(1), 1.0)
            if column.positions:
                batch[:, place] = positions.masked_fill(missing, 0.0).float()
                place += 1
        for one, block in zip(self.code_sets, self.code_blocks, strict=True):
            batch[:, block] = one.kept(stored[one.name]).float()
        return batch

    def decode(self, batch: "Tensor") -> Stored:
        """The inverse: the likeliest cell of each column, and the value there; any batch gives rows of the schema."""
        cells = [batch[:, block].nan_to_num(0.0).argmax(dim=1) for block in self.blocks]
        positions = batch[:, self.cells : self.cells + self.numbers].double().nan_to_num(0.0).clamp(0, 1)
        codes = {
            one.name: one.kept(batch[:, block] > 0.5)
            for one, block in zip(self.code_sets, self.code_blocks, strict=True)
        }
        return {**self.placed(cells, positions), **codes}

    def placed(self, cells: "Iterable[Tensor]", positions: "Tensor") -> Stored:
        """Records of given cells, without code sets.

        Args:
            cells: int64[N] of each column.
            positions: float64[N, numbers] in [0, 1], of each number in its cell.
        """
        stored: dict[str, Tensor] = {}
        place, none = 0, positions.new_zeros(positions.shape[0])
        for column, cell in zip(self.columns, cells, strict=True):
            where = positions[:, place] if column.positions else none
            place += column.positions
            values = column.placed(cell.clamp(max=column.known_cells - 1), where)
            stored[column.name] = (
                values.masked_fill(cell >= column.known_cells, float("nan")) if column.optional else values
            )
        return stored

    def possible(self, stored: Stored) -> "Tensor | None":
        """See `Schema.possible`: rows without any combination that is called impossible, and without too many codes."""
        import torch  # noqa: PLC0415

        found: Tensor | None = None
        for combination in self.impossible:
            named = ((cast(Category, self.column(name)), value) for name, value in combination)
            met = torch.stack([stored[column.name] == column.values.index(value) for column, value in named]).all(dim=0)
            found = ~met if found is None else found & ~met
        for one in self.code_sets:
            few = stored[one.name].sum(dim=1) <= one.most
            found = few if found is None else found & few
        return found

    def features(self, *, frequencies: int, largest_norm: float) -> Features:  # noqa: ARG002  (of images)
        """The cells themselves."""
        from silogan.common.modality.table_features import Cells  # noqa: PLC0415  (torch)

        return Cells(self)

    def describe(self) -> str:
        """See `Schema.describe`."""
        codes = f" and {self.codes} codes" if self.code_sets else ""
        return f"table rows of {len(self.columns)} columns{codes}"

    def to_plain(self) -> dict[str, Any]:
        """See `Schema.to_plain`."""
        return listed(super().to_plain())


EPOCH = date(1970, 1, 1)
"""Dates are numbers: the days since this one."""

FIRST_DAY, LAST_DAY = (date(*day).toordinal() - EPOCH.toordinal() for day in ((1, 1, 1), (9998, 12, 31)))
"""Of all dates that a column may have."""


def day_of(days: float) -> str:
    """The date so many days after 1970-01-01, as 2026-03-09."""
    return (EPOCH + timedelta(days=min(days, LAST_DAY + 1))).isoformat()


def _refuse_repeated(spellings: Iterable[str]) -> None:
    seen: set[str] = set()
    for one in spellings:
        if one in seen:
            raise ValueError(f"spells two values alike, '{one}'")
        seen.add(one)


def listed(value: Any) -> Any:
    """Plain values with lists in the place of tuples, as YAML and JSON give them back."""
    if isinstance(value, dict):
        return {key: listed(item) for key, item in value.items()}  # pyright: ignore[reportUnknownVariableType]
    return [listed(item) for item in value] if isinstance(value, list | tuple) else value  # pyright: ignore[reportUnknownVariableType]
