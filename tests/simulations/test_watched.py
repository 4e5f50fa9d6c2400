"""A whole run that somebody watches: each phase is named, and nothing else is different."""

import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from silogan.common.config.scenario import Scenario, parse_scenario
from silogan.common.wire.run_folder import GENERATOR_FILE, PROGRESS_FILE, TIMES_FILE
from silogan.simulations import live, times
from silogan.simulations.simulate import simulate
from silogan.simulations.times import Times, known, phase_of

pytestmark = pytest.mark.usefixtures("threads_kept", "one_thread")

PHASES = ("preparing", "statistics", "fitting", "refinement", "control", "measuring")


def scenario(seed: int = 1) -> Scenario:
    refine: dict[str, Any] = {"rounds": 2, "generator_steps": 2, "batch": 16, "width": 16, "share": 0.2}
    return parse_scenario(
        {
            "name": "watched",
            "seed": seed,
            "data": {"source": "breast-cancer"},
            "sites": {"count": 2},
            "model": {"family": "mixture", "components": 4, "steps": 20, "bins": 2, "singles_share": 0.25},
            "training": {"rounds": 0, "refine": refine},
            "privacy": {"epsilon": 10.0, "delta": 1e-4},
            "evaluation": {"samples": 50, "real_ceiling": False, "risks": False},
        }
    )


def watched(run_dir: Path) -> str:
    screen = io.StringIO()
    simulate(scenario(), run_dir, console=Console(file=screen, force_terminal=True, width=120, color_system=None))
    return screen.getvalue()


def test_every_phase_is_named_and_nothing_else_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(times, "_TRIAL_SECONDS", 1e-9)
    simulate(scenario(), tmp_path / "unwatched")
    assert not (tmp_path / "unwatched" / TIMES_FILE).exists()

    shown = watched(tmp_path / "seed-1")
    for phase in PHASES:
        assert phase in shown
    assert "on this machine" not in shown  # as nothing is known yet
    assert not (tmp_path / "seed-1" / PROGRESS_FILE).exists()
    generators = [(tmp_path / name / GENERATOR_FILE).read_bytes() for name in ("unwatched", "seed-1")]
    assert generators[0] == generators[1]

    found = Times.model_validate_json((tmp_path / "seed-1" / TIMES_FILE).read_bytes())
    phases = list(dict.fromkeys(map(phase_of, found.stages)))
    own, of_control = ["preparing", "statistics", "fitting"], ("preparing", "statistics", "fitting", "measuring")
    assert phases == [*own, "refinement", *(f"control {name}" for name in of_control), "measuring"]
    assert {"statistics, singles", "statistics, pairs", "measuring, logistic"} <= {*found.stages}
    assert known(scenario(seed=2), tmp_path / "seed-2") == found
