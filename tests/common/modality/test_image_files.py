"""Images are brought to one size and number of channels by public constants, whatever they were."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from silogan.common.modality import image_files
from silogan.common.modality.image_files import conform


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
