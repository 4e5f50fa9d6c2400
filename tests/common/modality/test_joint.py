"""Images with rows: one float tensor holds both, and what is seen of them has a norm of at most 1."""

from pathlib import Path

import pytest
import torch

from silogan.common.config.scenario import parse_data
from silogan.common.errors import ConfigError
from silogan.common.modality import parse_schema
from silogan.common.modality.image import PIXELS
from silogan.common.modality.image_features import MOST_DIMENSIONS, Spectrum
from silogan.common.modality.joint import JointSchema
from silogan.common.modality.joint_features import JointSpectrum, seen
from silogan.common.modality.table import TableSchema
from tests.joint import joint_records, joint_schema


@pytest.fixture(scope="module", name="schema")
def _schema(tmp_path_factory: pytest.TempPathFactory) -> JointSchema:
    return joint_schema(tmp_path_factory.mktemp("joint"))


def test_records_survive_encoding(schema: JointSchema) -> None:
    stored, _ = joint_records(50)
    batch = schema.encode(stored)
    assert batch.shape == (50, *schema.shape)
    back = schema.decode(batch)
    assert set(back) == set(stored)
    for name, part in stored.items():
        assert torch.equal(back[name].nan_to_num(-1), part.nan_to_num(-1)), name


def test_schema_survives_being_written(schema: JointSchema) -> None:
    assert parse_schema(schema.to_plain()) == schema
    renamed = schema.with_classes(("x", "y", "z"))
    assert renamed.row.classes == renamed.classes == ("x", "y", "z")


@pytest.mark.parametrize("name", ["file", PIXELS])
def test_a_column_that_stands_for_the_image_is_refused(name: str) -> None:
    column = {"type": "category", "name": name, "values": ["a"], "spellings": [["a"]]}
    row = TableSchema(classes=("a",), columns=(column,))  # pyright: ignore[reportArgumentType]  (it is parsed)
    with pytest.raises(ValueError, match=f"names a column '{name}', which stands for the image"):
        JointSchema(("a",), 8, 1, row)


def test_a_row_has_no_code_sets() -> None:
    column = {"type": "category", "name": "sex", "values": ["a"], "spellings": [["a"]]}
    codes = {"type": "codes", "name": "dx", "values": ["E11", "I10"], "most": 1}
    row = TableSchema(classes=("a",), columns=(column,), code_sets=(codes,))  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="has a code set, 'dx': rows of images have none"):
        JointSchema(("a",), 8, 1, row)


@pytest.mark.parametrize("share", [0.01, 0.1, 0.9])
def test_no_record_has_a_norm_above_one(share: float, schema: JointSchema) -> None:
    stored, _ = joint_records(50)
    white = torch.full_like(stored[PIXELS], 255)
    for pixels in (white, torch.zeros_like(white), stored[PIXELS]):
        f = seen(schema, 3, share).of(schema.encode({**stored, PIXELS: pixels})).double()
        assert float(f.norm(dim=1).max()) <= 1 + 1e-6


def test_features_give_the_row_back_and_a_smooth_image(schema: JointSchema) -> None:
    stored, _ = joint_records(20)
    spectrum = JointSpectrum(schema, Spectrum(schema.image.shape, 8), 0.1)
    back = schema.decode(spectrum.back(spectrum.of(schema.encode(stored))))
    assert int((back[PIXELS].int() - stored[PIXELS].int()).abs().max()) <= 1  # all frequencies are kept
    assert torch.equal(back["sex"], stored["sex"])


def test_too_many_dimensions_are_refused(schema: JointSchema) -> None:
    with pytest.raises(ValueError, match=f"there are more than {MOST_DIMENSIONS}"):
        seen(JointSchema(("a", "b"), 32, 1, schema.row), 32, 0.1)


def test_a_description_with_a_label_is_refused(tmp_path: Path) -> None:
    text = "label: {column: ill, classes: [a, b]}\ncolumns: {x: {type: binary, values: [u, v]}}"
    (tmp_path / "columns.yaml").write_text(text, encoding="utf-8")
    options = {"image_size": 8, "channels": 1, "classes": ["a", "b"], "columns": tmp_path / "columns.yaml"}
    data = parse_data({"source": "images-with-rows", **options})
    with pytest.raises(ConfigError, match=r"^data\.columns: names a label, 'ill', but the class of an image"):
        data.declared_schema()
