"""`silogan plan`: what it says of a scenario follows from public numbers, and is what a run then does."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from silogan import cli
from silogan.common.config.scenario import Scenario, parse_scenario
from silogan.common.errors import ConfigError
from silogan.common.modality.image_options import Gaussians
from silogan.simulations.planner import MEASURED, outlook
from silogan.simulations.prepare import prepare

ROOT = Path(__file__).resolve().parents[2]
SHAPE = {"image_size": 28, "channels": 1, "classes": ["a", "b"]}
DATA = {"source": "digits", **SHAPE}


def scenario(**changes: Any) -> Scenario:
    values = {"name": "plan", "model": {"family": "gaussians"}, "training": {"rounds": 0}, "sites": {"count": 4}}
    return parse_scenario({**values, "privacy": {"epsilon": 10, "delta": 1e-4}, "data": DATA, **changes})


@pytest.mark.parametrize(
    ("records", "verdict", "phases"),
    [
        (1000, "useful", ["means", "moments", "cells"]),
        (100, "uncertain", ["means", "moments"]),
        (50, "too few records", ["means", "moments"]),
    ],
)
def test_records_decide(records: int, verdict: str, phases: list[str]) -> None:
    found = outlook(scenario(), records)
    assert found.verdict == verdict
    assert [phase.name for phase in found.phases] == phases
    assert sum(phase.share for phase in found.phases) == pytest.approx(1)
    assert any(choice.startswith("model.draws: false") for choice in found.choices) == (verdict == "too few records")
    assert found.records == 4 * records
    assert found.strength.startswith("moderate")


def test_it_is_the_plan_of_the_run(tmp_path: Path) -> None:
    asked = scenario(data={"source": "digits"}, seed=1)
    found, study = outlook(asked, None), prepare(asked, tmp_path)
    model = study.scenario.model
    assert isinstance(model, Gaussians)
    assert f"model.frequencies: {model.frequencies}," in found.choices[0]
    assert [phase.noise_multiplier for phase in found.phases] == [one.noise_multiplier for one in study.plan.phases]
    assert found.records == sum(site.declared_size for site in study.sites)


def test_what_the_scenario_names_is_told_as_its_own() -> None:
    found = outlook(scenario(model={"family": "gaussians", "cells": 1}), 1000)
    assert found.choices[1] == "model.cells: 1, as the scenario says"


@pytest.mark.parametrize(
    ("data", "privacy", "unit"),
    [
        ({"source": "breast-cancer"}, {}, "record"),
        ({"source": "breast-cancer", "rows_per_patient": 5}, {}, "patient"),
        ({"source": "breast-cancer", "rows_per_patient": 5}, {"unit": "record"}, "record"),
        ({"source": "breast-cancer"}, {"records_per_patient": 5}, "patient"),
        ({"source": "folder", "patients": "patients.csv", **SHAPE}, {}, "patient"),
        ({"source": "folder", **SHAPE}, {}, "record"),
        ({"source": "table", "columns": "columns.yaml"}, {}, "patient"),
    ],
)
def test_whose_records_count_as_one_is_told_before_there_is_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: dict[str, Any], privacy: dict[str, Any], unit: str
) -> None:
    monkeypatch.chdir(tmp_path)
    description = (
        "patient: id\ncolumns:\n  age: {type: integer, min: 0, max: 120}\n  sex: {type: binary, values: [f, m]}\n"
    )
    (tmp_path / "columns.yaml").write_text(description)
    family = "gaussians" if data["source"] == "folder" else "mixture"
    found = outlook(scenario(data=data, privacy={"epsilon": 10, **privacy}, model={"family": family}), 100)
    assert (found.unit, found.records_per_patient) == (unit, privacy.get("records_per_patient", 1))
    assert found.records == 400


def test_what_is_compared_was_measured() -> None:
    assert all(list(runs) == sorted(runs) for runs in MEASURED.values())
    found = outlook(scenario(), 1000)
    assert len(found.compared) == 3
    assert all(one in MEASURED["gaussians"] for one in found.compared)


def test_a_family_that_is_trained_has_no_verdict() -> None:
    found = outlook(scenario(model={"family": "dcgan"}, training={"rounds": 2}), 1000)
    assert found.verdict is None
    assert [phase.name for phase in found.phases] == ["training"]


def test_without_privacy_it_says_so() -> None:
    found = outlook(scenario(privacy={"enabled": False}), 1000)
    assert (found.epsilon, found.strength) == (None, "NON-PRIVATE")


def test_data_that_is_not_described_is_asked_for() -> None:
    with pytest.raises(ConfigError, match=r"data\.image_size: is not given"):
        outlook(scenario(data={"source": "digits"}), 1000)


def test_the_patient_as_unit_and_k_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    data, told = {"source": "breast-cancer", "rows_per_patient": 5}, []
    for k in (1, 5):
        rows = scenario(data=data, privacy={"records_per_patient": k}, model={"family": "mixture"})
        cli._print_outlook(outlook(rows, 100))
        told.append(" ".join(capsys.readouterr().out.split()))
    assert all("400 patients in 4 hospitals" in one for one in told)
    assert "unit of privacy: the patient; one record of each is in a noisy sum" in told[0]
    assert "unit of privacy: the patient; the mean of at most 5 records of each is in a noisy sum" in told[1]


def test_a_delta_too_large_for_the_hospitals_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    for delta, weak in ((0.01, True), (1e-4, False)):
        cli._print_outlook(outlook(scenario(privacy={"epsilon": 10, "delta": delta}), 400))
        assert ("δ = 0.01 is weak for 400 records" in capsys.readouterr().out) is weak


def test_the_command_prints_it_and_writes_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "silogan", "plan", str(ROOT / "simulations/scenarios/digits.yaml")]
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    told = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path, env=env).stdout
    assert "ε = 10, δ = 0.0001 for each hospital" in told
    assert "uncertain: " in told
    assert "1,410 records in 4 hospitals" in told
    plain = subprocess.run(
        [*command, "--json"], capture_output=True, text=True, check=True, cwd=tmp_path, env=env
    ).stdout
    assert json.loads(plain)["classes"] == 10
    assert list(tmp_path.iterdir()) == []
