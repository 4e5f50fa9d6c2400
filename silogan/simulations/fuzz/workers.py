"""Processes that try one mutation after another, and a watchdog that kills those that hang or take too much memory."""

import logging
import multiprocessing
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path
from typing import cast

import torch

from silogan.simulations.fuzz import trial
from silogan.simulations.fuzz.kinds import KINDS
from silogan.simulations.fuzz.trial import Outcome

_WAIT_SECONDS = 15.0
"""After which a trial is ended that does not compute either."""

_LOOK_SECONDS = 0.02
_HARD_BYTES = 2 * trial.MOST_BYTES
_START_SECONDS = 120.0


def context() -> ForkServerContext:
    """Processes with all libraries imported."""
    made = multiprocessing.get_context("forkserver")
    made.set_forkserver_preload(["silogan.simulations.fuzz.preload"])
    return made


@dataclass
class _Worker:
    """A process, and what it does; `pages` is the memory that it began a trial with."""

    process: ForkServerProcess
    pipe: Connection
    busy: tuple[str, int] | None = None
    since: float = field(default_factory=time.monotonic)
    resident: int = 0


def try_all(todo: Iterable[tuple[str, int]], *, base: Path, scratch: Path, seed: int, count: int) -> Iterator[Outcome]:
    """Tries mutations, each named by its kind and number, in `count` processes; outcomes as they come.

    Args:
        todo: what to try.
        base: the intact place.
        scratch: an empty folder.
        seed: of all mutations.
        count: processes.
    """
    queue, made = iter(todo), context()
    folders = [scratch / f"worker-{number}" for number in range(count)]
    workers = [_start(made, base, folder, seed) for folder in folders]
    try:
        while True:
            for number, worker in enumerate(workers):
                outcome = _ended(worker)
                if outcome is not None:
                    yield outcome
                    worker.process.kill()
                    worker.process.join()
                    workers[number] = _start(made, base, folders[number], seed)
                if workers[number].busy is None:
                    _give(workers[number], next(queue, None))
            busy = {worker.pipe: worker for worker in workers if worker.busy is not None}
            if not busy:
                return
            for pipe in wait(list(busy), _LOOK_SECONDS):
                yield from _received(busy[pipe])  # pyright: ignore[reportArgumentType]
    finally:
        for worker in workers:
            worker.process.kill()
            worker.process.join()


def _start(made: ForkServerContext, base: Path, folder: Path, seed: int) -> _Worker:
    ours, theirs = cast(tuple[Connection, Connection], made.Pipe())
    process = made.Process(target=_work, args=(theirs, base, folder, seed), daemon=True)
    process.start()
    theirs.close()
    if not ours.poll(_START_SECONDS):
        raise RuntimeError("a worker does not start")
    ours.recv()
    return _Worker(process, ours)


def _give(worker: _Worker, task: tuple[str, int] | None) -> None:
    worker.busy = task
    if task is not None:
        worker.since, worker.resident = time.monotonic(), 0
        worker.pipe.send(task)


def _received(worker: _Worker) -> Iterator[Outcome]:
    """What a worker says: how much memory it begins a trial with, or what came of it."""
    try:
        said = worker.pipe.recv()
    except (EOFError, ConnectionError):
        return  # `_ended` sees it
    if isinstance(said, int):
        worker.resident, worker.since = said, time.monotonic()
    else:
        worker.busy = None
        yield said


def _ended(worker: _Worker) -> Outcome | None:
    """What became of a trial that ended its process, or had to be ended."""
    if worker.busy is None:
        return None
    kind, index = worker.busy
    if not worker.process.is_alive():
        if worker.process.exitcode == -signal.SIGPROF:
            return Outcome(kind, index, "too slow", f"more than {trial.MOST_SECONDS:g} s", trial.MOST_SECONDS)
        return Outcome(kind, index, "died", f"exit code {worker.process.exitcode}")
    if worker.resident:
        grown = _resident(worker.process.pid) - worker.resident
        if grown > _HARD_BYTES:
            return Outcome(kind, index, "too large", f"at least {grown >> 20} MB", 0.0, grown / 2**20)
        if time.monotonic() - worker.since > _WAIT_SECONDS:
            return Outcome(kind, index, "too slow", f"waits for more than {_WAIT_SECONDS:g} s", _WAIT_SECONDS)
    return None


def _resident(process: int | None) -> int:
    try:
        return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")
    except (OSError, IndexError):
        return 0


def _work(pipe: Connection, base: Path, folder: Path, seed: int) -> None:
    """A worker: tries each input as it is, so that all is read and imported, and then what it is told."""
    torch.set_num_threads(1)
    logging.disable()
    sys.stdout = sys.stderr = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115  (as long as the process)
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(base, folder, symlinks=True)
    pipe.send(True)
    while True:
        try:
            kind, index = pipe.recv()
        except EOFError:
            return
        original = (base / KINDS[kind].file).read_bytes()
        content = original if index < 0 else trial.mutation(kind, seed, index, original)
        pipe.send(trial.reset_peak())
        signal.setitimer(signal.ITIMER_PROF, trial.MOST_SECONDS if index >= 0 else 0.0)
        outcome = trial.attempt(kind, index, folder, content)
        signal.setitimer(signal.ITIMER_PROF, 0.0)
        trial.restore(folder, base)
        pipe.send(outcome)
