"""The report of tables: its figures, its pictures, and what it says where there is nothing to show."""

from pathlib import Path
from typing import Any

import pytest

from common.config.scenario import load_scenario
from common.wire.run_folder import REPORT_PAGE
from simulations.simulate import simulate

pytestmark = pytest.mark.usefixtures("threads_kept")

SCENARIO = Path(__file__).resolve().parents[3] / "simulations" / "scenarios" / "breast-cancer.yaml"
QUICK = ["model.steps=60", "model.components=32", "evaluation.samples=2000"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], str]:
    folder = tmp_path_factory.mktemp("run") / "run"
    report = simulate(load_scenario(SCENARIO, [*QUICK, "evaluation.risks=true"]), folder)
    return report, (folder / REPORT_PAGE).read_text(encoding="utf-8")


def test_a_study_of_tables_runs_from_counts_to_report(run: tuple[dict[str, Any], str]) -> None:
    report, _ = run
    assert [phase["name"] for phase in report["phases"]] == ["pairs"]
    assert report["records"] == {"noun": "table rows", "described": "table rows of 30 columns"}
    assert all(0 < site["epsilon"] <= 10 for site in report["sites"])
    assert report["utility"]["auroc_synthetic"] > 0.9
    assert report["utility"]["auroc_real"] > 0.98
    assert report["table"]["violations"]["violating"] == 0
    assert report["table"]["hospitals"] == 4


def test_the_page_shows_what_was_measured(run: tuple[dict[str, Any], str]) -> None:
    report, page = run
    for shown in ("What classifiers learn", "How close the rows are", "Attacks that were tried", "site-1 alone"):
        assert shown in page
    assert f"{report['utility']['auroc_synthetic']:.3f}" in page
    assert "None of 2,000 synthetic rows breaks the schema." in page
    assert page.count('class="chart') >= 12
    assert "on real data: not covered" in page


def test_without_measurements_the_page_has_no_part_of_tables(tmp_path: Path) -> None:
    simulate(load_scenario(SCENARIO, [*QUICK, "evaluation.enabled=false"]), tmp_path / "run")
    page = (tmp_path / "run" / REPORT_PAGE).read_text(encoding="utf-8")
    assert "Synthetic rows against real ones" not in page
    assert "evaluation.enabled is false" in page
