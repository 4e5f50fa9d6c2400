"""A second kind of record goes all the way, by five lines in registries: nothing else knows what a record is."""

import csv
from pathlib import Path
from typing import Any

import pytest

from silogan.client.data import READERS
from silogan.client.data.fingerprints import fingerprints
from silogan.common.config.scenario import load_scenario, parse_scenario
from silogan.common.errors import ConfigError, UsageError
from silogan.common.modality import KINDS, parse_schema
from silogan.common.models.networks import FAMILIES
from silogan.common.wire.run_folder import GENERATOR_FILE, RUN_FILE
from silogan.common.wire.study import SiteDeclaration, Study
from silogan.server.evaluation import EVALUATORS
from silogan.server.operations.submission import make_study
from silogan.server.release.generate import generate
from silogan.server.release.generator import load_generator
from silogan.server.release.outputs import OUTPUTS
from silogan.simulations.evaluate import evaluate
from silogan.simulations.simulate import simulate
from tests.modality import evaluator, family, output, reader
from tests.modality.schema import RANGES, TABLE, TableSchema

SITE = SiteDeclaration("bergen", 40)
SCENARIO = Path(__file__).parent / "ward.yaml"


@pytest.fixture(autouse=True)
def _registered(monkeypatch: pytest.MonkeyPatch, threads_kept: None) -> None:
    monkeypatch.setitem(KINDS, "ward", TABLE)
    monkeypatch.setitem(READERS, "ward", reader.read)
    monkeypatch.setitem(FAMILIES, "perceptron", family.build)
    monkeypatch.setitem(OUTPUTS, "ward", output.OUTPUT)
    monkeypatch.setitem(EVALUATORS, "ward", evaluator.evaluate)


def test_table_goes_from_the_reader_to_the_report(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    report = simulate(load_scenario(SCENARIO), folder)
    assert "kind: ward" in (folder / RUN_FILE).read_text(encoding="utf-8")
    assert Study.load(folder).schema == TableSchema(("well", "ill"))
    assert (report["rounds"], report["private"], report["unit"]) == (3, True, "patient")
    assert report["records"] == {"noun": "table rows", "described": "table rows of age, glucose, pressure"}
    # Two classes that a line parts: chance is 0.5, and a generator that learnt nothing stays near it.
    assert report["utility"]["accuracy_synthetic"] > 0.7
    assert report["utility"]["accuracy_real"] > 0.95
    assert "table rows of age, glucose, pressure" in (folder / "report.html").read_text(encoding="utf-8")

    said = generate(folder, count=50, out=tmp_path / "rows.csv", file_format=None, labels=("ill",), seed=1)
    assert str(said).startswith("50 synthetic table rows in ")
    rows = list(csv.DictReader((tmp_path / "rows.csv").read_text(encoding="utf-8").splitlines()))
    assert len(rows) == 50
    assert {row["class"] for row in rows} == {"ill"}
    assert all(low <= float(row[name]) <= high for row in rows for name, (low, high) in RANGES.items())
    with pytest.raises(UsageError, match="--format png: is not available for table rows; use csv"):
        generate(folder, count=1, out=tmp_path / "x", file_format="png", labels=None, seed=None)

    assert evaluate(folder, None)["utility"] == report["utility"]
    assert load_generator(folder / GENERATOR_FILE).schema.kind == "ward"


def test_schema_survives_being_written() -> None:
    assert parse_schema(TableSchema(("a",)).to_plain()) == TableSchema(("a",))


def test_rows_are_recognised_again() -> None:
    data = reader.read(TABLE.sources["ward"](rows=40))  # pyright: ignore[reportArgumentType, reportCallIssue]
    found = fingerprints(data.train, "patient", lambda _purpose: bytes(32))
    assert len(found) == 20 + 40


def test_coordinator_proposes_a_study_of_tables() -> None:
    scenario = load_scenario(SCENARIO, ["seed=null", "sites.count=1"])
    assert make_study(scenario, (SITE,)).schema == TableSchema(("well", "ill"))


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        (
            {"model": {"family": "dcgan"}},
            "model.family: the 'dcgan' networks do not generate table rows",
        ),
        (
            {"data": {"source": "digits"}},
            "model.family: the 'perceptron' networks do not generate images",
        ),
    ],
)
def test_family_of_another_kind_is_refused(sections: dict[str, Any], message: str, tmp_path: Path) -> None:
    values = {"name": "ward", "data": {"source": "ward"}, "model": {"family": "perceptron"}, **sections}
    scenario = parse_scenario(values)
    with pytest.raises(ConfigError, match=f"^{message}"):
        simulate(scenario, tmp_path / "run")


def test_key_of_another_kind_does_not_fit() -> None:
    with pytest.raises(ConfigError, match=r"^data\.image_size: does not fit source 'ward'; remove it"):
        parse_scenario({"name": "ward", "data": {"source": "ward", "image_size": 8}})
