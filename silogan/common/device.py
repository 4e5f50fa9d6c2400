"""Devices, cores and threads."""

import math
import os
from collections.abc import Generator
from contextlib import contextmanager

import torch

from silogan.common.errors import ConfigError


def choose_device(wanted: str) -> torch.device:
    """The device called `wanted`; `auto` is the GPU if there is one.

    Raises:
        ConfigError: there is no such device on this machine.
    """
    if wanted == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if wanted.partition(":")[0] in ("cpu", "cuda"):
        try:
            device = torch.device(wanted)
            torch.empty(0, device=device)
            return device
        except (RuntimeError, AssertionError):
            pass
    raise ConfigError("training.device", f"'{wanted}' is not on this machine", "use auto or cpu")


def available_cores() -> int:
    """Processor cores that this process may use: containers and batch systems often grant fewer than exist."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


_SMALL = 3 * 16 * 16  # values of a record up to which threads would only wait for each other


def threads_for_training(shape: tuple[int, ...]) -> int:
    """Threads of torch for one classifier of records of this shape."""
    return 1 if math.prod(shape) <= _SMALL else int(os.environ.get("OMP_NUM_THREADS") or available_cores())


@contextmanager
def threads(count: int) -> Generator[None]:
    """So many threads of torch within the context."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def threads_for_each(sites: int) -> int:
    """Threads of torch for each of so many sites that work side by side; the same in every engine."""
    return max(1, available_cores() // sites)
