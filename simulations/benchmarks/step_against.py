"""What a step costs in this checkout and in another one of the project, in turn on one machine.

Each step has a process of its own, which waits while another works; so a disturbance of the machine meets all of them.

    git worktree add ../before COMMIT
    python simulations/benchmarks/step_against.py ../before:bookkeeping [--size 64] [--threads 1] [--json]
"""

import argparse
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO, cast

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from common.device import available_cores
from simulations.benchmarks._machine import show

HERE = Path(__file__).resolve().parents[2]
BATCH = 256

_WORKER = """
import os, sys, time
checkout, engine, size, threads = sys.argv[1:]
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
sys.path.insert(0, checkout)
import torch
torch.set_num_threads(int(threads))
from common.allocator import keep_freed_memory
from simulations.benchmarks.step_cost import make_step
keep_freed_memory()
step = make_step(engine, int(size), {batch}, "cpu")
for _ in sys.stdin:
    begin = time.perf_counter()
    step()
    print(time.perf_counter() - begin, flush=True)
"""


def worker(checkout: Path, engine: str, size: int, threads: int) -> Callable[[], float]:
    """A process that takes a step when it is asked, and says the seconds."""
    command = [sys.executable, "-c", _WORKER.format(batch=BATCH), str(checkout), engine, str(size), str(threads)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)  # noqa: S603  (ours)
    asks, says = cast(TextIO, process.stdin), cast(TextIO, process.stdout)

    def take() -> float:
        asks.write("\n")
        asks.flush()
        return float(says.readline())

    return take


def compare(other: Path, engine: str, size: int, threads: int, rounds: int) -> dict[str, Any]:
    """Medians of plain, before and now, and the ratio of the latter two."""
    steps = {
        "plain": worker(HERE, "plain", size, threads),
        "before": worker(other, engine, size, threads),
        "now": worker(HERE, "ours", size, threads),
    }
    times: dict[str, list[float]] = {name: [] for name in steps}
    for number in range(rounds + 2):
        for name, take in steps.items():
            taken = take()
            if number > 1:  # the first two warm up
                times[name].append(taken)
    median = {name: statistics.median(values) for name, values in times.items()}
    pairs = [now / before for now, before in zip(times["now"], times["before"], strict=True)]
    return {
        "size": size,
        "threads": threads,
        "rounds": rounds,
        **{f"{name}_seconds": value for name, value in median.items()},
        "now_over_before": median["now"] / median["before"],
        "now_over_before_quartiles": [round(value, 3) for value in statistics.quantiles(pairs, n=4)],
        "now_over_plain": median["now"] / median["plain"],
    }


def main() -> None:
    """Runs the comparison from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("other", help="folder of the other checkout and the name of its engine, with a colon between")
    parser.add_argument("--size", type=int, default=28, choices=(28, 64))
    parser.add_argument("--threads", type=int, default=available_cores())
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()
    folder, _, engine = arguments.other.rpartition(":")
    row = compare(Path(folder).resolve(), engine, arguments.size, arguments.threads, arguments.rounds)
    show([row], as_json=arguments.json)


if __name__ == "__main__":
    main()
