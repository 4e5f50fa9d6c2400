"""Files of synthetic rows are read whatever tool wrote them, and measured against the real rows of a scenario."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from silogan.common.config.scenario import load_scenario
from silogan.common.errors import DataError, SiloganError, UsageError
from silogan.common.modality.code_set import CodeSet
from silogan.common.modality.table import Category, Column, Number, TableSchema
from silogan.common.models.networks import Drawn
from silogan.common.wire.study import Study
from silogan.server.release.generator import ReleasedGenerator
from silogan.server.release.outputs import OUTPUTS
from silogan.simulations.evaluate import evaluate
from silogan.simulations.prepare import prepare
from silogan.simulations.synthetic_rows import read_rows
from tests.server.evaluation.tables import SCHEMA, rows
from tests.server.release.tables import CODES, COLUMNS, DRUGS, released, schema

DESCRIPTION = """
label: {column: state, classes: {well: 0, ill: 1}}
sensitive: [sex]
impossible: [{sex: F, kin: husband}]
columns:
  age: {type: integer, min: 20, max: 90, edges: [40, 60]}
  sex: {type: binary, values: {F: 0, M: 1}}
  kin: {type: categorical, values: [husband, wife, none]}
  dose: {type: numeric, min: 0, max: 10, optional: true}
"""
SCENARIO = """
name: wards
seed: 0
data: {source: table, root: ROOT, columns: COLUMNS}
sites: {count: 2}
model: {family: mixture}
training: {rounds: 0}
privacy: {epsilon: 10, delta: 1.0e-4}
"""
SEX = Category("category", "sex", ("F", "M"), (("0",), ("1",)))
DX = CodeSet("codes", "dx", ("a", "b", "c"), 2)
WRITTEN = replace(SCHEMA, columns=(SCHEMA.columns[0], SEX, *SCHEMA.columns[2:]), code_sets=(DX,))
"""With the spellings of the files below."""


def write(path: Path, of: int, seed: int, *, header: str = "age,sex,kin,dose,state", **changes: str) -> Path:
    """Rows as hospitals write them, but that all values of some columns are others."""
    stored, labels = rows(of, seed)
    kin = ("husband", "wife", "none")
    columns = {
        "age": [f"{age:g}" for age in stored["age"].tolist()],
        "sex": [str(int(sex)) for sex in stored["sex"].tolist()],
        "kin": [kin[int(code)] for code in stored["kin"].tolist()],
        "dose": ["" if math.isnan(dose) else str(dose) for dose in stored["dose"].tolist()],
        "state": [str(label) for label in labels.tolist()],
    }
    columns |= {name: [text] * of for name, text in changes.items()}
    lines = [",".join(columns[name][row] for name in header.split(",")) for row in range(of)]
    path.write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
    return path


def alone(column: Column) -> TableSchema:
    return replace(SCHEMA, columns=(column,), sensitive=(), impossible=())


@pytest.fixture(scope="module")
def scenario(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("real")
    write(folder / "real.csv", 800, 1)
    (folder / "columns.yaml").write_text(DESCRIPTION, encoding="utf-8")
    text = SCENARIO.replace("ROOT", str(folder / "real.csv")).replace("COLUMNS", str(folder / "columns.yaml"))
    (folder / "wards.yaml").write_text(text, encoding="utf-8")
    return folder / "wards.yaml"


@pytest.mark.parametrize("name", ["rows.csv", "rows.parquet"])
def test_what_generate_wrote_is_read_as_it_was_drawn(name: str, tmp_path: Path) -> None:
    generator = released()
    (drawn,) = generator.draw(500, torch.Generator().manual_seed(0))
    OUTPUTS["table"].formats[name.rpartition(".")[2]](tmp_path / name, [drawn], generator.about(0))
    stored, labels = read_rows(tmp_path / name, schema())
    assert drawn.labels is not None
    assert labels is not None
    assert labels.tolist() == drawn.labels.tolist()
    for column in COLUMNS:
        known, found = drawn.records[column.name], stored[column.name]
        assert torch.equal(known.nan_to_num(-1e9), found.nan_to_num(-1e9)), column.name


@pytest.mark.parametrize("name", ["rows.csv", "rows.parquet"])
def test_codes_that_generate_wrote_are_read_as_they_were_drawn(name: str, tmp_path: Path) -> None:
    of = schema(code_sets=(CODES, DRUGS))
    generator = released(of)
    (drawn,) = generator.draw(500, torch.Generator().manual_seed(0))
    OUTPUTS["table"].formats[name.rpartition(".")[2]](tmp_path / name, [drawn], generator.about(0))
    stored, _ = read_rows(tmp_path / name, of)
    for one in of.code_sets:
        assert drawn.records[one.name].any()
        assert torch.equal(stored[one.name], drawn.records[one.name]), one.name


def test_rows_with_codes_are_measured_and_those_of_too_many_counted(tmp_path: Path) -> None:
    text = DESCRIPTION + "  dx: {type: codes, values: [a, b, c], most: 2}\n"
    (tmp_path / "columns.yaml").write_text(text, encoding="utf-8")
    write(tmp_path / "real.csv", 400, 1, header="age,sex,kin,dose,state,dx", dx="a|b")
    places = SCENARIO.replace("ROOT", str(tmp_path / "real.csv")).replace("COLUMNS", str(tmp_path / "columns.yaml"))
    (tmp_path / "wards.yaml").write_text(places, encoding="utf-8")
    rows_file = write(tmp_path / "rows.csv", 100, 2, header="dx,age,sex,kin,dose,state", dx="c|a|b")
    table = evaluate(rows_file, tmp_path / "wards.yaml")["table"]
    assert table["violations"]["by_rule"] == {"number of codes of dx": 100}
    assert table["codes"]["per_row"] == {"synthetic": 3, "train": 2, "test": 2}


def test_rows_that_are_like_the_real_ones_are_found_to_be(scenario: Path, tmp_path: Path) -> None:
    figures = evaluate(write(tmp_path / "rows.csv", 800, 2), scenario)
    assert abs(figures["utility"]["auroc_synthetic"] - figures["utility"]["auroc_real"]) < 0.05
    assert figures["table"]["violations"] == {"rows": 800, "violating": 0, "by_rule": {}}
    assert figures["table"]["baselines"] == {}
    assert figures["utility_reason"] is None
    json.dumps(figures, allow_nan=False)


def test_numbers_beyond_their_range_and_missing_values_are_counted(scenario: Path, tmp_path: Path) -> None:
    figures = evaluate(write(tmp_path / "rows.csv", 200, 2, age="91.5", sex=""), scenario, ["evaluation.risks=true"])
    broken = figures["table"]["violations"]
    assert broken["violating"] == 200
    assert broken["by_rule"] == {"values of age": 200, "values of sex": 200}
    assert figures["table"]["risks"] is not None


def test_a_run_says_who_holds_the_real_rows(scenario: Path, tmp_path: Path) -> None:
    study = prepare(load_scenario(scenario), tmp_path / "run")
    assert isinstance(study, Study)
    figures = evaluate(write(tmp_path / "rows.CSV", 100, 2), tmp_path / "run")
    taught = [one["learnt_from"] for one in figures["table"]["scores"]]
    assert taught == ["synthetic", "real", "hospital site-1", "hospital site-2"]


def test_tables_of_other_tools_are_read(tmp_path: Path) -> None:
    """Dates with a time, numbers as floats, NaN for a missing value, other columns, and another order."""
    dated = replace(SCHEMA, columns=(*SCHEMA.columns, Number("number", "seen", 0, 9, 1.0, date=True)))
    columns = {
        "state": pa.array([1.0, 0.0, 1.0]),
        "more": pa.array([1, 2, 3]),
        "seen": pa.array([0, 86_400_000, 950_400_000], pa.timestamp("ms")),
        "age": pa.array([40, 41, 200]),
        "dose": pa.array([0.5, math.nan, None]),
        "sex": pa.array(["F", "M", None]).dictionary_encode(),
        "kin": pa.array(["none", "wife", "none"]),
    }
    pq.write_table(pa.table(columns), tmp_path / "rows.parquet")
    stored, labels = read_rows(tmp_path / "rows.parquet", dated)
    assert labels is not None
    assert labels.tolist() == [1, 0, 1]
    assert set(stored) == {"age", "sex", "kin", "dose", "seen"}
    assert stored["age"].tolist() == [40, 41, 200]
    assert stored["seen"].tolist() == [0, 1, 11]
    assert stored["dose"].isnan().tolist() == [False, True, True]
    assert stored["sex"].nan_to_num(-1).tolist() == [0, 1, -1]


def test_a_number_that_real_rows_have_moved_to_its_range_is_moved(tmp_path: Path) -> None:
    age = Number("number", "age", 20, 90, 1.0, clamp=True)
    stored, _ = read_rows(write(tmp_path / "rows.csv", 3, 1, age="200"), alone(age))
    assert stored["age"].tolist() == [90, 90, 90]


def test_a_name_that_files_have_for_another_value_is_not_guessed(tmp_path: Path) -> None:
    turned = Category("category", "sex", ("0", "1"), (("1",), ("0",)))
    path = write(tmp_path / "rows.csv", 3, 1)
    with pytest.raises(DataError, match="column 'sex': calls a value '0' as files write another; rename it"):
        read_rows(path, alone(turned))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"kin": "child"}, "column 'kin' of 'ROWS': has a value that is not listed"),
        ({"age": "old"}, "column 'age' of 'ROWS': has a value that is not a number"),
        ({"state": "2"}, "column 'state' of 'ROWS': has a value that is none of the classes"),
        ({"dx": "a|z"}, "column 'dx' of 'ROWS': has a code that is not listed"),
        ({"header": "age,sex,kin,dose,state"}, "column 'dx' of 'ROWS': is missing"),
        ({"state": ""}, "column 'state' of 'ROWS': has a row without a label"),
        ({"header": "age,sex,kin,dose,dx"}, "column 'state' of 'ROWS': is missing"),
        ({"header": "age,sex,kin,dose,state,dx,age"}, "column 'age' of 'ROWS': is there twice"),
    ],
)
def test_rows_that_cannot_be_meant_are_refused(changes: dict[str, str], says: str, tmp_path: Path) -> None:
    path = write(tmp_path / "rows.csv", 3, 1, **{"header": "age,sex,kin,dose,state,dx", "dx": "a", **changes})
    with pytest.raises(DataError) as caught:
        read_rows(path, WRITTEN)
    assert str(caught.value).startswith(says.replace("ROWS", str(path)))


@pytest.mark.parametrize("content", [b"", b"PAR1", b"PAR1" + bytes(100) + b"PAR1", b"age,sex\n1,2\n"])
def test_a_damaged_parquet_file_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"is not a Parquet file that can be read; write it again$"):
        read_rows(path, SCHEMA)


def test_parquet_without_a_column_or_without_rows_is_refused(tmp_path: Path) -> None:
    columns: dict[str, Any] = {name: pa.array([], pa.string()) for name in ("age", "sex", "kin", "dose", "state")}
    for kept, says in (([*columns], "has no rows"), (["age"], "column 'sex' of .*: is missing")):
        pq.write_table(pa.table({name: columns[name] for name in kept}), tmp_path / "rows.parquet")
        with pytest.raises(DataError, match=says):
            read_rows(tmp_path / "rows.parquet", SCHEMA)


@pytest.mark.parametrize(
    ("real", "overrides", "says"),
    [
        (None, None, "--real: is missing; name the scenario of the real rows, or a run folder"),
        ("FOLDER", None, "--real FOLDER: does not say what the columns mean; give the scenario"),
        ("missing.yaml", None, "scenario 'missing.yaml': is neither a file nor the name of a scenario"),
        ("digits", None, "--real SCENARIOS/digits.yaml: is of images, not of table rows; give that of a table"),
        ("digit", None, "scenario 'digit': is neither a file nor the name of a scenario; did you mean 'digits'?"),
        ("FOLDER", ["seed=1"], "--set: changes a scenario; give drawn records, and --real SCENARIO.yaml"),
        (None, ["seed=1"], "--set: changes a scenario; give drawn records, and --real SCENARIO.yaml"),
    ],
)
def test_what_says_nothing_of_the_real_rows_is_refused(
    real: str | None, overrides: list[str] | None, says: str, tmp_path: Path
) -> None:
    scenarios = Path(__file__).resolve().parents[2] / "simulations" / "scenarios"
    places = {"FOLDER": tmp_path, "digits": scenarios / "digits.yaml"}
    rows_file = write(tmp_path / "rows.csv", 3, 1)
    with pytest.raises(SiloganError) as caught:
        evaluate(rows_file, None if real is None else places.get(real, Path(real)), overrides)
    assert str(caught.value).startswith(says.replace("FOLDER", str(tmp_path)).replace("SCENARIOS", str(scenarios)))


def test_images_take_no_changes_of_a_scenario(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"^--set: changes a scenario"):
        evaluate(tmp_path, tmp_path, ["seed=1"])


def test_rows_of_a_class_each_have_a_column_for_it(tmp_path: Path) -> None:
    """The data that comes with the software has no column of labels in a file, but what is drawn from it has."""
    scenario = Path(__file__).resolve().parents[2] / "simulations" / "scenarios" / "breast-cancer.yaml"
    of = load_scenario(scenario).data.declared_schema()
    assert isinstance(of, TableSchema)
    records = {column.name: torch.full((2,), 0.05, dtype=torch.float64) for column in of.columns}
    generator = ReleasedGenerator(released().network, of, (), "ab12")
    drawn = Drawn(records, torch.tensor([1, 0]))
    OUTPUTS["table"].formats["csv"](tmp_path / "rows.csv", [drawn], generator.about(0))
    _, labels = read_rows(tmp_path / "rows.csv", of)
    assert labels is not None
    assert labels.tolist() == [1, 0]
