"""The ServerApp from its run folder to its outcome, begun, interrupted and resumed."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from flwr.app import Context, RecordDict
from flwr.serverapp import Grid

from silogan.common.errors import Code, ConfigError, FederationError, PrivacyRefusal, VerificationError
from silogan.common.wire.refusals import refusal_record
from silogan.common.wire.run_folder import CHECKPOINT_FOLDER, EVENTS_FILE, OUTCOME_FILE, RUN_FILE
from silogan.common.wire.study import Study
from silogan.server.app import app, federate, initial_weights
from silogan.server.rounds.checkpoint import Checkpoint
from silogan.server.rounds.events import append_event, read_events
from silogan.server.rounds.outcome import raise_outcome


@pytest.fixture
def grid(make_grid: Callable[..., Any], honest: Callable[..., Any]) -> Any:
    """Three sites that answer rightly."""
    return make_grid(honest(), nodes=[1, 2, 3])


@pytest.fixture
def prepared(study: Study, run_dir: Path) -> Path:
    study.save(run_dir)
    return run_dir


def serve(grid: Grid, run_dir: Path) -> None:
    app(grid, Context(1, 0, {}, RecordDict(), {"run-dir": str(run_dir)}))


def latest(run_dir: Path) -> Checkpoint:
    checkpoint = Checkpoint.latest(run_dir)
    assert checkpoint is not None
    return checkpoint


def rounds(run_dir: Path) -> list[int]:
    return [event["round"] for event in read_events(run_dir)]


def asked(grid: Any) -> list[int]:
    return sorted({instruction.round for _, instruction in grid.asked})


def test_a_run_goes_from_fresh_weights_to_its_last_round(grid: Any, prepared: Path, study: Study) -> None:
    serve(grid, prepared)
    raise_outcome(prepared)
    checkpoint = latest(prepared)
    assert (checkpoint.study_id, checkpoint.round) == (study.study_id, 4)
    assert rounds(prepared) == [1, 2, 3, 4]
    for name, tensor in initial_weights(study).items():  # the nodes add 1, 2 and 3 in each of four rounds
        torch.testing.assert_close(checkpoint.weights[name], tensor + 8)


def test_an_interrupted_run_goes_on_and_ends_like_one_that_was_not(
    grid: Any, make_grid: Callable[..., Any], honest: Callable[..., Any], study: Study, tmp_path: Path
) -> None:
    def dies_in_round_3(node: int, instruction: Any, weights: Any) -> Any:
        if instruction.round == 3:
            raise KeyboardInterrupt
        return honest()(node, instruction, weights)

    folders = {name: tmp_path / name for name in ("straight", "interrupted")}
    for folder in folders.values():
        for name in (CHECKPOINT_FOLDER, "samples"):
            (folder / name).mkdir(parents=True)
        study.save(folder)
    federate(grid, folders["straight"])
    with pytest.raises(KeyboardInterrupt):
        federate(make_grid(dies_in_round_3, nodes=[1, 2, 3]), folders["interrupted"])
    assert latest(folders["interrupted"]).round == 2
    again = make_grid(honest(), nodes=[1, 2, 3])
    federate(again, folders["interrupted"])
    assert asked(again) == [3, 4]
    assert rounds(folders["interrupted"]) == [1, 2, 3, 4]
    straight, interrupted = latest(folders["straight"]), latest(folders["interrupted"])
    for one, other in ((straight.weights, interrupted.weights), (straight.ema, interrupted.ema)):
        assert all(torch.equal(one[name], other[name]) for name in one)


def test_killed_between_checkpoint_and_event_no_round_is_lost(
    grid: Any, prepared: Path, make_grid: Callable[..., Any], honest: Callable[..., Any]
) -> None:
    federate(grid, prepared)
    lines = (prepared / EVENTS_FILE).read_bytes().splitlines(keepends=True)
    (prepared / EVENTS_FILE).write_bytes(b"".join(lines[:3]) + lines[3][:20])
    again = make_grid(honest(), nodes=[1, 2, 3])
    federate(again, prepared)
    assert again.asked == []
    assert (prepared / EVENTS_FILE).read_bytes() == b"".join(lines)


def test_gone_back_a_checkpoint_the_round_is_done_again_and_told_once(
    grid: Any, prepared: Path, make_grid: Callable[..., Any], honest: Callable[..., Any]
) -> None:
    federate(grid, prepared)
    (prepared / CHECKPOINT_FOLDER / "round-000004.safetensors").unlink()
    again = make_grid(honest(), nodes=[1, 2, 3])
    federate(again, prepared)
    assert asked(again) == [4]
    assert rounds(prepared) == [1, 2, 3, 4]


def test_a_run_whose_checkpoints_are_gone_does_not_begin_anew(grid: Any, prepared: Path) -> None:
    append_event(prepared, {"event": "round", "round": 1})
    with pytest.raises(VerificationError, match="are missing, though round 1 was completed"):
        federate(grid, prepared)
    assert grid.asked == []
    assert rounds(prepared) == [1]


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (lambda *_: None, FederationError),
        (lambda node, *_: refusal_record(f"site-{node}", Code.BUDGET), PrivacyRefusal),
    ],
)
def test_a_failure_is_raised_and_written_down(
    make_grid: Callable[..., Any], prepared: Path, answer: Any, kind: type[FederationError | PrivacyRefusal]
) -> None:
    with pytest.raises(kind):
        serve(make_grid(answer, nodes=[1, 2, 3]), prepared)
    with pytest.raises(kind, match="round 1"):
        raise_outcome(prepared)


def test_success_after_a_failure_is_success(make_grid: Callable[..., Any], grid: Any, prepared: Path) -> None:
    with pytest.raises(FederationError):
        serve(make_grid(lambda *_: None, nodes=[1, 2, 3]), prepared)
    serve(grid, prepared)
    raise_outcome(prepared)


def test_a_full_disk_is_one_line_and_written_down(grid: Any, prepared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Checkpoint, "save", full)
    with pytest.raises(FederationError, match=r"server: cannot write the run folder \(No space left on device\)"):
        serve(grid, prepared)
    with pytest.raises(FederationError, match="cannot write the run folder"):
        raise_outcome(prepared)


def test_a_folder_without_a_run_is_refused(grid: Any, run_dir: Path) -> None:
    with pytest.raises(ConfigError, match=RUN_FILE):
        serve(grid, run_dir)
    assert (run_dir / OUTCOME_FILE).exists()


def test_a_damaged_checkpoint_is_refused_and_nobody_is_asked(grid: Any, prepared: Path) -> None:
    (prepared / CHECKPOINT_FOLDER / "round-000002.safetensors").write_bytes(b"half")
    with pytest.raises(VerificationError, match="round-000002"):
        serve(grid, prepared)
    assert grid.asked == []


def test_a_checkpoint_of_another_study_is_refused_and_nobody_is_asked(
    grid: Any, prepared: Path, make_study: Callable[..., Study]
) -> None:
    other = make_study(seed=2)
    Checkpoint(other.study_id, 1, initial_weights(other), {}).save(prepared)
    with pytest.raises(VerificationError, match="belongs to another study"):
        serve(grid, prepared)
    assert grid.asked == []


def test_first_weights_come_from_the_seed_where_there_is_one(make_study: Callable[..., Study]) -> None:
    first, again, other = (initial_weights(make_study(seed=seed)) for seed in (1, 1, 2))
    fresh, fresher = (initial_weights(make_study(seed=None)) for _ in range(2))
    name = "generator.layers.0.weight"
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not torch.equal(first[name], other[name])
    assert not torch.equal(fresh[name], fresher[name])
    assert {key.split(".")[0] for key in first} == {"generator", "discriminator"}
