"""A sheet of images in rows: the class at the left, what a column shows above."""

from collections.abc import Sequence
from typing import NamedTuple

from PIL import Image, ImageDraw
from torch import Tensor

from silogan.server.release.contact_sheet import (
    GAP,
    INK,
    LINE_HEIGHT,
    PAPER,
    as_tile,
    font,
    heading_width,
    tile_size,
    wrap,
)

_TILE = 84
_BETWEEN_CLASSES = 3 * GAP


class Group(NamedTuple):
    """Rows of images of one class.

    Attributes:
        name: of the class; empty if there are none.
        rows: of each uint8[N, C, S, S], C = 1 or 3, one image for each column.
    """

    name: str
    rows: Sequence[Tensor]


class Sheet(NamedTuple):
    """What is shown.

    Attributes:
        title: one sentence on how to read it.
        columns: the heading of each; may be empty texts.
        groups: at least one.
    """

    title: str
    columns: Sequence[str]
    groups: Sequence[Group]


def drawn(sheet: Sheet, marks: str) -> Image.Image:
    """The sheet as a picture of mode "RGB", with its title and marks above all else."""
    side = tile_size(sheet.groups[0].rows[0].shape[-1], _TILE)
    names = [group.name for group in sheet.groups]
    left = GAP + (heading_width(names) + 2 * GAP) * any(names)
    width = left + len(sheet.columns) * (side + GAP)
    head = [*wrap(sheet.title, width - 2 * GAP), *wrap(marks, width - 2 * GAP)]
    columns = [wrap(column, side) for column in sheet.columns]
    top = GAP + LINE_HEIGHT * len(head) + GAP + LINE_HEIGHT * max(map(len, columns)) + GAP
    rows = sum(len(group.rows) for group in sheet.groups)
    height = top + rows * (side + GAP) + (len(names) - 1) * _BETWEEN_CLASSES
    picture = Image.new("RGB", (width, height), PAPER)
    draw = ImageDraw.Draw(picture)

    _write(draw, (GAP, GAP), head, "la")
    for number, lines in enumerate(columns):
        _write(draw, (left + number * (side + GAP) + side / 2, top - GAP), lines, "md")
    for group in sheet.groups:
        _write(draw, (left / 2, top + side / 2), wrap(group.name, left - 2 * GAP), "mm")
        for row in group.rows:
            for number, pixels in enumerate(row.numpy()):
                picture.paste(as_tile(pixels, side), (left + number * (side + GAP), top))
            top += side + GAP
        top += _BETWEEN_CLASSES
    return picture


def _write(draw: ImageDraw.ImageDraw, place: tuple[float, float], lines: list[str], anchor: str) -> None:
    """Lines at a place, which is their upper left corner ("la"), lower middle ("md") or middle ("mm")."""
    height = LINE_HEIGHT * len(lines)
    top = place[1] - {"la": 0.0, "md": height, "mm": height / 2}[anchor]
    for number, line in enumerate(lines):
        draw.text((place[0], top + number * LINE_HEIGHT), line, fill=INK, font=font(), anchor=f"{anchor[0]}a")
