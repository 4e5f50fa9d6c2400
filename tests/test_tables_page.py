"""The page on tables shows a description that is right, and names every key that there is."""

import re
from pathlib import Path
from typing import Any

import yaml

from silogan.client.data import read
from silogan.common.config.scenario import parse_data
from silogan.common.modality import table_file
from silogan.common.modality.table_file import read_description

PAGE = (Path(__file__).parents[1] / "docs" / "tables.md").read_text(encoding="utf-8")
FIRST, SCENARIO = re.findall(r"^```yaml\n(.*?)^```$", PAGE, flags=re.MULTILINE | re.DOTALL)


def test_its_description_reads_a_file(tmp_path: Path) -> None:
    (tmp_path / "columns.yaml").write_text(FIRST, encoding="utf-8")
    (tmp_path / "wards").mkdir()
    rows = ["61,0,?,0,II,2020-03-09,E11|I10,P1,0", "17,male,no,233.0,IV,2026-12-31,,P2,4"]
    header = "age,sex,pregnant,chol,stage,admitted,diagnoses,patient_id,num"
    (tmp_path / "wards" / "bergen.csv").write_text("\n".join([header, *rows]), encoding="utf-8")
    options: dict[str, Any] = yaml.safe_load(SCENARIO)["data"]
    places = {key: tmp_path / options[key] for key in ("root", "columns")}
    found = read(parse_data(options | places), may_be_empty=True)
    assert len(found.train) + len(found.test) == 2
    assert found.schema == read_description(tmp_path / "columns.yaml")


def test_its_tables_name_every_key() -> None:
    first_cells = [line.split(" | ")[0] for line in PAGE.splitlines() if line.startswith("| `")]
    sections = [table_file._Description, *table_file._TYPES.values()]
    assert {key for cell in first_cells for key in re.findall(r"`(\w+)`", cell)} == {
        key for section in sections for key in section.model_fields
    }
