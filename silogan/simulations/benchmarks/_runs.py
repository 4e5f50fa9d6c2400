"""Complete runs through the command line, each in its own process, and the bare steps for comparison."""

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml

from silogan.client.round import Site, new_trainer
from silogan.client.simulated import simulated_site
from silogan.common.allocator import keep_freed_memory
from silogan.common.config.scenario import Scenario, parse_scenario
from silogan.common.device import available_cores, choose_device, threads_for_each
from silogan.common.models.networks import build
from silogan.simulations.prepare import prepare

ROOT = Path(__file__).resolve().parents[3]
LOCAL_STEPS = 25


@dataclass(frozen=True)
class Run:
    """The cost of a run of `silogan simulate`: the whole process, its rounds, and its peak memory."""

    seconds: float
    training_seconds: float
    peak_memory_bytes: int


def data_folder() -> Path | None:
    """The folder of public data sets: SILOGAN_DATA, else in `../shared/data`."""
    configured = os.environ.get("SILOGAN_DATA")
    folder = Path(configured) if configured else ROOT.parent / "shared" / "data"
    return folder if folder.is_dir() else None


def mnist_folder() -> Path | None:
    """The folder with MNIST, if there is one."""
    folder = data_folder()
    return folder if folder is not None and (folder / "MNIST" / "raw").is_dir() else None


def workload(sites: int, *, rounds: int, batch: int = 16, size: int = 28, private: bool = True) -> Scenario:
    """A study of MNIST, or of the embedded digits where there is none; `batch` is what a site expects in a step."""
    folder = mnist_folder()
    data: dict[str, Any] = {"source": "digits"} if folder is None else {"source": "mnist", "root": str(folder)}
    images = 1437 if folder is None else 60_000  # in the training split
    return parse_scenario(
        {
            "name": "benchmark",
            "seed": 0,
            "data": {**data, "image_size": size},
            "sites": {"count": sites},
            "training": {
                "rounds": rounds,
                "local_steps": LOCAL_STEPS,
                "sample_rate": min(1.0, batch * sites / images),
                "generator_batch_size": batch,
                "d_steps_per_g_step": 1,
            },
            "privacy": {"enabled": private, "noise_multiplier": 1.0, "epsilon": 1000.0},
            "evaluation": {"enabled": False},
        }
    )


def run(
    scenario: Scenario, *arguments: str, out: Path | None = None, environment: Mapping[str, str] | None = None
) -> tuple[float, dict[str, Any]]:
    """`silogan simulate` as a user types it: interpreter, imports, partition, rounds, report and all.

    Args:
        scenario: what to simulate.
        arguments: of the command, besides the scenario's file and the run folder.
        out: the run folder; one that is deleted if None.
        environment: what is to be added to this process's.

    Returns:
        The seconds that the process took, and the run's report.

    Raises:
        SystemExit: it failed.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "scenario.yaml"
        file.write_text(yaml.safe_dump(scenario.model_dump(mode="json")), encoding="utf-8")
        command = [sys.executable, "-m", "silogan", "simulate", str(file), "--out", str(out or Path(folder) / "run")]
        env, begin = {**os.environ, **(environment or {})}, time.perf_counter()
        done = subprocess.run(  # noqa: S603  (our own command)
            [*command, "--json", *arguments], cwd=ROOT, env=env, check=False, capture_output=True, text=True
        )
        seconds = time.perf_counter() - begin
    if done.returncode:
        raise SystemExit(f"silogan simulate failed with exit code {done.returncode}: {done.stderr}")
    return seconds, json.loads(done.stdout)


def simulate(scenario: Scenario, engine: str = "inprocess", environment: Mapping[str, str] | None = None) -> Run:
    """What `run` took."""
    seconds, report = run(scenario, "--engine", engine, environment=environment)
    return Run(seconds, report["seconds"]["training"], report["peak_memory_bytes"])


def bare_steps(scenario: Scenario) -> float:
    """Seconds that the steps of a run take by themselves, on as many threads as the run would use.

    The same trainers on the same sites' images take as many steps as in the run; there is no server, message, ledger,
    state or checkpoint, and each site's networks are built once. Only the steps are timed.
    """
    workers = min(scenario.sites.count, available_cores())
    start = threading.Barrier(workers)
    with tempfile.TemporaryDirectory() as folder:
        study = prepare(scenario, Path(folder))
        keep_freed_memory()

        def work(first: int) -> float:
            torch.set_num_threads(threads_for_each(scenario.sites.count))
            start.wait()
            own = range(first, scenario.sites.count, workers)
            return sum(_bare_rounds(simulated_site(study, Path(folder), index)) for index in own)

        with ThreadPoolExecutor(workers) as pool:
            return sum(pool.map(work, range(workers))) / workers


def _bare_rounds(site: Site) -> float:
    """Seconds of the steps of one site in all rounds."""
    study, training = site.study, site.study.scenario.training
    device, gan = choose_device(training.device), build(study.scenario.model, study.schema)
    for network in gan:
        network.to(device)
    trainer = new_trainer(site, 1, gan, device, training)
    seconds = 0.0
    for _ in range(study.plan.training.rounds):
        begin = time.perf_counter()
        trainer.run(study.plan.training.steps_per_round)
        seconds += time.perf_counter() - begin
    return seconds
