"""The overhead of a federation: wall time of a whole `silogan simulate` over that of its bare steps.

The wall time is that of the process as a user starts it, without the evaluation of the images: imports, data,
partition, weights to and from the sites, ledgers, states and checkpoints on the disk, sample grids and report are in
it. The bare steps are those of the same sites without privacy ("plain"), on as many threads and with the same
allocator. `wall_over_plain` is the same study without privacy over them: what federating costs. `private_over_plain` is
the private study over them: what federating and privacy cost together. All take turns; ratios are of medians.

    python simulations/benchmarks/federation_overhead.py [--short] [--json] [--sites 4,10,50,100] [--ray 10]
"""

import argparse
import os
import statistics
import sys
from pathlib import Path
from typing import Any

# As the `silogan` launcher does, before torch is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("GOMP_SPINCOUNT", "10000")
sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from silogan.simulations.benchmarks._machine import measured, parser, show
from silogan.simulations.benchmarks._runs import LOCAL_STEPS, bare_steps, mnist_folder, simulate, workload


def compare(sites: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """One row: so many sites, the same number of steps in all as every other row."""
    rounds = max(1, arguments.steps // (sites * LOCAL_STEPS))
    plain, private = (workload(sites, rounds=rounds, batch=arguments.batch, private=own) for own in (False, True))
    bare: list[float] = []
    walls: dict[str, list[float]] = {"plain": [], "private": [], "ray": []}
    memory = 0
    for _ in range(arguments.repeats):
        bare.append(bare_steps(plain))
        run = simulate(plain)
        walls["plain"].append(run.seconds)
        memory = max(memory, run.peak_memory_bytes)
        if sites in arguments.private:
            walls["private"].append(simulate(private).seconds)
        if sites in arguments.ray:
            walls["ray"].append(simulate(plain, "ray").seconds)
    median = {name: statistics.median(values) for name, values in walls.items() if values}
    plain_seconds = statistics.median(bare)
    row: dict[str, Any] = {
        "sites": sites,
        "rounds": rounds,
        "steps": rounds * LOCAL_STEPS * sites,
        "batch": arguments.batch,
        "data": "digits" if mnist_folder() is None else "mnist",
        "plain_seconds": plain_seconds,
        "wall_seconds": median["plain"],
        "wall_over_plain": median["plain"] / plain_seconds,
        "peak_memory_mib": memory / 2**20,
    }
    for name in ("private", "ray"):
        if name in median:
            row[f"{name}_wall_seconds"] = median[name]
            row[f"{name}_over_plain"] = median[name] / plain_seconds
    return row


def main() -> None:
    """Runs the benchmark from the command line."""
    options = parser(__doc__, "four sites, 200 steps, once")
    options.add_argument("--sites", type=_counts, default=[4, 10, 50, 100], help="numbers of sites")
    options.add_argument("--ray", type=_counts, default=[10], help="numbers of sites to run on Ray as well")
    options.add_argument("--private", type=_counts, default=[10], help="numbers of sites to run with privacy as well")
    options.add_argument("--batch", type=int, default=64, help="real images that a site expects in a step")
    options.add_argument("--steps", type=int, default=2500, help="steps of all sites together, in each row")
    options.add_argument("--repeats", type=int, default=1, help="times that each is run")
    arguments = options.parse_args()
    if arguments.short:
        arguments.sites, arguments.private, arguments.ray = [4], [4], []
        arguments.batch, arguments.steps, arguments.repeats = 16, 200, 1
    cases = [(f"{sites} sites", sites, arguments) for sites in arguments.sites]
    show(measured(cases, compare), as_json=arguments.json)


def _counts(text: str) -> list[int]:
    return [int(part) for part in text.split(",") if part]


if __name__ == "__main__":
    main()
