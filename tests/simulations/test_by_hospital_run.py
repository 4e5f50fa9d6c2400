"""A simulated study whose rows say which hospital they resemble, from CSV files to rows of one hospital."""

import csv
import random
from pathlib import Path

import pytest
import torch

from silogan.common.config.scenario import Scenario, parse_scenario
from silogan.common.wire.study import Study
from silogan.common.yaml_text import write_yaml
from silogan.server.fitting.release import counted, counted_apart
from silogan.server.release.generate import generate
from silogan.server.rounds.checkpoint import Checkpoint
from silogan.simulations.evaluate import evaluate
from silogan.simulations.planner import outlook
from silogan.simulations.simulate import simulate

ROWS = 1000
MALE = {"bergen": 0.9, "oslo": 0.2}
"""By hospital, the share of men."""


def scenario(folder: Path) -> Scenario:
    rng, wards = random.Random(0), folder / "wards"  # noqa: S311
    wards.mkdir()
    for site, male in MALE.items():
        lines = [f"{rng.randint(20, 89)},{int(rng.random() < male)},{rng.randrange(2)}" for _ in range(ROWS)]
        (wards / f"{site}.csv").write_text("\n".join(["age,male,died", *lines]) + "\n", encoding="utf-8")
    columns = {"age": {"type": "integer", "min": 18, "max": 99}, "male": {"type": "binary", "values": ["0", "1"]}}
    described = {"label": {"column": "died", "classes": {"no": 0, "yes": 1}}, "columns": columns}
    (folder / "columns.yaml").write_text(write_yaml(described), encoding="utf-8")
    return parse_scenario({
        "name": "wards",
        "seed": 0,
        "data": {"source": "table", "root": str(wards), "columns": str(folder / "columns.yaml")},
        "sites": {"count": 2, "partition": "natural"},
        "model": {"family": "mixture", "components": 16, "steps": 200, "singles_share": 0.2, "by_hospital": True},
        "training": {"rounds": 0},
        "privacy": {"epsilon": 10, "delta": 1e-5},
        "evaluation": {"samples": 500, "real_ceiling": False},
    })  # fmt: skip


@pytest.mark.slow
def test_rows_are_drawn_of_one_hospital(tmp_path: Path, threads_kept: None) -> None:
    asked, run_dir = scenario(tmp_path), tmp_path / "run"
    assert any(one.startswith("model.by_hospital: ") for one in outlook(asked, None).choices)
    report = simulate(asked, run_dir)
    assert report["table"]["violations"]["violating"] == 0
    for site, male in MALE.items():
        rows = drawn(run_dir, tmp_path / f"{site}.csv", f"hospital = {site} and age > 40")
        assert {row["hospital"] for row in rows} == {site}
        assert all(int(row["age"]) > 40 for row in rows)
        assert abs(sum(row["male"] == "1" for row in rows) / len(rows) - male) < 0.05
    every = drawn(run_dir, tmp_path / "every.csv", None)
    assert list(every[0]) == ["age", "male", "hospital", "died"]
    assert 0.4 < sum(row["hospital"] == "oslo" for row in every) / len(every) < 0.6
    assert evaluate(tmp_path / "every.csv", run_dir)["table"]["violations"]["violating"] == 0

    study, checkpoint = Study.load(run_dir), Checkpoint.latest(run_dir)
    assert checkpoint is not None
    whole, (bergen, oslo) = counted(study, checkpoint.released), counted_apart(study, checkpoint.released)
    assert bergen is not None
    assert oslo is not None
    torch.testing.assert_close(bergen.tables.pairs + oslo.tables.pairs, whole.tables.pairs)
    assert bergen.tables.singles_noise == pytest.approx(whole.tables.singles_noise / 2**0.5)
    gone = {name: one._replace(apart={"oslo": one.apart["oslo"]}) for name, one in checkpoint.released.items()}
    assert counted_apart(study, gone)[0] is None


def drawn(run_dir: Path, out: Path, where: str | None) -> list[dict[str, str]]:
    """Two thousand rows of a run, by way of a file."""
    generate(run_dir, count=2000, out=out, file_format=None, labels=None, where=where, seed=0, anyway=True)
    with out.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, strict=True))
