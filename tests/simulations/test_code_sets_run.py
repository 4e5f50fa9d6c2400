"""A simulated study of rows with codes, from CSV files to synthetic rows, graph and report."""

import csv
import json
from pathlib import Path

import pytest

from silogan import cli
from silogan.common.config.scenario import Scenario, parse_scenario
from silogan.common.modality.table_options import Mixture
from silogan.common.wire.run_folder import REPORT_PAGE
from silogan.common.wire.study import Study
from silogan.server.release.generate import generate
from silogan.server.release.outputs.graph import write_graph
from silogan.simulations.benchmarks.code_sets import MOST, write
from silogan.simulations.planner import outlook
from silogan.simulations.simulate import simulate

CODES, ROWS = 120, 3000


def scenario(folder: Path) -> Scenario:
    write(folder, CODES, ROWS, 0)
    return parse_scenario({
        "name": "codes",
        "seed": 0,
        "data": {"source": "table", "root": str(folder / "rows.csv"), "columns": str(folder / "columns.yaml")},
        "sites": {"count": 2, "partition": "iid"},
        "model": {"family": "mixture", "components": 32, "steps": 200},
        "training": {"rounds": 0},
        "privacy": {"epsilon": 20, "delta": 1e-5},
        "evaluation": {"samples": 1000, "real_ceiling": False},
    })  # fmt: skip


@pytest.mark.slow
def test_a_run_with_codes_is_whole(tmp_path: Path, capsys: pytest.CaptureFixture[str], threads_kept: None) -> None:
    asked, run_dir = scenario(tmp_path), tmp_path / "run"
    planned = outlook(asked, None)
    assert "and 120 codes" in planned.described
    assert any(one.startswith("model.code_pairs: true, ") for one in planned.choices)
    assert "times their noise and are counted" in planned.expected
    report = simulate(asked, run_dir)
    model = Study.load(run_dir).scenario.model
    assert isinstance(model, Mixture)
    assert model.code_pairs is True
    codes = report["table"]["codes"]
    assert report["table"]["violations"]["violating"] == 0
    assert abs(codes["per_row"]["synthetic"] - codes["per_row"]["test"]) < 0.5
    assert codes["frequencies"]["mean"] < 0.02
    assert "Codes in a row" in (run_dir / REPORT_PAGE).read_text(encoding="utf-8")
    capsys.readouterr()
    cli._print_figures(report)
    assert "codes: " in capsys.readouterr().out

    generate(run_dir, count=300, out=tmp_path / "new.csv", file_format=None, labels=None, where="male = 1", seed=0)
    with (tmp_path / "new.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, strict=True))
    assert {row["male"] for row in rows} == {"1"}
    assert max(row["dx"].count("|") for row in rows) < MOST
    assert f"{CODES} codes in " in str(write_graph(run_dir, tmp_path / "codes.csv"))
    assert json.loads((tmp_path / "codes.csv.about.json").read_text(encoding="utf-8"))["SiloGAN"]
