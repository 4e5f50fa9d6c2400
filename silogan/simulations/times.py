"""How long a simulation takes: an earlier run of the same study says so, and how fast this machine is now.

A stage is a part of a phase, as `measuring, real images`. Of an earlier run it is known how long each one took, and how
long a short trial took on its machine then. Where nothing is known nothing is said.
"""

import json
import time
from collections.abc import Mapping
from pathlib import Path
from statistics import mean
from typing import Annotated, Any

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch.nn import functional as F

from silogan.common.config.scenario import Scenario, load_scenario
from silogan.common.device import threads, threads_for_training
from silogan.common.files import write_bytes_atomically
from silogan.common.wire.run_folder import TIMES_FILE
from silogan.server.evaluation.classifier import BATCH, Classifier
from silogan.simulations.shipped import shipped_file

_TRIAL_SECONDS = 0.8
_TRUST = 0.1  # in the trial: as in a run that has come so far
_BEGUN = 0.1  # of a stage, from which its own speed counts

SHIPPED = Path(__file__).parent / "scenarios" / "times"
"""Times of ours, by name: `times.json` of a run that was watched, without its configuration."""
_Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Times(BaseModel):
    """How long a run took.

    Attributes:
        trial: seconds of a trial on its machine, the mean of one before it and one after it.
        stages: seconds of each stage, in order.
        configuration: the study; None for one of ours, whose file says it.
    """

    model_config = ConfigDict(frozen=True)
    trial: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    stages: dict[str, _Seconds]
    configuration: dict[str, Any] | None = None

    @property
    def total(self) -> float:
        """Seconds of all stages."""
        return sum(self.stages.values())


def trial() -> float:
    """Seconds of one step of a classifier's training, the mean of as many as there is time for.

    The first is left out: it also prepares those after it.
    """
    shape = (1, 28, 28)
    rng = torch.Generator().manual_seed(0)
    network = Classifier(shape[-1], shape[0], 10, generator=rng)
    images, labels = torch.rand(BATCH, *shape, generator=rng), torch.zeros(BATCH, dtype=torch.int64)
    took: list[float] = []
    with threads(threads_for_training(shape)):
        while sum(took) < _TRIAL_SECONDS:
            start = time.perf_counter()
            F.cross_entropy(network(images), labels).backward()
            took.append(time.perf_counter() - start)
    return mean(took[1:] or took)


def known(scenario: Scenario, run_dir: Path) -> Times | None:
    """How long the same study took in this folder, in one beside it, or where ours was measured; None if nobody knows.

    The same are studies that differ in their seed, their title or the place of their data alone.
    """
    asked = _work(scenario)
    for path in (run_dir / TIMES_FILE, *sorted(run_dir.parent.glob(f"*/{TIMES_FILE}"))):
        found = _read(path)
        if found is not None and found.configuration == asked:
            return found
    ours = shipped_file(scenario.name)
    found = _read(SHIPPED / f"{scenario.name}.json") if ours is not None else None
    return found if found is not None and ours is not None and _work(load_scenario(ours)) == asked else None


def record(scenario: Scenario, run_dir: Path, took: float, stages: Mapping[str, float]) -> None:
    """Writes how long a run took, for the next one."""
    rounded = {stage: round(seconds, 2) for stage, seconds in stages.items()}
    found = {"trial": round(took, 5), "stages": rounded, "configuration": _work(scenario)}
    write_bytes_atomically(run_dir / TIMES_FILE, json.dumps(found, indent=2).encode())


class Clock:
    """Tells how much time is left.

    Args:
        times: of an earlier run; None if there is none.
        took: seconds of the trial on this machine, now.
    """

    def __init__(self, times: Times | None, took: float) -> None:
        self._stages = {} if times is None else times.stages
        self._slower = 1.0 if times is None else took / times.trial

    @property
    def total(self) -> float:
        """Seconds that all of it should take here; 0 if nobody knows."""
        return self._slower * sum(self._stages.values())

    def expected(self, phase: str) -> float:
        """Seconds that a phase should take, before anything has begun; 0 if nobody knows."""
        return self._slower * sum(self._of(phase).values())

    def done(self, spent: Mapping[str, float], stage: str, fraction: float) -> float | None:
        """Fraction of the phase of a stage that is done; None if nobody knows."""
        of = self._of(phase_of(stage))
        if stage not in of:
            return None
        before = sum(seconds for name, seconds in of.items() if name in spent and name != stage)
        return (before + fraction * of[stage]) / max(sum(of.values()), 1e-9)

    def left(self, spent: Mapping[str, float], stage: str, fraction: float) -> float | None:
        """Seconds until the end, from what was spent so far; None if nobody knows.

        Args:
            spent: seconds on each stage that has begun.
            stage: the present one.
            fraction: of it that is done; 0 if it cannot say.
        """
        return self._left(spent, stage, fraction, self._stages)

    def left_of_phase(self, spent: Mapping[str, float], stage: str, fraction: float) -> float | None:
        """The same until the end of the phase; of the stage alone where nothing is known of its phase."""
        found = self._left(spent, stage, fraction, self._of(phase_of(stage)))
        return found if found is not None else left_at_speed(spent[stage], fraction)

    def _of(self, phase: str) -> dict[str, float]:
        return {stage: seconds for stage, seconds in self._stages.items() if phase_of(stage) == phase}

    def _left(self, spent: Mapping[str, float], stage: str, fraction: float, of: Mapping[str, float]) -> float | None:
        if stage not in of:
            return None
        names, slower = list(of), self._slower_so_far(spent, stage, fraction)
        at_speed = left_at_speed(spent[stage], fraction) if fraction >= _BEGUN else None
        present = max(0.0, slower * of[stage] - spent[stage]) if at_speed is None else at_speed
        return present + slower * sum(of[name] for name in names[names.index(stage) + 1 :])

    def _slower_so_far(self, spent: Mapping[str, float], stage: str, fraction: float) -> float:
        """How many times as long as then it takes now: by the trial at first, then more and more by what was spent."""
        then = {name: self._stages[name] for name in spent if name in self._stages and name != stage}
        if fraction >= _BEGUN and stage in self._stages:
            then[stage] = fraction * self._stages[stage]
        trust = _TRUST * sum(self._stages.values())
        now = sum(spent[name] for name in then)
        return (self._slower * trust + now) / max(trust + sum(then.values()), 1e-9)


def left_at_speed(spent: float, fraction: float) -> float | None:
    """Seconds left of something if it goes on as before; None if it has hardly begun."""
    return spent * (1 - fraction) / fraction if fraction > 0 else None


def stage_of(phase: str, part: str) -> str:
    """The name of a stage."""
    return f"{phase}, {part}" if part else phase


def phase_of(stage: str) -> str:
    """The phase of a stage."""
    return stage.partition(", ")[0]


def in_words(seconds: float) -> str:
    """About how long something takes."""
    if seconds < 90:
        return f"about {max(1, round(seconds / 5)) * 5:.0f} seconds"
    if seconds < 5400:
        return f"about {round(seconds / 60):.0f} minutes"
    return f"about {seconds / 3600:.1f} hours"


def _work(scenario: Scenario) -> dict[str, Any]:
    """What decides how long a study takes."""
    plain = scenario.model_dump(mode="json", exclude={"name", "title", "seed"})
    places = {*scenario.data.places(), "root", "download"}
    return {**plain, "data": {key: value for key, value in plain["data"].items() if key not in places}}


def _read(path: Path) -> Times | None:
    try:
        return Times.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None
