"""A simulated study of tables is measured whole: hospitals by name, the same figures again, and lines to read."""

from pathlib import Path

import numpy as np
import pytest

from silogan import cli
from silogan.client.data import read
from silogan.client.data.positions import load_positions
from silogan.common.config.scenario import load_scenario
from silogan.common.wire.run_folder import PARTITION_FILE, REPORT_PAGE
from silogan.common.wire.study import Study
from silogan.simulations.evaluate import evaluate, with_hospitals
from silogan.simulations.partition import save
from silogan.simulations.simulate import simulate

SCENARIO = Path(__file__).resolve().parents[2] / "simulations" / "scenarios" / "breast-cancer.yaml"


@pytest.mark.slow
def test_a_run_is_measured_with_its_hospitals(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], threads_kept: None
) -> None:
    run_dir = tmp_path / "run"
    report = simulate(load_scenario(SCENARIO, ["evaluation.samples=2000"]), run_dir)
    table = report["table"]
    names = [one["learnt_from"] for one in table["scores"]]
    assert names == ["synthetic", "real", *(f"hospital site-{number}" for number in (1, 2, 3, 4))]
    assert report["utility"]["auroc_synthetic"] > 0.95
    assert table["violations"]["violating"] == 0
    assert evaluate(run_dir, None)["table"] == table
    assert "Synthetic rows against real ones" in (run_dir / REPORT_PAGE).read_text(encoding="utf-8")

    capsys.readouterr()
    cli._print_figures(report)
    logistic, boosting, released, distance = capsys.readouterr().out.splitlines()
    assert logistic.startswith("AUROC on real test rows, logistic regression: trained on synthetic 0.9")
    assert boosting.startswith("AUROC on real test rows, boosted trees: trained on synthetic ")
    assert "one hospital alone 0." in boosting
    tree = table["baselines"]["tree-augmented naive Bayes"]["auroc"]
    assert released.startswith("AUROC of classifiers of the release: naive Bayes 0.9")
    assert released.endswith(f"tree-augmented naive Bayes {tree:.3f}")
    assert report["utility"]["auroc_released"] == tree > 0.9
    assert distance.endswith("0 of 2,000 rows break the schema")

    study, data = Study.load(run_dir), read(load_scenario(SCENARIO).data)
    held = with_hospitals(data, study, run_dir).train.sites
    assert held is not None
    assert held.bincount().tolist() == [len(load_positions(run_dir / PARTITION_FILE, site)) for site in range(4)]
    save(run_dir / PARTITION_FILE, [np.array([site]) for site in range(4)])  # of other data
    assert with_hospitals(data, study, run_dir) is data
    (run_dir / PARTITION_FILE).unlink()
    assert with_hospitals(data, study, run_dir) is data
