"""A hundred hospitals take hardly more memory than four: one site's work is gone before the next but a few begins."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[1]
# Weights of 0.7 MB: if the trainers of all rounds were kept, the peak of a hundred sites would be twice as high.
SCENARIO: dict[str, Any] = {
    "name": "memory",
    "seed": 1,
    "data": {"source": "digits"},
    "model": {"latent_dim": 32, "width": 48},
    "training": {"rounds": 2, "local_steps": 2, "sample_rate": 0.1, "d_steps_per_g_step": 2, "device": "cpu"},
    "privacy": {"epsilon": 50.0, "delta": 1e-4, "noise_multiplier": 1.0},
    "evaluation": {"samples": 100, "epochs": 1},
}


def peak_memory(folder: Path, sites: int) -> int:
    """Bytes at the peak of a run in a process of its own."""
    scenario = folder / f"{sites}.yaml"
    scenario.write_text(yaml.safe_dump(SCENARIO | {"sites": {"count": sites}}), encoding="utf-8")
    run = folder / f"run-{sites}"
    command = [sys.executable, "-m", "silogan", "simulate", str(scenario), "--out", str(run), "--json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    shutil.rmtree(run)  # the sites' states are hundreds of megabytes
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert (len(report["sites"]), report["rounds"]) == (sites, 2)
    return report["peak_memory_bytes"]


def test_peak_memory_hardly_grows_with_the_number_of_sites(tmp_path: Path) -> None:
    few, many = (peak_memory(tmp_path, sites) for sites in (4, 100))
    assert many <= 1.5 * few, f"{many / 2**20:.0f} MiB against {few / 2**20:.0f} MiB"
