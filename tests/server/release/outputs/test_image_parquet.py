"""Images in Parquet, in the schema of Hugging Face's `datasets`."""

import io
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from silogan.common.errors import UsageError
from silogan.server.release.about import About
from silogan.server.release.outputs.image_parquet import write_parquet
from tests.server.release.outputs.described import records, validated
from tests.server.release.outputs.pictures import about, drawn, expected

parquet: Any = pytest.importorskip("pyarrow.parquet")


def written(folder: Path, of: About, *, labelled: bool = True) -> Path:
    write_parquet(folder / "x.parquet", drawn(of, labelled=labelled), of)
    return folder / "x.parquet"


@pytest.mark.parametrize("channels", [1, 3])
def test_pyarrow_reads_images_and_labels(tmp_path: Path, channels: int) -> None:
    of = about(5, channels=channels)
    table = parquet.read_table(written(tmp_path, of))
    assert table.column("label").to_pylist() == [0, 1, 0, 1, 0]
    assert str(table.schema.field("image").type) == "struct<bytes: binary, path: string>"
    images = [np.asarray(Image.open(io.BytesIO(one["bytes"]))) for one in table.column("image").to_pylist()]
    for code, name in enumerate(of.schema.classes):
        assert np.array_equal(images[code::2], expected(of)[name])


def test_metadata_say_what_it_is_and_how_to_decode(tmp_path: Path) -> None:
    of = about(3)
    metadata = parquet.read_schema(written(tmp_path, of)).metadata
    assert {name: metadata[name.encode()].decode() for name in of.facts()} == of.facts()
    assert json.loads(metadata[b"huggingface"]) == {
        "info": {
            "features": {"image": {"_type": "Image"}, "label": {"names": ["a b", "ä"], "_type": "ClassLabel"}},
        }
    }


def test_each_image_carries_its_mark_where_it_is_taken_out(tmp_path: Path) -> None:
    of = about(3)
    first = parquet.read_table(written(tmp_path, of)).column("image")[0].as_py()
    with Image.open(io.BytesIO(first["bytes"])) as image:
        assert image.text["SiloGAN"] == "synthetic; seeded"  # pyright: ignore[reportAttributeAccessIssue]


def test_croissant_reads_the_same_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    of = about(3)
    written(tmp_path, of)
    found = records(validated(tmp_path / "x.parquet.croissant.json", monkeypatch), "records")
    assert [one["label"] for one in found] == [0, 1, 0]
    assert np.array_equal(np.asarray(found[1]["image"].convert("L")), expected(of)["ä"][0])


def test_images_without_a_class_have_no_label(tmp_path: Path) -> None:
    assert parquet.read_schema(written(tmp_path, about(3), labelled=False)).names == ["image"]


def test_without_pyarrow_it_says_what_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UsageError, match=r"^--format parquet: needs pyarrow, .* or use png or npz$"):
        written(tmp_path, about(3))
    assert not list(tmp_path.iterdir())
