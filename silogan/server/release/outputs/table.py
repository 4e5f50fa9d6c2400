"""Synthetic rows of a table: CSV with a note beside it or Parquet, and bar charts of all columns."""

from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from silogan.common.modality.table import Category, Column, TableSchema
from silogan.common.modality.table_grid import Floats, grid_of
from silogan.common.models.networks import Drawn
from silogan.common.parquet_file import pyarrow
from silogan.server.release.about import About
from silogan.server.release.croissant import columns, file_object, record_set
from silogan.server.release.outputs.base import Output
from silogan.server.release.outputs.table_preview import PREVIEW_ROWS, preview
from silogan.server.release.outputs.table_text import RowText
from silogan.server.release.outputs.written import Described, write_file
from silogan.server.release.where import parse_where


def write_csv(out: Path, drawn: Iterable[Drawn], about: About) -> None:
    """A file of rows, and a note beside it that says what they are.

    No reader of CSV agrees with another on comments, and a column of marks would be one more of the data.
    """
    text = RowText(cast(TableSchema, about.schema))

    def write(file: BinaryIO) -> None:
        file.write(text.header)
        for part in drawn:
            file.writelines(text.lines(part))

    write_file(out, about, write, partial(_described, out.name, about, "text/csv"), note=True)


def write_parquet(out: Path, drawn: Iterable[Drawn], about: About) -> None:
    """A file of rows in the types of the schema; its metadata say what they are."""
    arrow, parquet = pyarrow("--format parquet", "use csv")
    schema = cast(TableSchema, about.schema)
    fields = [(column.name, _arrow_type(arrow, column)) for column in schema.columns]
    fields += [(one.name, arrow.list_(arrow.string())) for one in schema.code_sets]
    if schema.label:
        fields.append((schema.label, arrow.dictionary(arrow.int32(), arrow.string())))
    types = arrow.schema(fields, metadata=about.facts())

    def write(file: BinaryIO) -> None:
        with parquet.ParquetWriter(file, types) as writer:
            for part in drawn:
                arrays = [_arrow_column(arrow, column, part.records[column.name].numpy()) for column in schema.columns]
                arrays += [_codes(arrow, part.records[one.name].numpy(), one.values) for one in schema.code_sets]
                if schema.label and part.labels is not None:
                    arrays.append(_named(arrow, part.labels.numpy(), schema.classes))
                writer.write_batch(arrow.record_batch(arrays, schema=types))

    write_file(out, about, write, partial(_described, out.name, about, "application/x-parquet"))


def _described(name: str, about: About, mime: str, path: Path) -> Described:
    records = record_set("records", columns(cast(TableSchema, about.schema), name))
    return [file_object(path, name, mime)], [records]


def _arrow_type(arrow: Any, column: Column) -> Any:
    if isinstance(column, Category):
        return arrow.dictionary(arrow.int32(), arrow.string())
    if column.date:
        return arrow.date32()
    return arrow.float64() if grid_of(column).decimals else arrow.int64()


def _arrow_column(arrow: Any, column: Column, values: Floats) -> Any:
    """Values float64[N], NaN where they are missing, as a column of Arrow."""
    missing = np.isnan(values)
    if isinstance(column, Category):
        return _named(arrow, np.where(missing, 0, values), column.values, missing)
    kind = _arrow_type(arrow, column)
    whole = values if kind == arrow.float64() else np.where(missing, 0, values).astype(np.int64)
    return arrow.array(whole.astype(np.int32) if column.date else whole, type=kind, mask=missing)


def _named(arrow: Any, codes: Any, names: tuple[str, ...], missing: Any = None) -> Any:
    """Positions in a list of names, as a column of names."""
    indices = arrow.array(codes.astype(np.int32), mask=missing)
    return arrow.DictionaryArray.from_arrays(indices, arrow.array(names, arrow.string()))


def _codes(arrow: Any, present: NDArray[np.bool_], names: tuple[str, ...]) -> Any:
    """Sets of codes bool[N, codes], as a column of lists of names."""
    ends = np.append(0, present.sum(axis=1).cumsum()).astype(np.int32)
    return arrow.ListArray.from_arrays(ends, arrow.array(names, arrow.string()).take(arrow.array(present.nonzero()[1])))


OUTPUT = Output(
    {"csv": write_csv, "parquet": write_parquet}, preview, columns=1, rows=PREVIEW_ROWS, condition=parse_where
)
