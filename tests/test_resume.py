"""A simulation that is killed at any moment goes on as if nothing had happened, and its ledgers never forget."""

import json
import multiprocessing
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from silogan import cli
from silogan.client.ledger.keys import SiteKey
from silogan.client.ledger.ledger import Cohort, Ledger, policy_in_force
from silogan.common.privacy.accounting import Mechanism, epsilon
from silogan.common.wire.run_folder import holds_run
from silogan.server.rounds.checkpoint import Checkpoint

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[1]
ROUNDS, STEPS, SIGMA, RATE, DELTA = 6, 20, 1.0, 0.05, 1e-4
SITES = ("site-1", "site-2")
SCENARIO: dict[str, Any] = {
    "name": "killed",
    "seed": 3,
    "data": {"source": "digits"},
    "sites": {"count": len(SITES)},
    "model": {"latent_dim": 8, "width": 8},
    "training": {"rounds": ROUNDS, "local_steps": STEPS, "sample_rate": RATE, "device": "cpu"},
    "privacy": {"epsilon": 50.0, "delta": DELTA, "noise_multiplier": SIGMA},
    "evaluation": {"samples": 1000, "epochs": 1},
}

# Where the ten kills fall: at a random time within some seconds of a round's checkpoint, of the release of the
# generator (after which it is measured), or of the start of the command.
MOMENTS: tuple[tuple[str | None, float], ...] = (
    *((None, 1.0), (None, 1.0)),
    *((f"checkpoints/round-{number:06d}.safetensors", 0.2) for number in range(ROUNDS)),
    *(("generator.safetensors", 0.1), ("generator.safetensors", 0.5)),  # at the second it is there from the start
)


def write_scenario(path: Path, changes: dict[str, Any]) -> Path:
    path.write_text(yaml.safe_dump(SCENARIO | changes), encoding="utf-8")
    return path


def words(scenario: Path, run_dir: Path) -> list[str]:
    resume = ["--resume"] if holds_run(run_dir) else []
    return ["simulate", str(scenario), "--out", str(run_dir), *resume, "--json", "--workers", "2"]


