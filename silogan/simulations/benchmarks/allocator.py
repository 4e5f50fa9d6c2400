"""The saving when glibc keeps freed memory (`common/allocator.py`): rounds of a private run with and without it.

Both take turns; the ratio is of medians of the rounds' wall time.

    python simulations/benchmarks/allocator.py [--short] [--json]
"""

import argparse
import statistics
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from silogan.simulations.benchmarks._machine import measured, parser, show
from silogan.simulations.benchmarks._runs import Run, simulate, workload

# Any setting of glibc's in the environment keeps the launcher from its own; this one says what glibc does anyway.
_AS_GLIBC_WOULD = {"MALLOC_ARENA_TEST": "8"}


def compare(sites: int, batch: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """One row: a run with glibc's defaults and one that keeps freed memory, in turn."""
    scenario = workload(sites, rounds=arguments.rounds, batch=batch)
    runs: dict[str, list[Run]] = {"default": [], "kept": []}
    for _ in range(arguments.repeats):
        runs["default"].append(simulate(scenario, environment=_AS_GLIBC_WOULD))
        runs["kept"].append(simulate(scenario))
    seconds = {name: statistics.median(run.training_seconds for run in taken) for name, taken in runs.items()}
    memory = {name: max(run.peak_memory_bytes for run in taken) for name, taken in runs.items()}
    return {
        "sites": sites,
        "batch": batch,
        "rounds": arguments.rounds,
        "default_seconds": seconds["default"],
        "kept_seconds": seconds["kept"],
        "kept_over_default": seconds["kept"] / seconds["default"],
        "memory_over_default": memory["kept"] / memory["default"],
    }


def main() -> None:
    """Runs the benchmark from the command line."""
    options = parser(__doc__, "one round, once")
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--repeats", type=int, default=4, help="times that each is run")
    arguments = options.parse_args()
    if arguments.short:
        arguments.rounds = arguments.repeats = 1
    cases = [(f"batch {batch}", 4, batch, arguments) for batch in ([16] if arguments.short else [16, 64])]
    show(measured(cases, compare), as_json=arguments.json)


if __name__ == "__main__":
    main()
