"""The picture of a table: marked, the same each time, and drawn for any schema."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from silogan.common.modality.table import Number, TableSchema
from silogan.server.release.generator import ReleasedGenerator
from silogan.server.release.outputs.table_preview import COLOURS, MOST_PANELS
from silogan.server.release.samples import sample_grid
from tests.server.release.tables import CODES, DRUGS, category, mixture, released, schema


def pixels(png: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(png)) as image:
        return np.asarray(image.convert("RGB"))


def share_of(colour: str, shown: np.ndarray) -> float:
    return float((shown == [int(colour[place : place + 2], 16) for place in (1, 3, 5)]).all(axis=2).mean())


def test_each_class_has_its_colour_and_the_picture_its_marks() -> None:
    png = sample_grid(released())
    with Image.open(io.BytesIO(png)) as image:
        image.load()
        assert image.info == {"SiloGAN": "synthetic; seeded", "study": "ab12"}
    shares = [share_of(colour, pixels(png)) for colour in COLOURS]
    assert min(shares[:2]) > 0.02
    assert max(shares[2:]) == 0
    assert png == sample_grid(released())


def test_bars_are_as_long_as_values_are_frequent() -> None:
    of = schema(category("sex", ("F", "M")))
    network = mixture(of, 1)
    network.cells.copy_(torch.tensor([[0.75, 0.25]]))
    shown = pixels(sample_grid(ReleasedGenerator(network, of, (), "s")))
    first = [int(COLOURS[0][place : place + 2], 16) for place in (1, 3, 5)]
    lengths = (shown == first).all(axis=2)[40:].sum(axis=1)
    lengths = lengths[lengths > 0]
    assert abs(lengths.min() / lengths.max() - 1 / 3) < 0.05


@pytest.mark.parametrize("classes", [1, 6, 7, 200])
def test_any_number_of_classes_and_columns_finds_room(classes: int) -> None:
    columns = [Number("number", f"column {number} " + "x" * 80, -1e9, 1e9, unit="y" * 90) for number in range(35)]
    of = TableSchema(tuple(f"class {code} " + "z" * 80 for code in range(classes)), tuple(columns))
    shown = pixels(sample_grid(ReleasedGenerator(mixture(of, 2), of, (), "s")))
    assert shown.shape[1] < 1100
    assert len(columns) > MOST_PANELS


def test_columns_of_one_value_and_of_missing_ones_are_drawn() -> None:
    of = schema(category("one", ("only",)), Number("number", "two", 0, 1, 1.0, optional=True))
    network = mixture(of, 1)
    network.cells[0, -3:] = torch.tensor([0.0, 0.0, 1.0])
    assert share_of(COLOURS[0], pixels(sample_grid(ReleasedGenerator(network, of, (), "s")))) > 0


def test_codes_are_drawn_those_that_are_seen_most() -> None:
    plain = schema(category("sex", ("F", "M")))
    of = schema(category("sex", ("F", "M")), code_sets=(CODES, DRUGS))
    shown, without = (pixels(sample_grid(released(known))) for known in (of, plain))
    assert shown.shape[1] > without.shape[1]
    assert share_of(COLOURS[1], shown) > 0.01
