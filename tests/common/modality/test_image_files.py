"""Images are brought to one size and number of channels by public constants, whatever they were."""

from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from silogan.common.errors import DataError
from silogan.common.modality import image_files
from silogan.common.modality.image_files import check_square, conform, windowed
from silogan.common.modality.image_options import Fit, Window


def random_pixels(*shape: int) -> torch.Tensor:
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_conform_leaves_fitting_images_alone() -> None:
    pixels = random_pixels(3, 1, 8, 8)
    assert conform(pixels, None, None) is pixels
    assert conform(pixels, 8, 1) is pixels


def test_grey_to_colour_repeats_and_colour_to_grey_weighs() -> None:
    grey = random_pixels(4, 1, 8, 8)
    assert torch.equal(conform(grey, None, 3), grey.expand(4, 3, 8, 8))
    assert torch.equal(conform(grey.expand(4, 3, 8, 8), None, 1), grey)
    primaries = torch.zeros(3, 3, 8, 8, dtype=torch.uint8)
    for channel in range(3):
        primaries[channel, channel] = 255
    assert conform(primaries, None, 1)[:, 0, 0, 0].tolist() == [76, 150, 29]


def test_a_constant_image_stays_constant_at_any_size() -> None:
    for value in (0, 1, 127, 255):
        pixels = torch.full((1, 1, 28, 28), value, dtype=torch.uint8)
        for size in (8, 27, 64):
            assert torch.equal(conform(pixels, size, None), torch.full((1, 1, size, size), value, dtype=torch.uint8))


def test_shrinking_averages_instead_of_skipping_pixels() -> None:
    stripes = torch.zeros(1, 1, 64, 64, dtype=torch.uint8)
    stripes[..., 3::8] = stripes[..., 4::8] = 255  # just where a plain bilinear resize would look
    shrunk = conform(stripes, 8, None)
    assert shrunk.float().sub(255 / 4).abs().max() < 8


@settings(max_examples=20)
@given(
    size=st.integers(8, 40), channels=st.sampled_from([1, 3]), have=st.sampled_from([1, 3]), chunk=st.integers(1, 9999)
)
def test_chunks_do_not_change_the_result(size: int, channels: int, have: int, chunk: int) -> None:
    pixels = random_pixels(7, have, 12, 10)
    with pytest.MonkeyPatch.context() as patch:
        whole = conform(pixels, size, channels, "squash")
        patch.setattr(image_files, "_CHUNK_VALUES", chunk)
        assert torch.equal(conform(pixels, size, channels, "squash"), whole)
    assert whole.shape == (7, channels, size, size)
    assert whole.dtype == torch.uint8


# --- images that are not square --------------------------------------------------------------------------------------

SIDES = st.integers(1, 40)
FITS: list[Fit] = ["pad", "crop", "squash"]


@settings(max_examples=40)
@given(height=SIDES, width=SIDES, size=st.none() | st.integers(8, 24))
def test_padding_shows_all_and_adds_only_black_on_both_sides(height: int, width: int, size: int | None) -> None:
    padded = conform(torch.full((1, 3, height, width), 255, dtype=torch.uint8), size, None, "pad")
    side = size or max(height, width)
    assert padded.shape == (1, 3, side, side)
    assert set(padded.unique().tolist()) <= {0, 255}
    white = padded[0, 0] == 255
    rows, columns = white.any(1), white.any(0)
    assert white.equal(rows[:, None] & columns)
    for seen, length in ((rows, height), (columns, width)):
        assert int(seen.sum()) == max(1, round(length * side / max(height, width)))
        places = seen.nonzero().flatten()
        assert int(side - 1 - places[-1] - places[0]) in (0, 1)


@settings(max_examples=40)
@given(height=SIDES, width=SIDES)
def test_cropping_keeps_the_middle_as_it_is(height: int, width: int) -> None:
    pixels, side = random_pixels(2, 1, height, width), min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    assert torch.equal(conform(pixels, None, None, "crop"), pixels[:, :, top : top + side, left : left + side])


@settings(max_examples=40)
@given(size=st.integers(8, 24), fit=st.sampled_from([None, *FITS]))
def test_square_images_are_the_same_by_any_rule(size: int, fit: Fit | None) -> None:
    pixels = random_pixels(2, 3, 16, 16)
    assert torch.equal(conform(pixels, size, 1, fit), conform(pixels, size, 1))


def test_nothing_is_squashed_silently() -> None:
    with pytest.raises(ValueError, match="no rule makes them so"):
        conform(random_pixels(1, 1, 8, 9), 8, None)
    with pytest.raises(DataError, match=r"^x: is 8 x 9 pixels, not square; set data\.fit to pad \(black beside it\)"):
        check_square("x", 8, 9, None)
    for fit in FITS:
        check_square("x", 8, 9, fit)


# --- windows ---------------------------------------------------------------------------------------------------------

WINDOWS = st.builds(Window, centre=st.floats(-1e9, 1e9), width=st.floats(1e-6, 1e9))
VALUES = st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=30)


@given(window=WINDOWS, values=VALUES)
def test_a_larger_value_is_never_darker(window: Window, values: list[float]) -> None:
    shown = windowed(np.sort(values), window).astype(int)
    assert (np.diff(shown) >= 0).all()


@given(window=WINDOWS, values=VALUES)
def test_a_value_is_shown_the_same_whatever_others_there_are(window: Window, values: list[float]) -> None:
    together = windowed(np.array(values), window)
    assert together.dtype == np.uint8
    assert together.tolist() == [int(windowed(np.array([value]), window)[0]) for value in values]


@given(window=WINDOWS, beyond=st.floats(0, 1e300))
def test_what_is_outside_is_black_or_white(window: Window, beyond: float) -> None:
    half = window.width / 2 * (1 + 1e-9) + abs(window.centre) * 1e-12 + beyond
    assert windowed(np.array([window.centre - half, window.centre + half]), window).tolist() == [0, 255]


@given(
    window=st.builds(Window, centre=st.integers(-4096, 4096), width=st.integers(1, 8192)),
    value=st.integers(-32768, 65535),
)
def test_a_value_is_the_nearest_byte(window: Window, value: int) -> None:
    exact = min(
        255, max(0, Fraction(255) * (value - Fraction(window.centre)) / Fraction(window.width) + Fraction(255, 2))
    )
    assert abs(int(windowed(np.array([value]), window)[0]) - exact) <= Fraction(1, 2) + Fraction(1, 10**9)


def test_bytes_through_their_own_window_stay_as_they_are() -> None:
    every = np.arange(256)
    for kind in (np.uint8, np.int16, np.float32):
        assert windowed(every.astype(kind), Window(centre=127.5, width=255)).tolist() == every.tolist()
