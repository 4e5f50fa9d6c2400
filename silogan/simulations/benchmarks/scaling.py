"""Scaling of a private run's time and memory with sites, batch, image size and rounds, one varied at a time.

A sample is an image, real or generated, in a private discriminator step; where time is linear in them, the seconds for
a million stay the same along sites and rounds. Memory is the peak of the process; each further site has only its images
(held once by all) and, on the disk, its optimizers' state.

    python simulations/benchmarks/scaling.py [--short] [--json]
"""

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from silogan.simulations.benchmarks._machine import measured, parser, show
from silogan.simulations.benchmarks._runs import LOCAL_STEPS, simulate, workload

BASE = {"sites": 10, "batch": 32, "size": 28, "site_rounds": 40}
VARIED = {"sites": (4, 10, 20, 40), "batch": (8, 32, 128), "size": (8, 28, 32, 64), "site_rounds": (20, 40, 80)}


def measure(varied: str, sites: int, batch: int, size: int, site_rounds: int) -> dict[str, Any]:
    """One row: one run."""
    scenario = workload(sites, rounds=site_rounds // sites, batch=batch, size=size)
    run = simulate(scenario)
    samples = 2 * batch * LOCAL_STEPS * scenario.training.rounds * sites
    return {
        "varied": varied,
        "sites": sites,
        "batch": batch,
        "size": size,
        "rounds": scenario.training.rounds,
        "samples": samples,
        "wall_seconds": run.seconds,
        "training_seconds": run.training_seconds,
        "training_seconds_per_million_samples": 1e6 * run.training_seconds / samples,
        "peak_memory_mib": run.peak_memory_bytes / 2**20,
    }


def main() -> None:
    """Runs the benchmark from the command line."""
    arguments = parser(__doc__, "two runs of one round at 8x8").parse_args()
    base, varied = BASE, VARIED
    if arguments.short:
        base, varied = {"sites": 2, "batch": 8, "size": 8, "site_rounds": 2}, {"batch": (8, 16)}
    points = [(name, value) for name, values in varied.items() for value in values]
    cases = [(f"{name} {value}", name, *{**base, name: value}.values()) for name, value in points]
    show(measured(cases, measure), as_json=arguments.json)


if __name__ == "__main__":
    main()
