"""docs/synthetic-data.md: each way to load what `silogan generate` writes is tried as it stands there."""

import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from silogan.server.release.about import About
from silogan.server.release.outputs import OUTPUTS
from tests.server.release.outputs.pictures import about, drawn

PAGE = (Path(__file__).parents[1] / "docs" / "synthetic-data.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
PLACES = {
    "png": "synthetic",
    "npz": "synthetic.npz",
    "parquet": "synthetic.parquet",
    "dicom": "synthetic-dicom",
    "nifti": "synthetic-nifti",
}

CHECKS: dict[str, Callable[[dict[str, Any]], bool]] = {
    "torchvision.datasets": lambda found: (len(found["images"]), found["image"].size, found["label"]) == (6, (7, 7), 0),
    "json,": lambda found: (len(found["images"]), found["images"][1][1].tolist()) == (6, [1]),
    "io,": lambda found: (len(found["table"]), found["image"].size, found["label"]) == (6, (7, 7), 0),
    "pydicom": lambda found: found["image"].pixel_array.shape == (7, 7) and found["image"].SyntheticData == "YES",
    "nibabel": lambda found: (found["stack"].shape, found["first"].shape) == ((7, 7, 3), (7, 7)),
    "mlcroissant": lambda found: len(found["rows"]) == 6,
}
"""What each way gives, by the first word after `import` or `from`."""


@pytest.fixture(scope="module")
def of() -> About:
    return about(6, classes=("normal", "pneumonia"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, of: About) -> Path:
    """A data set in each format."""
    place = tmp_path_factory.mktemp("page")
    for file_format, name in PLACES.items():
        OUTPUTS["image"].formats[file_format](place / name, drawn(of), of)
    return place


def run(block: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the libraries' own dependencies
        exec(block, found)  # noqa: S102  (our own page)
    return found


@pytest.mark.parametrize("block", BLOCKS, ids=CHECKS)
def test_each_format_loads_as_the_page_says(folder: Path, monkeypatch: pytest.MonkeyPatch, block: str) -> None:
    monkeypatch.chdir(folder)
    assert CHECKS[block.split()[1]](run(block))


def test_there_is_a_way_for_every_format() -> None:
    assert len(BLOCKS) == len(PLACES) + 1  # and by the description
    for file_format in OUTPUTS["image"].formats:
        assert f"| `{file_format}`" in PAGE


def test_the_page_names_every_fact(of: About) -> None:
    for fact in of.facts():
        assert re.search(rf"^\| .*`{fact}`.* \|", PAGE, re.MULTILINE)
