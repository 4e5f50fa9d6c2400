"""The schema survives being written and read, cannot be changed on the way, and its two directions fit each other."""

import json
from dataclasses import FrozenInstanceError

import pytest
import torch
import yaml

from silogan.common.modality import parse_schema
from silogan.common.modality.image import PIXELS, ImageSchema, to_unit_range

SCHEMA = ImageSchema(size=28, channels=3, classes=("no finding", "Pneumonie"))


def test_plain_values_give_the_schema_back() -> None:
    assert SCHEMA.to_plain()["kind"] == "image"
    assert parse_schema(json.loads(json.dumps(SCHEMA.to_plain()))) == SCHEMA
    assert parse_schema(yaml.safe_load(yaml.safe_dump(SCHEMA.to_plain()))) == SCHEMA


def test_entry_of_an_older_register_is_of_images() -> None:
    assert parse_schema({"channels": 3, "classes": ["no finding", "Pneumonie"], "size": 28}) == SCHEMA


@pytest.mark.parametrize(
    "change", [{"kind": "sound"}, {"kind": ["image"]}, {"size": "28"}, {"channels": 2}, {"more": 1}, {"classes": []}]
)
def test_what_is_no_schema_is_refused(change: dict[str, object]) -> None:
    with pytest.raises((ValueError, TypeError, KeyError)):
        parse_schema({**SCHEMA.to_plain(), **change})


def test_labels_are_counted() -> None:
    assert SCHEMA.num_classes == 2
    assert SCHEMA.with_classes(("a",)) == ImageSchema(28, 3, ("a",))


def test_it_is_frozen_and_hashable() -> None:
    assert hash(SCHEMA) == hash(ImageSchema(28, 3, ("no finding", "Pneumonie")))
    with pytest.raises(FrozenInstanceError):
        SCHEMA.size = 32  # pyright: ignore[reportAttributeAccessIssue]


def test_unit_range_is_affine_in_the_byte_and_keeps_the_bytes() -> None:
    values = torch.arange(256, dtype=torch.uint8)
    scaled = to_unit_range(values)
    assert scaled.dtype == torch.float32
    assert (float(scaled[0]), float(scaled[255])) == (-1.0, 1.0)
    torch.testing.assert_close(scaled.double(), torch.arange(256).double() / 127.5 - 1, rtol=0, atol=1e-6)
    assert values.equal(torch.arange(256, dtype=torch.uint8))


def test_decoding_gives_every_byte_back_and_nothing_else() -> None:
    stored = {PIXELS: torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)}
    schema = ImageSchema(16, 1, ("a",))
    assert schema.decode(schema.encode(stored))[PIXELS].equal(stored[PIXELS])
    wild = schema.decode(torch.tensor([-7.0, -1.0, 0.0, 1.0, 7.0]).expand(1, 1, 16, 5))[PIXELS]
    assert wild.dtype == torch.uint8
    assert wild[0, 0, 0].tolist() == [0, 0, 128, 255, 255]


def test_it_says_what_it_is() -> None:
    assert SCHEMA.describe() == "images of 28x28 pixels, colour"
