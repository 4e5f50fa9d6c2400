"""Images with masks as tensors: the mask is the last channel, and every batch decodes to a mask of 0 and 255."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from silogan.common.modality import parse_schema
from silogan.common.modality.image import PIXELS
from silogan.common.modality.masked import MASK, MaskedSchema

SIZES = st.integers(1, 12)


def schema(size: int = 8, channels: int = 1) -> MaskedSchema:
    return MaskedSchema(size, channels, ("a", "b"))


@given(SIZES, st.sampled_from((1, 3)), st.integers(0, 2**31))
def test_what_is_stored_comes_back(size: int, channels: int, seed: int) -> None:
    rng = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (3, channels, size, size), generator=rng, dtype=torch.uint8)
    mask = torch.randint(0, 2, (3, 1, size, size), generator=rng, dtype=torch.uint8) * 255
    of = schema(size, channels)
    encoded = of.encode({PIXELS: pixels, MASK: mask})
    assert encoded.shape == (3, *of.shape) == (3, channels + 1, size, size)
    assert encoded.dtype == torch.float32
    assert encoded.abs().max() <= 1
    decoded = of.decode(encoded)
    assert set(decoded) == {PIXELS, MASK}
    assert decoded[PIXELS].equal(pixels)
    assert decoded[MASK].equal(mask)


@given(st.integers(0, 2**31), st.floats(0.1, 1e4))
def test_any_batch_decodes_to_a_record(seed: int, scale: float) -> None:
    batch = torch.randn(4, *schema().shape, generator=torch.Generator().manual_seed(seed)) * scale
    decoded = schema().decode(batch)
    assert set(decoded[MASK].unique().tolist()) <= {0, 255}
    assert decoded[MASK].equal((batch[:, -1:] > 0).byte() * 255)
    assert decoded[PIXELS].dtype == decoded[MASK].dtype == torch.uint8


def test_the_features_see_the_mask() -> None:
    of = schema()
    features = of.features(frequencies=4, largest_norm=1.0)
    batch = torch.full((1, *of.shape), -0.5)
    assert features.dimensions == 2 * 4**2
    other = batch.clone()
    other[:, -1] = 1
    assert not features.of(batch).equal(features.of(other))
    assert features.of(other).norm(dim=1).max() < 1


def test_a_register_holds_it() -> None:
    of = schema(channels=3)
    assert parse_schema(of.to_plain()) == of
    assert of.describe() == "images of 8x8 pixels, colour with masks"
    assert of.difference(schema()) == "channels"
    assert of.difference(of.image) == "kind"
    assert of.with_classes(("c",)).classes == ("c",)
