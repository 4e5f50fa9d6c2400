"""The schema survives being written and read, and cannot be changed on the way."""

import json
from dataclasses import FrozenInstanceError, asdict

import pytest
import yaml

from common.modality.image import ImageSchema

SCHEMA = ImageSchema(size=28, channels=3, classes=("no finding", "Pneumonie"))


def test_plain_values_give_the_schema_back() -> None:
    assert ImageSchema.from_plain(json.loads(json.dumps(asdict(SCHEMA)))) == SCHEMA
    listed = {**asdict(SCHEMA), "classes": list(SCHEMA.classes)}
    assert ImageSchema.from_plain(yaml.safe_load(yaml.safe_dump(listed))) == SCHEMA


def test_labels_are_counted() -> None:
    assert SCHEMA.num_classes == 2


def test_it_is_frozen_and_hashable() -> None:
    assert hash(SCHEMA) == hash(ImageSchema(28, 3, ("no finding", "Pneumonie")))
    with pytest.raises(FrozenInstanceError):
        SCHEMA.size = 32  # pyright: ignore[reportAttributeAccessIssue]
