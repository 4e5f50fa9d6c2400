"""A picture of a table: of each column how often its values occur, in each class."""

from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from torch import Tensor

from silogan.common.modality import Stored
from silogan.common.modality.code_set import CodeSet
from silogan.common.modality.table import Category, Column, Number, TableSchema, day_of
from silogan.common.modality.table_grid import grid_of
from silogan.server.release.contact_sheet import FONT_SIZE, GAP, INK, LINE_HEIGHT, PAPER, font, png_bytes, shorten
from silogan.server.release.generator import ReleasedGenerator

PREVIEW_ROWS = 1000
"""Of each class."""

MOST_PANELS, ACROSS = 30, 4
MOST_CLASSES = 6
"""That are told apart; of more, all rows are shown together."""
MOST_BARS, MOST_LINES = 16, 7
PANEL, BODY, LINE = 236, 112, 16
MARGIN = 16
SOFT = "#55646e"
COLOURS = ("#0b6a75", "#e08a3c", "#7a5ca8", "#5a9a50", "#c4515a", "#8a6d52")
MISSING = "missing"

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class _Panel:
    """The bars of a column.

    Attributes:
        title: its name, and its unit.
        names: of each bar; of numbers that of the first, the last and the missing ones alone.
        shares: float64[classes, bars], of the rows of each class.
        is_listed: whether bars lie below each other, each with its name.
    """

    title: str
    names: tuple[str, ...]
    shares: Floats
    is_listed: bool


def preview(records: Stored, labels: Tensor | None, generator: ReleasedGenerator) -> bytes:
    """A PNG with a bar chart for each of the first 30 columns, marked as the generator is."""
    schema = cast(TableSchema, generator.schema)
    every = (*schema.columns, *schema.code_sets)
    columns = {column.name: records[column.name].numpy() for column in every[:MOST_PANELS]}
    groups, legend = {schema.noun: slice(None)}, []
    if labels is not None and 1 < schema.num_classes <= MOST_CLASSES:
        groups = {name: labels.numpy() == code for code, name in enumerate(schema.classes)}
        legend = list(groups)
    panels = [
        _panel(column, [columns[column.name][rows] for rows in groups.values()]) for column in every[:MOST_PANELS]
    ]
    more = len(every) - len(panels)
    title = f"{schema.label}:" if legend and schema.label else f"synthetic {schema.noun}"
    return png_bytes(_sheet(panels, title, legend, f"and {more} more columns" if more else ""), generator.png_text())


