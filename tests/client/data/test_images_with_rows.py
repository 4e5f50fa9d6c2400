"""Images with rows are read with the line of each; what does not fit is refused without a patient's file or value."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from silogan.client.data import read
from silogan.common.config.scenario import parse_data
from silogan.common.errors import ConfigError, DataError
from silogan.common.modality.image import PIXELS
from tests.joint import CLASSES, joint_records, write_records


def options(folder: Path, count: int = 40) -> dict[str, Any]:
    return {"source": "images-with-rows", "classes": list(CLASSES), **write_records(folder, count)}


def edited(folder: Path, change: Callable[[list[str]], list[str]]) -> None:
    """Changes the lines of the rows' file."""
    path = folder / "rows.csv"
    path.write_text("\n".join(change(path.read_text(encoding="utf-8").splitlines())) + "\n", encoding="utf-8")


def test_each_image_has_its_own_row(tmp_path: Path) -> None:
    wanted = options(tmp_path)
    edited(tmp_path, lambda lines: [lines[0], *reversed(lines[1:]), "a/gone.png,P999,f,I,3,left"])
    found = read(parse_data(wanted))
    stored, _ = joint_records(40)
    assert len(found.train) + len(found.test) == 40
    for part in (found.train, found.test):
        for place in range(len(part)):
            (match,) = (stored[PIXELS] == part.stored[PIXELS][place]).all(dim=(1, 2, 3)).nonzero().squeeze(1).tolist()
            for name in ("sex", "stage", "dose", "side"):
                pair = torch.stack((part.stored[name][place], stored[name][match])).nan_to_num(-1)
                assert pair[0] == pair[1], name
    assert found.schema.describe() == "images of 8x8 pixels, grey with rows of 4 columns"


def test_the_same_file_may_name_patients(tmp_path: Path) -> None:
    found = read(parse_data({**options(tmp_path), "patients": str(tmp_path / "rows.csv")}))
    assert found.train.patient_names is not None
    assert found.test.patient_names is not None
    assert not set(found.train.patient_names) & set(found.test.patient_names)
    assert len(found.train.patient_names) + len(found.test.patient_names) == 20


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda lines: lines[:-1], "has no line in rows 'rows.csv'; add one"),
        (
            lambda lines: [*lines, lines[1]],
            "rows 'rows.csv': have two lines for one file; keep one line for each image",
        ),
        (lambda lines: [lines[0].replace("dose", "other"), *lines[1:]], "column 'dose' of rows 'rows.csv': is missing"),
        (
            lambda lines: [lines[0], lines[1].rsplit(",", 1)[0] + ",middle", *lines[2:]],
            "column 'side' of rows 'rows.csv': has a value that is not listed",
        ),
    ],
)
def test_rows_that_do_not_fit_are_refused(
    change: Callable[[list[str]], list[str]], message: str, tmp_path: Path
) -> None:
    wanted = options(tmp_path)
    edited(tmp_path, change)
    with pytest.raises(DataError) as raised:
        read(parse_data(wanted))
    assert message in str(raised.value)
    assert ".png" not in str(raised.value)
    assert "middle" not in str(raised.value)


@pytest.mark.parametrize("key", ["rows", "columns"])
def test_a_file_that_is_not_named_is_asked_for(key: str, tmp_path: Path) -> None:
    wanted = options(tmp_path, 10)
    del wanted[key]
    with pytest.raises(ConfigError, match=rf"^data\.{key}: is not given"):
        read(parse_data(wanted))
