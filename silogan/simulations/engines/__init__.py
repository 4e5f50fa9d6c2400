"""The engines that run a prepared study; a new one is one file and one line."""

from pathlib import Path
from typing import Protocol

from silogan.simulations.engines import inprocess
from silogan.simulations.engines import ray as ray_engine


class Engine(Protocol):
    """Runs the remaining rounds of a prepared study."""

    def __call__(self, run_dir: Path, *, num_sites: int, workers: int) -> None:
        """Returns when the last round's checkpoint is written.

        Raises:
            SiloganError: how the federation failed.
        """
        ...


ENGINES: dict[str, Engine] = {
    "inprocess": inprocess.run,
    "ray": ray_engine.run,
}