def _panel(column: Column | CodeSet, groups: list[NDArray[Any]]) -> _Panel:
    """The bars of a column, for the values of each class: float64[·], or bool[·, codes] of a code set."""
    if isinstance(column, CodeSet):
        return _of_codes(column, groups)
    grid = grid_of(column)
    steps = [grid.steps(values) for values in groups]
    if isinstance(column, Category):
        counts = np.stack([np.bincount(each, minlength=grid.count + 1) for each in steps]).astype(np.float64)
        shares = counts / np.maximum(1, counts.sum(axis=1, keepdims=True))
        names = (*column.values, MISSING)
        return _Panel(column.name, *_frequent(names[: grid.count + column.optional], shares), is_listed=True)
    bars = min(MOST_BARS, grid.count)
    placed = [np.where(each == grid.count, bars, each * bars // grid.count) for each in steps]
    shares = np.stack([np.bincount(each, minlength=bars + 1) / max(1, len(each)) for each in placed])
    names = (_said(column, column.low), *("",) * (bars - 2), *((_said(column, column.high),) * (bars > 1)), MISSING)
    title = f"{column.name}, {column.unit}" if column.unit else column.name
    return _Panel(title, names[: bars + column.optional], shares[:, : bars + column.optional], is_listed=False)


def _of_codes(codes: CodeSet, groups: list[NDArray[np.bool_]]) -> _Panel:
    """The bars of the codes that are seen most, for the sets bool[·, codes] of each class."""
    shares = np.stack([present.sum(axis=0) / max(1, len(present)) for present in groups])
    kept = sorted(np.argsort(-shares.mean(axis=0), kind="stable")[:MOST_LINES].tolist())
    return _Panel(codes.name, tuple(codes.values[place] for place in kept), shares[:, kept], is_listed=True)


def _frequent(names: tuple[str, ...], shares: Floats) -> tuple[tuple[str, ...], Floats]:
    """The bars that are seen most, in their order, and one for all others."""
    if len(names) <= MOST_LINES:
        return names, shares[:, : len(names)]
    kept = sorted(np.argsort(-shares[:, : len(names)].mean(axis=0), kind="stable")[: MOST_LINES - 1].tolist())
    others = shares.sum(axis=1) - shares[:, kept].sum(axis=1)
    told = (*(names[place] for place in kept), f"{len(names) - len(kept)} others")
    return told, np.column_stack([shares[:, kept], others])


def _said(column: Number, value: float) -> str:
    return day_of(value) if column.date else f"{value:,.10g}"


def _sheet(panels: list[_Panel], title: str, legend: list[str], note: str) -> Image.Image:
    """All panels below a line that says which colour is which class."""
    across = min(ACROSS, len(panels))
    height = LINE_HEIGHT + GAP + BODY + MARGIN
    top = MARGIN + LINE_HEIGHT + GAP * 2
    bottom = LINE_HEIGHT + GAP if note else 0
    extent = (MARGIN + across * (PANEL + MARGIN), top + -(-len(panels) // across) * height + bottom)
    sheet = Image.new("RGB", extent, PAPER)
    draw = ImageDraw.Draw(sheet)
    _legend(draw, title, legend, extent[0] - MARGIN)
    for number, panel in enumerate(panels):
        left, above = MARGIN + number % across * (PANEL + MARGIN), top + number // across * height
        highest = float(panel.shares.max()) or 1.0
        draw.text((left, above), shorten(panel.title, PANEL - 3 * FONT_SIZE), fill=INK, font=font())
        draw.text((left + PANEL, above), f"{highest:.0%}", fill=SOFT, font=font(), anchor="ra")
        lay = _list if panel.is_listed else _bars
        lay(draw, panel, left, above + LINE_HEIGHT + GAP, highest)
    if note:
        draw.text((MARGIN, extent[1] - bottom), note, fill=SOFT, font=font())
    return sheet


def _legend(draw: ImageDraw.ImageDraw, title: str, names: list[str], right: int) -> None:
    """The title, and a square of its colour before each name; what finds no room is left out."""
    title = shorten(title, PANEL)
    draw.text((MARGIN, MARGIN), title, fill=SOFT, font=font())
    left = MARGIN + int(font().getlength(title)) + MARGIN
    for name, colour in zip(names, COLOURS, strict=False):
        text = shorten(name, PANEL // 2)
        wide = int(font().getlength(text))
        if left + FONT_SIZE + GAP + wide > right:
            return
        draw.rectangle((left, MARGIN + 2, left + FONT_SIZE - 2, MARGIN + FONT_SIZE), fill=colour)
        draw.text((left + FONT_SIZE + GAP, MARGIN), text, fill=INK, font=font())
        left += FONT_SIZE + GAP + wide + MARGIN


def _list(draw: ImageDraw.ImageDraw, panel: _Panel, left: int, above: int, highest: float) -> None:
    """A line for each value: its name, and the bars of all classes below each other."""
    longest = max(font().getlength(name) for name in panel.names)
    start = left + min(PANEL // 2, int(longest) + 1) + GAP
    thick = (LINE - 3) / len(panel.shares)
    for line, name in enumerate(panel.names):
        top = above + line * LINE
        draw.text((start - GAP, top), shorten(name, start - left - GAP), fill=SOFT, font=font(), anchor="ra")
        for group, share in enumerate(panel.shares[:, line]):
            wide, corner = (left + PANEL - start) * float(share) / highest, top + 1 + group * thick
            if wide >= 0.5:
                draw.rectangle((start, corner, start + wide, corner + max(1.0, thick) - 1), fill=COLOURS[group])
    draw.line((start, above, start, above + len(panel.names) * LINE), fill=INK)


def _bars(draw: ImageDraw.ImageDraw, panel: _Panel, left: int, above: int, highest: float) -> None:
    """A histogram with the bars of all classes side by side; below it the ends of the range."""
    groups, bars = panel.shares.shape
    base, room = above + BODY - LINE, PANEL / bars
    wide = (room - 2) / groups
    for bar in range(bars):
        for group, share in enumerate(panel.shares[:, bar]):
            tall, corner = (base - above) * float(share) / highest, left + bar * room + 1 + group * wide
            if tall >= 0.5:
                draw.rectangle((corner, base - tall, corner + max(1.0, wide) - 1, base), fill=COLOURS[group])
    draw.line((left, base, left + PANEL, base), fill=INK)
    known = [name for name in panel.names if name != MISSING]
    draw.text((left, base + 2), known[0], fill=SOFT, font=font())
    if len(known) < bars:
        draw.text((left + PANEL, base + 2), MISSING, fill=SOFT, font=font(), anchor="ra")
    if len(known) > 1:
        right = left + len(known) * room
        if len(known) < bars:
            right = min(right, left + PANEL - font().getlength(MISSING) - MARGIN / 2)
        draw.text((right, base + 2), known[-1], fill=SOFT, font=font(), anchor="ra")
