"""Contact sheets: every image in its place, enlarged smoothly, readable headings, marks that travel with the file."""

from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image

from silogan.server.release.contact_sheet import GAP, UNCONDITIONAL_COLUMNS, class_grid, png_bytes


def flat(values: list[int], channels: int = 1, size: int = 8) -> np.ndarray:
    """One uniform image for each value."""
    return np.stack([np.full((channels, size, size), value, np.uint8) for value in values])


def shades(sheet: Image.Image) -> list[list[int]]:
    """Grey values at the centres of the tiles of a sheet without headings, row by row."""
    tile = (sheet.width - GAP) // UNCONDITIONAL_COLUMNS
    centres = range(GAP + tile // 2, sheet.width - GAP, tile)
    rows = range(GAP + tile // 2, sheet.height - GAP, tile)
    return [[int(np.asarray(sheet)[y, x]) for x in centres] for y in rows]


def test_unlabelled_images_fill_the_rows_in_order() -> None:
    sheet = class_grid(flat(list(range(16))), None, (), rows=2)
    assert shades(sheet) == [list(range(8)), list(range(8, 16))]


def test_a_class_keeps_to_its_column() -> None:
    labels = np.array([1, 0, 1, 0])
    sheet = np.asarray(class_grid(flat([200, 50, 210, 60]), labels, ("a", "b"), rows=2))
    left, right = np.split(sheet[-2 * 60 :], [sheet.shape[1] // 2], axis=1)
    assert {50, 60} <= set(left.flat)
    assert not {50, 60} & set(right.flat)
    assert {200, 210} <= set(right.flat)
    assert not {200, 210} & set(left.flat)


def test_only_the_first_rows_of_a_class_are_shown_and_missing_ones_stay_blank() -> None:
    names = ("a", "b", "c", "d", "e")
    sheet = np.asarray(class_grid(flat([10, 20, 30, 40]), np.array([0, 0, 0, 1]), names, rows=2))[-2 * 60 :]
    assert {10, 20, 40} <= set(sheet.flat)
    assert 30 not in sheet


def test_few_classes_have_several_columns_each_filled_row_by_row() -> None:
    sheet = np.asarray(class_grid(flat(list(range(10, 26))), np.repeat([0, 1], 8), ("a", "b"), rows=2))[-2 * 60 :]
    shown = [sheet[28, sheet[28] < 30], sheet[88, sheet[88] < 30]]
    in_order = [list(dict.fromkeys(row.tolist())) for row in shown]
    assert in_order == [[10, 11, 12, 13, 18, 19, 20, 21], [14, 15, 16, 17, 22, 23, 24, 25]]


def test_an_8x8_digit_is_enlarged_smoothly_in_its_place() -> None:
    ramp = np.broadcast_to(np.arange(8, dtype=np.uint8) * 20, (1, 1, 8, 8))
    tile = np.asarray(class_grid(ramp, None, (), rows=1))[GAP : GAP + 56, GAP : GAP + 56].astype(int)
    assert np.abs(tile[:, 3::7] - ramp[0, 0, 0]).max() <= 3  # the centre of each pixel keeps its shade
    assert np.diff(tile).max() < 10  # and there is no step at its edges


def test_an_image_as_large_as_its_tile_is_left_alone() -> None:
    image = np.random.default_rng(0).integers(0, 256, (1, 1, 64, 64), dtype=np.uint8)
    assert np.array_equal(np.asarray(class_grid(image, None, (), rows=1))[GAP : GAP + 64, GAP : GAP + 64], image[0, 0])


@pytest.mark.parametrize("size", [8, 28, 32, 64, 224])
def test_tiles_stay_between_a_thumb_and_a_page(size: int) -> None:
    sheet = class_grid(flat([0], size=size), None, (), rows=1)
    tile = (sheet.width - GAP) // UNCONDITIONAL_COLUMNS - GAP
    assert 48 <= tile <= 128


def test_colour_tensors_are_drawn_in_colour() -> None:
    images = torch.tensor([10, 200, 30], dtype=torch.uint8).reshape(1, 3, 1, 1).expand(1, 3, 8, 8)
    sheet = class_grid(images, torch.tensor([0]), ("only",), rows=1)
    assert sheet.mode == "RGB"
    assert sheet.getpixel((GAP + 20, sheet.height - GAP - 20)) == (10, 200, 30)


@pytest.mark.parametrize("name", ["Lungenentzündung", "пневмония", "immature granulocytes(myelocytes, metamyelocytes)"])
def test_headings_are_drawn_within_their_column(name: str) -> None:
    named = np.asarray(class_grid(flat([255, 255]), np.array([0, 1]), (name, " "), rows=1))
    half = named.shape[1] // 2
    headings = slice(0, named.shape[0] - 70)
    assert named[headings, :half].min() < 100
    assert named[headings, half + GAP :].min() == 255


@pytest.mark.parametrize(
    ("images", "labels", "classes", "rows"),
    [
        (np.zeros((1, 1, 8, 8), np.float32), None, (), 8),
        (np.zeros((8, 8), np.uint8), None, (), 8),
        (np.zeros((1, 2, 8, 8), np.uint8), None, (), 8),
        (flat([0]), None, (), 0),
        (flat([0]), np.array([2]), ("a", "b"), 8),
        (flat([0]), np.array([-1]), ("a", "b"), 8),
        (flat([0]), np.array([0, 1]), ("a", "b"), 8),
        (flat([0]), np.array([0]), (), 8),
    ],
)
def test_what_is_not_a_batch_of_labelled_images_is_refused(
    images: np.ndarray, labels: np.ndarray | None, classes: tuple[str, ...], rows: int
) -> None:
    with pytest.raises(ValueError, match=r"must|need"):
        class_grid(images, labels, classes, rows=rows)


def test_the_marks_travel_in_the_file() -> None:
    sheet = class_grid(flat([7]), None, ())
    with Image.open(BytesIO(png_bytes(sheet, {"SiloGAN": "NON-PRIVATE", "Title": "Düsseldorf, 東京"}))) as found:
        found.load()
        assert found.info["SiloGAN"] == "NON-PRIVATE"
        assert found.info["Title"] == "Düsseldorf, 東京"
        assert np.array_equal(np.asarray(found), np.asarray(sheet))


def test_the_same_images_give_the_same_bytes() -> None:
    labels = np.array([0, 1])
    first, second = (png_bytes(class_grid(flat([3, 4]), labels, ("a", "b")), {"SiloGAN": "x"}) for _ in range(2))
    assert first == second
