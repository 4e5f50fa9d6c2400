"""What `simulate` makes of a folder and of how an engine ends; whole runs are in tests/test_command_line.py."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from filelock import FileLock

from silogan.common.config.scenario import Scenario, parse_scenario
from silogan.common.errors import ConfigError, FederationError, PrivacyRefusal, SiloganError, UsageError
from silogan.common.models.weights import generator_weights
from silogan.common.wire.run_folder import holds_run
from silogan.common.wire.study import Study
from silogan.server.app import initial_weights
from silogan.server.rounds.checkpoint import Checkpoint
from silogan.simulations.engines import ENGINES
from silogan.simulations.simulate import _with_absolute_paths, simulate

pytestmark = pytest.mark.usefixtures("threads_kept")

VALUES: dict[str, Any] = {
    "name": "small",
    "seed": 1,
    "sites": {"count": 2},
    "model": {"latent_dim": 4, "width": 4},
    "training": {"rounds": 3, "local_steps": 2, "device": "cpu"},
    "privacy": {"noise_multiplier": 1.0},
    "evaluation": {"enabled": False},
}
SCENARIO = parse_scenario(VALUES)
REFUSAL = PrivacyRefusal("round 2", "2 sites refused", "the rounds before it are kept")


class FakeEngine:
    """Gets as far as it is told without any training."""

    def __init__(self) -> None:
        self.rounds, self.error = 3, None
        self.calls: list[dict[str, int]] = []
        self.rounds: int
        self.error: SiloganError | None

    def __call__(self, run_dir: Path, *, num_sites: int, workers: int) -> None:
        self.calls.append({"num_sites": num_sites, "workers": workers})
        study = Study.load(run_dir)
        weights = initial_weights(study)
        generator = generator_weights(weights)
        Checkpoint(study.study_id, self.rounds, weights, generator).save(run_dir)
        if self.error is not None:
            raise self.error


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> FakeEngine:
    fake = FakeEngine()
    monkeypatch.setitem(ENGINES, "fake", fake)
    return fake


@pytest.fixture
def run(engine: FakeEngine, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    def call(scenario: Scenario = SCENARIO, **options: Any) -> dict[str, Any]:
        return simulate(scenario, tmp_path / "run", engine="fake", **options)

    return call


def test_the_report_is_returned_as_it_is_written(run: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    report = run()
    assert json.loads((tmp_path / "run" / "report.json").read_bytes()) == report
    assert (report["engine"], report["rounds"], report["stopped"]) == ("fake", 3, None)


def test_the_engine_gets_as_many_workers_as_asked_for(run: Callable[..., dict[str, Any]], engine: FakeEngine) -> None:
    run(workers=5)
    run(overwrite=True)
    assert engine.calls[0] == {"num_sites": 2, "workers": 5}
    assert engine.calls[1]["workers"] in (1, 2), "no more than there are sites"


def test_a_finished_run_is_not_run_again(run: Callable[..., dict[str, Any]], engine: FakeEngine) -> None:
    assert run() == run(resume=True)
    assert len(engine.calls) == 1


def test_a_failed_federation_leaves_no_report_and_goes_on_with_resume(
    run: Callable[..., dict[str, Any]], engine: FakeEngine, tmp_path: Path
) -> None:
    engine.rounds, engine.error = 1, FederationError("round 2", "1 usable reply", "repair the sites")
    with pytest.raises(FederationError, match="1 usable reply"):
        run()
    assert not (tmp_path / "run" / "report.json").exists()
    engine.rounds, engine.error = 3, None
    assert run(resume=True)["rounds"] == 3


def test_a_refusal_in_the_first_round_leaves_nothing_to_report(
    run: Callable[..., dict[str, Any]], engine: FakeEngine, tmp_path: Path
) -> None:
    engine.rounds, engine.error = 0, REFUSAL
    with pytest.raises(PrivacyRefusal) as caught:
        run()
    assert caught.value is REFUSAL
    assert not (tmp_path / "run" / "report.json").exists()
    assert not (tmp_path / "run" / "generator.safetensors").exists()


def test_a_later_refusal_reports_the_rounds_before_and_is_told_again(
    run: Callable[..., dict[str, Any]], engine: FakeEngine, tmp_path: Path
) -> None:
    engine.rounds, engine.error = 1, REFUSAL
    with pytest.raises(PrivacyRefusal) as caught:
        run()
    assert caught.value is REFUSAL
    report = json.loads((tmp_path / "run" / "report.json").read_bytes())
    assert (report["rounds"], report["rounds_planned"], report["stopped"]) == (1, 3, str(REFUSAL))
    assert (tmp_path / "run" / "generator.safetensors").exists()
    with pytest.raises(PrivacyRefusal, match="stopped after 1 of 3 rounds: round 2: 2 sites refused"):
        run(resume=True)
    assert len(engine.calls) == 1


def test_a_folder_in_use_is_refused(run: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    with FileLock(tmp_path / "run" / ".lock"), pytest.raises(UsageError, match="in use by another process; wait"):
        run()
    assert not holds_run(tmp_path / "run")
    run()


def test_a_failed_run_frees_its_folder_at_once(run: Callable[..., dict[str, Any]], engine: FakeEngine) -> None:
    engine.error = FederationError("round 1", "no replies", "repair the sites")
    with pytest.raises(FederationError) as kept:
        run()
    engine.error = None
    assert run(resume=True)["rounds"] == 3
    assert kept.value.thing == "round 1"


def test_an_unknown_engine_is_refused_before_a_folder_is_made(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--engine: unknown value 'inproces'; did you mean 'inprocess'"):
        simulate(SCENARIO, tmp_path / "run", engine="inproces")
    assert not (tmp_path / "run").exists()


def test_overwriting_deletes_all_of_the_run_before(run: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    run()
    folder = tmp_path / "run"
    for name in ("sites/site-1/round-000003.pt", "ray.log", "sites.log", "events.jsonl", "outcome.json"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"old")
    run(overwrite=True)
    assert [path for path in folder.rglob("*") if path.is_file() and path.read_bytes() == b"old"] == []


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_that_holds_other_files_stays_as_it_is(
    run: Callable[..., dict[str, Any]], tmp_path: Path, overwrite: bool
) -> None:
    """A user's folder may have one of the names that a run uses."""
    (tmp_path / "run" / "samples").mkdir(parents=True)
    mine = [tmp_path / "run" / "notes.txt", tmp_path / "run" / "samples" / "mine.png"]
    for file in mine:
        file.write_text("mine")
    with pytest.raises(ConfigError, match="holds other files, and no run"):
        run(overwrite=overwrite)
    assert sorted(path for path in (tmp_path / "run").rglob("*") if path.is_file()) == mine


