"""The cost of a step in this checkout compared with another checkout of the project.

They take turns on one machine. Each has a process of its own, which waits while another works; so a disturbance of the
machine meets all of them.

    git worktree add ../before COMMIT
    python simulations/benchmarks/step_against.py ../before:bookkeeping [--size 64] [--threads 1] [--json]

Without another checkout this one is compared with itself: what is not 1 then is the machine's noise.
"""

import statistics
import subprocess
import sys
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TextIO, cast

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from silogan.common.device import available_cores
from silogan.simulations.benchmarks._machine import parser, show

HERE = Path(__file__).resolve().parents[3]
BATCH = 256

_WORKER = """
import sys, time
checkout, engine, size, threads = sys.argv[1:]
sys.path.insert(0, checkout)
import silogan  # sets how threads wait, as its users have it
import torch
torch.set_num_threads(int(threads))
from silogan.common.allocator import keep_freed_memory
from silogan.simulations.benchmarks.step_cost import make_step
keep_freed_memory()
step = make_step(engine, int(size), {batch}, "cpu")
for _ in sys.stdin:
    begin = time.perf_counter()
    step()
    print(time.perf_counter() - begin, flush=True)
"""


@contextmanager
def worker(checkout: Path, engine: str, size: int, threads: int) -> Generator[Callable[[], float]]:
    """A process that takes a step on request and reports the seconds."""
    command = [sys.executable, "-c", _WORKER.format(batch=BATCH), str(checkout), engine, str(size), str(threads)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)  # noqa: S603  (ours)
    asks, says = cast(TextIO, process.stdin), cast(TextIO, process.stdout)

    def take() -> float:
        print(file=asks, flush=True)
        return float(says.readline())

    try:
        yield take
    finally:
        process.kill()
        process.communicate()


def compare(other: Path, engine: str, size: int, threads: int, rounds: int) -> dict[str, Any]:
    """Medians of plain, before and now, and the ratio of the latter two.

    Raises:
        SystemExit: the other folder is not a checkout, or one of the three processes ended and printed why.
    """
    if not (other / "simulations" / "benchmarks" / "step_cost.py").exists():  # the installed one would step in
        raise SystemExit(f"{other} is not a checkout of this project with this benchmark")
    parts = {"plain": (HERE, "plain"), "before": (other, engine), "now": (HERE, "ours")}
    times: dict[str, list[float]] = {name: [] for name in parts}
    with ExitStack() as stack:
        steps = {name: stack.enter_context(worker(*part, size, threads)) for name, part in parts.items()}
        for number in range(rounds + 2):
            for name, take in steps.items():
                try:
                    taken = take()
                except (BrokenPipeError, ValueError) as error:
                    raise SystemExit(f"{name} ended: see above") from error
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
    options = parser(__doc__, "three rounds")
    other = "FOLDER:ENGINE, the other checkout and its engine"
    options.add_argument("other", nargs="?", default=f"{HERE}:ours", help=other)
    options.add_argument("--size", type=int, default=28, choices=(28, 64))
    options.add_argument("--threads", type=int, default=available_cores())
    options.add_argument("--rounds", type=int, default=15)
    arguments = options.parse_args()
    arguments.rounds = 3 if arguments.short else arguments.rounds
    folder, _, engine = arguments.other.rpartition(":")
    row = compare(Path(folder).resolve(), engine, arguments.size, arguments.threads, arguments.rounds)
    show([row], as_json=arguments.json)


if __name__ == "__main__":
    main()
