"""A sheet has every image in its place, names beside them and its marks above."""

import numpy as np
import pytest
import torch
from torch import Tensor

from silogan.server.explore.sheet import Group, Sheet, drawn


def flat(*values: int, channels: int = 1) -> Tensor:
    return torch.tensor(values, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, channels, 8, 8)


def shades(sheet: Sheet, marks: str = "marks") -> list[int]:
    """The grey values of whole tiles of the sheet, row by row."""
    pixels = np.asarray(drawn(sheet, marks))[..., 0]
    found: list[int] = []
    for line in pixels[::1]:
        runs = [int(line[start]) for start in range(0, len(line) - 80) if len(set(line[start : start + 80])) == 1]
        for shade in runs:
            if shade != 255 and shade not in found:
                found.append(shade)
    return found


@pytest.mark.parametrize("channels", [1, 3])
def test_images_stand_in_their_rows(channels: int) -> None:
    rows = [flat(10, 20, channels=channels), flat(30, 40, channels=channels)]
    sheet = Sheet("title", ["a", "b"], [Group("one", rows), Group("two", [flat(50, 60, channels=channels)])])
    assert shades(sheet) == [10, 20, 30, 40, 50, 60]


def test_the_picture_grows_with_rows_columns_and_names() -> None:
    one = drawn(Sheet("", ["a"], [Group("", [flat(1)])]), "")
    more = drawn(Sheet("", ["a", "b"], [Group("", [flat(1, 2)] * 2)]), "")
    named = drawn(Sheet("", ["a"], [Group("pneumonia", [flat(1)])]), "")
    assert (more.width - one.width, more.height - one.height) == (84, 84)
    assert named.width > one.width


def test_marks_and_names_are_readable_and_change_the_picture() -> None:
    sheet = Sheet("title", ["a"] * 6, [Group("one", [flat(*range(6))])])
    pictures = {drawn(*given).tobytes() for given in ((sheet, "x"), (sheet, "y"), (sheet._replace(title="t"), "x"))}
    renamed = sheet._replace(groups=[Group("other", sheet.groups[0].rows)])
    assert len(pictures | {drawn(renamed, "x").tobytes()}) == 4


def test_long_texts_do_not_widen_a_sheet() -> None:
    short = drawn(Sheet("t", ["a"], [Group("one", [flat(1)])]), "m")
    long = drawn(Sheet("word " * 200, ["column " * 50], [Group("class " * 50, [flat(1)])]), "mark " * 500)
    assert long.width - short.width < 100
    assert long.height < 400
