"""The in-process grid and Ray run the same federation: the same weights, bit for bit, and the same spending."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from silogan.client.ledger.chain import read_entries
from silogan.server.rounds.checkpoint import Checkpoint

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed: the extra 'ray' has it"),
]

ROOT = Path(__file__).resolve().parents[1]
SCENARIO: dict[str, Any] = {
    "name": "agree",
    "seed": 11,
    "data": {"source": "digits"},
    "sites": {"count": 2, "partition": "size_skew"},
    "model": {"latent_dim": 8, "width": 8},
    "training": {"rounds": 2, "local_steps": 6, "sample_rate": 0.05, "d_steps_per_g_step": 2, "device": "cpu"}
    | {"warm_start": {"frequencies": 4, "steps": 5}, "server_generator_steps": 3},
    "privacy": {"epsilon": 50.0, "delta": 1e-4, "noise_multiplier": 1.0},
    "evaluation": {"enabled": False},
}


def run(folder: Path, engine: str, scenario: Path) -> dict[str, Any]:
    words = ("simulate", str(scenario), "--out", str(folder), "--engine", engine, "--json")
    command = [sys.executable, "-m", "silogan", *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def spending(folder: Path, site: str) -> list[dict[str, Any]]:
    """The entries of a site's ledger, but for the time at which they were made and the key of the run."""
    entries = read_entries(folder / "ledgers" / f"{site}.sqlite")
    return [{name: entry.content[name] for name in entry.content.keys() - {"created", "key"}} for entry in entries]


def test_both_engines_give_the_same_weights_and_spend_the_same(tmp_path: Path) -> None:
    scenario = tmp_path / "scenario.yaml"
    scenario.write_text(yaml.safe_dump(SCENARIO), encoding="utf-8")
    threads, ray = tmp_path / "threads", tmp_path / "ray"
    reports = [run(threads, "inprocess", scenario), run(ray, "ray", scenario)]

    assert [report["engine"] for report in reports] == ["inprocess", "ray"]
    assert reports[0]["sites"] == reports[1]["sites"]
    assert (ray / "generator.safetensors").read_bytes() == (threads / "generator.safetensors").read_bytes()
    ours, theirs = Checkpoint.latest(threads), Checkpoint.latest(ray)
    assert ours is not None
    assert theirs is not None
    assert ours.round == theirs.round == 2
    for mine, other in ((ours.weights, theirs.weights), (ours.ema, theirs.ema)):
        assert mine.keys() == other.keys()
        assert [name for name in mine if not torch.equal(mine[name], other[name])] == []
    for site in ("site-1", "site-2"):
        kinds = [entry["kind"] for entry in spending(threads, site)]
        assert kinds == ["open", "approve", *["reserve", "settle"] * 3]  # the warm start, and two rounds
        assert spending(threads, site) == spending(ray, site)