def test_an_interrupted_overwrite_never_leaves_a_folder_that_seems_free(
    run: Callable[..., dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run()

    def interrupted(_path: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(shutil, "rmtree", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(overwrite=True)
    with pytest.raises(ConfigError, match="already holds a run"):
        run()


def test_a_relative_data_root_means_the_same_in_every_working_directory(
    run: Callable[..., dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images, labels = np.zeros((40, 8, 8), np.uint8), np.arange(40) % 2
    (tmp_path / "here").mkdir()
    np.savez(
        tmp_path / "here" / "x.npz", train_images=images, train_labels=labels, test_images=images, test_labels=labels
    )
    monkeypatch.chdir(tmp_path / "here")
    scenario = parse_scenario(VALUES | {"data": {"source": "medmnist", "root": "x.npz", "classes": ["a", "b"]}})
    report = run(scenario)
    assert report["configuration"]["data"]["root"] == str(tmp_path / "here" / "x.npz")
    assert run(scenario, resume=True) == report


def test_relative_paths_of_the_data_become_absolute_and_what_is_not_given_stays_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    given = parse_scenario(VALUES | {"data": {"source": "folder", "root": "x", "patients": "y/p.csv"}})
    data = _with_absolute_paths(given).data
    assert (data.root, data.patients) == (tmp_path / "x", tmp_path / "y" / "p.csv")
    assert _with_absolute_paths(SCENARIO) == SCENARIO
