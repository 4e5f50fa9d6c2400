"""Contact sheets of synthetic images, for a first look.

A sheet is an ordinary PNG whose text metadata says what it is (synthetic, non-private, seeded), so that the mark
travels with the file.
"""

import io
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import numpy as np
from matplotlib import get_data_path
from numpy.typing import NDArray
from PIL import Image, ImageColor, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

UNCONDITIONAL_COLUMNS = 8
SMALLEST_TILE, LARGEST_TILE = 56, 128
WIDEST_COLUMN = 104
HEADING_LINES = 3
FONT_SIZE, LINE_HEIGHT = 12, 15
GAP = 4
PAPER, INK, EMPTY = "#ffffff", "#1c2830", "#eceff1"

Pixels = NDArray[np.uint8]


def class_grid(
    images: Tensor | Pixels, labels: Tensor | NDArray[np.int64] | None, classes: tuple[str, ...], *, rows: int = 8
) -> Image.Image:
    """Columns for each class, with its name above; or `rows` x 8 images without headings if there are no labels.

    Small images are enlarged by a whole factor, smoothly (bicubic): the eye reads an 8x8 digit by its strokes, not by
    its pixels, real ones included. Images above 128 pixels are reduced. The first images of a class are shown,
    in order; places without an image stay blank.

    Args:
        images: uint8 [N, C, S, S], C = 1 (grey) or 3 (colour), 0-255.
        labels: int64 [N] in [0, len(classes)), or None for an unconditional generator.
        classes: name of each label.
        rows: images in a column, at least 1; a class has `abreast` columns, filled row by row.

    Returns:
        An image of mode "L" or "RGB".

    Raises:
        ValueError: shapes, types or labels are not as above.
    """
    pixels = _array(images)
    if pixels.ndim != 4 or pixels.dtype != np.uint8 or pixels.shape[1] not in (1, 3):
        raise ValueError(f"images must be uint8 [N, 1 or 3, S, S], not {pixels.dtype} {list(pixels.shape)}")
    if rows < 1:
        raise ValueError(f"rows must be at least 1, not {rows}")
    each = 1 if labels is None else abreast(len(classes))
    columns, headings = _columns(len(pixels), labels, classes, rows, each)

    size = pixels.shape[-1]
    width = max(tile_size(size, SMALLEST_TILE), -(-heading_width(headings) // each))
    tile = tile_size(size, width)
    of_class = each * (width + GAP) - GAP
    lines = [wrap(heading, of_class) for heading in headings]
    top = GAP * bool(headings) + LINE_HEIGHT * max((len(part) for part in lines), default=0)
    mode = "L" if pixels.shape[1] == 1 else "RGB"
    between = GAP if each == 1 else 4 * GAP  # classes of several columns stand apart
    extent = (
        GAP + len(columns) * (width + GAP) + (len(headings) - 1) * (between - GAP) * bool(headings),
        top + GAP + rows * (tile + GAP),
    )
    sheet = Image.new(mode, extent, ImageColor.getcolor(PAPER, mode))
    draw = ImageDraw.Draw(sheet)

    for column, members in enumerate(columns):
        left = GAP + column * (width + GAP) + column // each * (between - GAP)
        if headings and column % each == 0:
            _heading(draw, lines[column // each], left + of_class / 2, top, ImageColor.getcolor(INK, mode))
        for row in range(rows):
            corner = (left + (width - tile) // 2, top + GAP + row * (tile + GAP))
            if row < len(members):
                sheet.paste(as_tile(pixels[members[row]], tile), corner)
            else:
                draw.rectangle((*corner, corner[0] + tile - 1, corner[1] + tile - 1), ImageColor.getcolor(EMPTY, mode))
    return sheet


def abreast(num_classes: int, columns: int = UNCONDITIONAL_COLUMNS) -> int:
    """How many columns a class has, at least 1: a sheet of few classes would be a narrow strip."""
    return max(1, columns // max(1, num_classes))


def png_bytes(image: Image.Image, metadata: Mapping[str, str] | None = None) -> bytes:
    """The image as PNG, with `metadata` as text chunks (keywords of 1-79 Latin-1 characters)."""
    return saved(image, png_info(metadata or {}))


def saved(image: Image.Image, info: PngInfo) -> bytes:
    """The image as a small PNG with these chunks."""
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", pnginfo=info, optimize=True)
    return buffer.getvalue()


def png_info(metadata: Mapping[str, str]) -> PngInfo:
    """Text chunks of a PNG."""
    info = PngInfo()
    for keyword, text in metadata.items():
        info.add_text(keyword, text)
    return info


def _array(values: Tensor | NDArray[np.generic]) -> NDArray[np.generic]:
    return values.detach().cpu().numpy() if isinstance(values, Tensor) else values


def _columns(
    count: int, labels: Tensor | NDArray[np.int64] | None, classes: tuple[str, ...], rows: int, each: int
) -> tuple[list[list[int]], list[str]]:
    """Indices of the images in each column, `each` columns a class, and the headings (none without labels)."""
    if labels is None:
        return [list(range(count))[i::UNCONDITIONAL_COLUMNS][:rows] for i in range(UNCONDITIONAL_COLUMNS)], []
    members = _array(labels)
    if members.shape != (count,) or not classes:
        raise ValueError(f"{count} images of {len(classes)} classes need labels [{count}], not {list(members.shape)}")
    if count and not (members.min() >= 0 and members.max() < len(classes)):
        raise ValueError(f"labels must lie in [0, {len(classes)})")
    of_class = [np.flatnonzero(members == label).tolist() for label in range(len(classes))]
    return [found[place::each][:rows] for found in of_class for place in range(each)], list(classes)


def tile_size(size: int, room: int) -> int:
    """Side of a tile: the whole multiple of `size` that fills `room` pixels best, or 128 for larger images."""
    return min(LARGEST_TILE, size * max(1, -(-SMALLEST_TILE // size), room // size))


def as_tile(image: NDArray[np.generic], side: int) -> Image.Image:
    """`image` [C, S, S] as a picture of `side` pixels."""
    picture = Image.fromarray(image[0] if len(image) == 1 else np.ascontiguousarray(image.transpose(1, 2, 0)))
    method = Image.Resampling.BICUBIC if picture.width < side else Image.Resampling.BOX
    return picture.resize((side, side), method)


@cache
def font() -> ImageFont.FreeTypeFont:
    """The one font of all pictures."""
    # Class names are in the hospital's language: matplotlib's DejaVu knows far more alphabets than Pillow's own font.
    return ImageFont.truetype(Path(get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf", FONT_SIZE)


def heading_width(headings: list[str]) -> int:
    """Room for the longest word of the headings, within reason."""
    longest = max((font().getlength(word) for heading in headings for word in heading.split()), default=0)
    return min(WIDEST_COLUMN, int(longest) + 2)


def wrap(heading: str, width: int) -> list[str]:
    """`heading` in at most three lines of at most `width` pixels; what does not fit ends in an ellipsis."""
    lines: list[str] = []
    for word in heading.split():
        joined = f"{lines[-1]} {word}" if lines else word
        if lines and font().getlength(joined) <= width:
            lines[-1] = joined
        else:
            lines.append(word)
    if len(lines) > HEADING_LINES:
        lines[HEADING_LINES - 1] += "…"
    return [shorten(line, width) for line in lines[:HEADING_LINES]]


def shorten(line: str, width: int) -> str:
    """A line of at most `width` pixels; what does not fit ends in an ellipsis."""
    if font().getlength(line) <= width:
        return line
    text = line.rstrip("…")
    while text and font().getlength(text + "…") > width:
        text = text[:-1]
    return text + "…"


def _heading(
    draw: ImageDraw.ImageDraw, lines: list[str], centre: float, bottom: int, ink: int | tuple[int, ...]
) -> None:
    """Writes `lines` centred above `bottom`."""
    for number, line in enumerate(reversed(lines)):
        draw.text((centre, bottom - number * LINE_HEIGHT), line, fill=ink, font=font(), anchor="md")
