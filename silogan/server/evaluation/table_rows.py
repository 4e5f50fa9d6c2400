"""Table rows as the evaluation sees them: one matrix of values, with their labels."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from silogan.common.errors import DataError
from silogan.common.modality import Stored
from silogan.common.modality.table import TableSchema

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Rows:
    """Some rows of a table.

    Attributes:
        values: float64[N, columns], in the order of the schema: numbers, or positions in a category's values; NaN where
            a value is missing.
        labels: int64[N]; None if the rows have none.
        codes: bool[N, codes], of all code sets.
    """

    values: Floats
    labels: Ints | None
    codes: Bools

    def __len__(self) -> int:
        return len(self.values)

    @property
    def known_labels(self) -> Ints:
        """The labels of rows that have them."""
        if self.labels is None:
            raise ValueError("these rows have no labels")
        return self.labels

    @property
    def with_codes(self) -> Floats:
        """The values and then the codes, float64[N, columns and codes]."""
        return np.concatenate((self.values, self.codes.astype(np.float64)), axis=1)

    def at(self, places: Ints) -> "Rows":
        """The rows at these places int64[M], in that order."""
        labels = None if self.labels is None else self.labels[places]
        return Rows(self.values[places], labels, self.codes[places])

    def drawn(self, most: int, seed: int) -> "Rows":
        """At most so many of the rows, drawn at random without replacement, in random order."""
        return self.at(np.random.default_rng(seed).permutation(len(self))[:most])


def rows_of(schema: TableSchema, records: Stored, labels: Tensor | None, thing: str) -> Rows:
    """The rows of stored records.

    Args:
        schema: of the rows.
        records: a float64[N] for each column, by name, N at least 1; a bool[N, codes] for each code set.
        labels: int64[N] in [0, classes).
        thing: what to call the rows in an error, in the plural.

    Raises:
        DataError: a column is missing, the parts differ in length, there is no row, or a label is no class.
    """
    known = (*schema.columns, *schema.code_sets)
    if absent := [column.name for column in known if column.name not in records]:
        raise DataError(thing, f"have no column '{absent[0]}'", "give rows of the same schema")
    columns = [records[column.name].double().cpu().numpy() for column in schema.columns]
    sets = [records[one.name].bool().cpu().numpy() for one in schema.code_sets]
    lengths = {len(column) for column in (*columns, *sets)} | ({len(labels)} if labels is not None else set())
    if len(lengths) > 1:
        raise DataError(thing, "have columns or labels of different lengths", "give one value for each row")
    if lengths == {0}:
        raise DataError(thing, "are empty", "give at least one row")
    classes = None if labels is None else labels.cpu().numpy().astype(np.int64)
    if classes is not None and (classes.min() < 0 or classes.max() >= schema.num_classes):
        problem = f"have a label that is not from 0 to {schema.num_classes - 1}"
        raise DataError(thing, problem, "check the class names and their order")
    codes = np.concatenate((np.empty((len(columns[0]), 0), np.bool_), *sets), axis=1)
    return Rows(np.stack(columns, axis=1), classes, codes)
