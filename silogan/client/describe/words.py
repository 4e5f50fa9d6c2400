"""A description in words."""

from collections.abc import Iterator

from silogan.common.modality.table import Category, Column, Number, TableSchema, day_of

_MOST_SHOWN = 8


def rows(schema: TableSchema) -> Iterator[tuple[str, ...]]:
    """For each column: name, type, values, number of cells, what happens outside of the range, whether optional."""
    for column in schema.columns:
        kind, values, outside = _of_category(column) if isinstance(column, Category) else _of_number(column)
        missing = ", ".join(("allowed", *column.missing)) if column.optional else "refused"
        yield column.name, kind, values, str(column.known_cells + column.optional), outside, missing
    for one in schema.code_sets:
        values = f"{_first(one.values)}; at most {one.most} in a row, as {one.separator.join(one.values[:2])}"
        none = ", ".join(("no code", *one.missing))
        yield one.name, "codes", values, str(len(one.values)), "left out" if one.drop else "refused", none


def sentences(schema: TableSchema) -> Iterator[str]:
    """What is said of the whole table."""
    classes = f"column '{schema.label}' says the class: {', '.join(schema.classes)}"
    yield classes if schema.label else "no label: all rows are of one class"
    yield f"column '{schema.patient}' says whose a row is" if schema.patient else "each row is a patient of its own"
    if schema.site:
        yield f"column '{schema.site}' says which hospital a row is from"
    if schema.missing:
        yield f"missing in any column: {', '.join(schema.missing)}"
    if schema.sensitive:
        yield f"sensitive: {', '.join(schema.sensitive)}"
    for combination in schema.impossible:
        yield f"impossible: {' and '.join(f'{name} = {value}' for name, value in combination)}"
    codes = f", {schema.codes} codes" if schema.code_sets else ""
    yield f"{len(schema.columns) + len(schema.code_sets)} columns, {schema.cells} cells{codes}"


def _of_category(column: Column) -> tuple[str, str, str]:
    names = column.cell_names()
    kind = "ordinal" if isinstance(column, Category) and column.ordered else "categorical"
    return "binary" if len(names) == 2 else kind, _first(names), "refused"


def _first(names: tuple[str, ...]) -> str:
    more = [f"… {len(names) - _MOST_SHOWN} more"] if len(names) > _MOST_SHOWN else []
    return ", ".join((*names[:_MOST_SHOWN], *more))


def _of_number(column: Number) -> tuple[str, str, str]:
    shown = day_of if column.date else "{:g}".format
    unit = f" {column.unit}" if column.unit else ""
    whole = column.whole and column.resolution == 1
    kind = "date" if column.date else "integer" if whole else "numeric"
    step = f", in steps of {column.resolution:g}" if column.resolution and column.resolution != 1 else ""
    return kind, f"{shown(column.low)} to {shown(column.high)}{unit}{step}", "moved" if column.clamp else "refused"
