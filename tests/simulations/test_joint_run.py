"""Images with rows go from files to generated files, the report and the audit."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from silogan.common.config.scenario import Scenario, parse_scenario
from silogan.common.errors import UsageError
from silogan.common.privacy.plan import CELLS, MEANS, MOMENTS
from silogan.common.wire.run_folder import GENERATOR_FILE
from silogan.common.yaml_text import write_yaml
from silogan.server.fitting.release import statistic
from silogan.server.release.generate import generate
from silogan.server.release.generator import load_generator
from silogan.simulations.attacks import canaries
from silogan.simulations.evaluate import evaluate
from silogan.simulations.planner import outlook
from silogan.simulations.prepare import planned
from silogan.simulations.simulate import simulate
from tests.joint import CLASSES, write_records


def scenario_of(places: dict[str, str]) -> Scenario:
    values: dict[str, Any] = {
        "name": "joint",
        "seed": 0,
        "data": {"source": "images-with-rows", "classes": list(CLASSES), **places},
        "sites": {"count": 2},
        "model": {"family": "gaussians", "frequencies": 4, "cells": 2, "draws": True, "edge": 0.5},
        "training": {"rounds": 0, "device": "cpu"},
        "privacy": {"epsilon": 1000, "delta": 1.0e-3},
        "evaluation": {"samples": 3000, "epochs": 1, "real_ceiling": False},
    }
    return parse_scenario(values)


@pytest.fixture(scope="module", name="finished")
def _finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any], Scenario]:
    folder = tmp_path_factory.mktemp("joint")
    scenario = scenario_of(write_records(folder, 1200))
    return folder / "run", simulate(scenario, folder / "run"), scenario


def test_dependence_survives_and_marginals_are_kept(finished: tuple[Path, dict[str, Any], Scenario]) -> None:
    run, report, _ = finished
    found = {column["name"]: column for column in report["joint"]["columns"]}
    assert [phase["name"] for phase in report["phases"]] == [MEANS, MOMENTS, CELLS]
    assert report["records"]["noun"] == "images with rows"
    for name in ("stage", "dose", "side"):
        assert found[name]["auroc_within_synthetic"] > found[name]["auroc_within_apart"] + 0.06, name
        assert found[name]["distance"] < 0.15
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "Rows and their images" in page
    assert "drawn apart" in page


def test_files_hold_each_image_with_its_row(finished: tuple[Path, dict[str, Any], Scenario], tmp_path: Path) -> None:
    run, _, _ = finished
    said = generate(run, count=21, out=tmp_path / "png", file_format=None, labels=None, seed=1)
    assert str(said).startswith("21 synthetic images with rows in ")
    generate(run, count=21, out=tmp_path / "all.npz", file_format="npz", labels=None, seed=1)
    rows = list(csv.DictReader((tmp_path / "png" / "rows.csv").read_text(encoding="utf-8").splitlines()))
    arrays = np.load(tmp_path / "all.npz")
    assert list(rows[0]) == ["file", "sex", "stage", "dose", "side"]
    assert len({row["file"] for row in rows}) == 21
    for place, row in enumerate(rows):
        with Image.open(tmp_path / "png" / row["file"]) as image:
            assert image.info["SiloGAN"].startswith("synthetic")
            assert np.array_equal(np.asarray(image), arrays["train_images"][place])
        assert row["side"] == arrays["row_side"][place]
        dose = arrays["row_dose"][place]
        assert (row["dose"] == "") == np.isnan(dose)
        assert np.isnan(dose) or float(row["dose"]) == dose
    note = json.loads((tmp_path / "png" / "rows.csv.about.json").read_text(encoding="utf-8"))
    assert note["note"] == "Drawn from a generative model. No record is a patient's."
    assert load_generator(run / GENERATOR_FILE).schema.kind == "joint"


def test_files_and_the_run_are_measured_as_its_report_was(
    finished: tuple[Path, dict[str, Any], Scenario], tmp_path: Path
) -> None:
    run, report, scenario = finished
    assert evaluate(run, None)["joint"] == report["joint"]
    generate(run, count=1500, out=tmp_path / "png", file_format="png", labels=None, seed=1)
    asked = tmp_path / "asked.yaml"
    asked.write_text(write_yaml(scenario.model_dump(mode="json")), encoding="utf-8")
    found = evaluate(tmp_path / "png", asked, ["seed=1"])
    for drawn, reported in zip(found["joint"]["columns"], report["joint"]["columns"], strict=True):
        assert drawn["distance"] == pytest.approx(reported["distance"], abs=0.03)
        assert drawn["auroc_within_real"] == reported["auroc_within_real"]
        assert drawn["name"] not in ("stage", "side") or drawn["auroc_within_synthetic"] > 0.55
    with pytest.raises(UsageError, match="is of images with rows, not of table rows; give that of a table"):
        evaluate(tmp_path / "png" / "rows.csv", run)


def test_a_plan_says_what_is_released(finished: tuple[Path, dict[str, Any], Scenario]) -> None:
    found = outlook(finished[2], None)
    assert found.described == "images of 8x8 pixels, grey with rows of 4 columns"
    assert [phase.name for phase in found.phases] == [MEANS, MOMENTS, CELLS]


def test_a_canary_adds_as_much_as_any_record_may(finished: tuple[Path, dict[str, Any], Scenario]) -> None:
    """An audit's canary is an image with its row: its part of every statistic has the largest norm there is."""
    study = planned(canaries.audited(finished[2]))
    drawn = canaries.draw(study.schema, 2, 0)
    for phase in study.plan.phases:
        of = statistic(study, phase.name, canaries.sent_with(study, phase))
        labels = drawn.records.labels - study.schema.num_classes
        rows = of.rows(study.schema.encode(drawn.records.stored), labels)
        assert float(rows.norm(dim=1).min()) > 0.98 * 63 / 64, phase.name