def to_the_end(scenario: Path, run_dir: Path) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "silogan", *words(scenario, run_dir)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def begin(scenario: Path, run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> BaseProcess:
    """Starts the command in a process of its own, forked from one that has the imports, which take seconds, behind it.

    What is left of its life is what can go wrong when it is killed.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["silogan.cli", "silogan.simulations.simulate", "sklearn.datasets", "sklearn.model_selection"]
    )
    monkeypatch.setattr(sys, "argv", ["silogan", *words(scenario, run_dir)])
    process = context.Process(target=cli.main)
    process.start()
    return process


def wait_until(ready: Callable[[], bool], process: BaseProcess) -> None:
    while not ready():
        assert process.is_alive(), "it ended before the moment to kill it came"
        time.sleep(0.005)


def kill(process: BaseProcess) -> None:
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL, "it ended before it was killed"


def open_ledger(run_dir: Path, site: str, budget: float, copy: Path) -> Ledger:
    """A copy of a site's ledger, so that looking at it mends nothing for the process that comes next."""
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(run_dir / "ledgers", copy)
    assert (copy / f"{site}.sqlite").exists()
    ledger = Ledger(copy / f"{site}.sqlite", SiteKey.load(copy / f"{site}.key"))
    assert replace(ledger.cohort, rehearsal=False) == Cohort("record", DELTA)
    assert policy_in_force(ledger.entries()).epsilon == budget
    return ledger


def charged_steps(ledger: Ledger) -> int:
    return sum(mechanism.steps for mechanism in ledger.mechanisms())


def assert_ledgers_cover_what_was_done(run_dir: Path, budget: float, copy: Path) -> None:
    """Each site's chain of entries verifies, and charges no less than checkpoint and site state show."""
    checkpoint = Checkpoint.latest(run_dir)
    for site in SITES:
        states = sorted((run_dir / "sites" / site).glob("round-*.pt"))
        done = max(checkpoint.round if checkpoint else 0, int(states[-1].stem.removeprefix("round-")) if states else 0)
        if done:
            assert charged_steps(open_ledger(run_dir, site, budget, copy)) >= done * STEPS


def spending(ledger: Ledger) -> list[dict[str, Any]]:
    """All entries but for the time at which they were made and the key of the run."""
    return [
        {name: entry.content[name] for name in entry.content.keys() - {"created", "key"}} for entry in ledger.entries()
    ]


def reservations(run_dir: Path, site: str) -> tuple[int, int]:
    """Rounds that a running site has reserved, and how many of them it has settled."""
    path = run_dir / "ledgers" / f"{site}.sqlite"
    try:
        db = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
        try:
            kinds = [json.loads(body)["kind"] for (body,) in db.execute("SELECT body FROM entries")]
        finally:
            db.close()
    except sqlite3.OperationalError:  # not there yet
        return 0, 0
    return kinds.count("reserve"), kinds.count("settle")


@pytest.fixture(scope="module")
def scenario(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_scenario(tmp_path_factory.mktemp("seeded") / "scenario.yaml", {})


@pytest.fixture(scope="module")
def uninterrupted(scenario: Path) -> Path:
    run_dir = scenario.parent / "uninterrupted"
    done = to_the_end(scenario, run_dir)
    assert done.returncode == 0, done.stderr
    return run_dir


def test_ten_kills_change_neither_a_weight_nor_the_spending(
    scenario: Path, uninterrupted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_dir, copy, rng = tmp_path / "run", tmp_path / "ledgers", np.random.default_rng(20)
    for file, seconds in MOMENTS:
        process = begin(scenario, run_dir, monkeypatch)
        if file is not None:
            wait_until((run_dir / file).exists, process)
        time.sleep(rng.uniform(0.0, seconds))
        kill(process)
        assert_ledgers_cover_what_was_done(run_dir, 50.0, copy)
    done = to_the_end(scenario, run_dir)
    assert done.returncode == 0, done.stderr

    released = [(folder / "generator.safetensors").read_bytes() for folder in (run_dir, uninterrupted)]
    assert released[0] == released[1]
    mine, theirs = Checkpoint.latest(run_dir), Checkpoint.latest(uninterrupted)
    assert mine is not None
    assert theirs is not None
    assert (mine.round, mine.study_id) == (theirs.round, theirs.study_id) == (ROUNDS, theirs.study_id)
    for ours, reference in ((mine.weights, theirs.weights), (mine.ema, theirs.ema)):
        assert ours.keys() == reference.keys()
        assert [name for name in ours if not torch.equal(ours[name], reference[name])] == []
    for site in SITES:
        ours, reference = (spending(open_ledger(folder, site, 50.0, copy)) for folder in (run_dir, uninterrupted))
        assert ours == reference
    events = [json.loads(line) for line in (run_dir / "events.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [event["round"] for event in events] == list(range(1, ROUNDS + 1))
    reports = [json.loads((folder / "report.json").read_bytes()) for folder in (run_dir, uninterrupted)]
    assert reports[0]["sites"] == reports[1]["sites"]


@pytest.mark.parametrize("spare_rounds", [1, 2])
def test_without_a_seed_an_interrupted_round_stays_charged(
    spare_rounds: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two interruptions: two spare rounds make up for them, a single one does not, and the last round is not had."""
    rounds, run_dir, copy = 3, tmp_path / "run", tmp_path / "ledgers"
    budget = 1.001 * epsilon([Mechanism(SIGMA, RATE, (rounds + spare_rounds) * STEPS)], DELTA)
    changes = {
        "seed": None,
        "training": SCENARIO["training"] | {"rounds": rounds},
        "privacy": SCENARIO["privacy"] | {"epsilon": budget, "spare_rounds": spare_rounds},
        "evaluation": {"enabled": False},
    }
    scenario = write_scenario(tmp_path / "scenario.yaml", changes)

    for interruption in (1, 2):
        begun = interruption * 2 - 1  # reservations a site has by then: rounds done, and interruptions

        def in_a_round(wanted: int = begun, lost: int = interruption) -> bool:
            return all(reservations(run_dir, site) == (wanted, wanted - lost) for site in SITES)

        process = begin(scenario, run_dir, monkeypatch)
        wait_until(in_a_round, process)
        kill(process)
        assert_ledgers_cover_what_was_done(run_dir, budget, copy)
        assert [reservations(run_dir, site) for site in SITES] == [(begun, begun - interruption)] * 2

    done = to_the_end(scenario, run_dir)
    report = json.loads((run_dir / "report.json").read_bytes())
    if spare_rounds == 2:
        assert (done.returncode, report["rounds"], report["stopped"]) == (0, 3, None), done.stderr
    else:
        assert (done.returncode, report["rounds"]) == (5, 2), done.stderr
        assert "privacy budget: does not pay for the round" in done.stderr  # why is in the hospital's own ledger
        assert "privacy budget" in report["stopped"]
    for site in SITES:
        ledger = open_ledger(run_dir, site, budget, copy)
        assert charged_steps(ledger) == (report["rounds"] + 2) * STEPS, "the two interrupted rounds are still charged"
        assert ledger.epsilon() <= budget
