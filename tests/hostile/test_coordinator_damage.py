"""Files of a coordinator that are damaged or gone: what that costs is that file's run, and everybody is told."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from silogan.common.errors import FederationError, VerificationError
from silogan.common.wire.run_folder import (
    CHECKPOINT_FOLDER,
    EVENTS_FILE,
    OUTCOME_FILE,
    QUARANTINE_FILE,
    RUN_FILE,
    SUBMISSION_FILE,
)
from silogan.server.app import conclude
from silogan.server.operations.coordinator import Coordinator
from silogan.server.operations.dispatcher import Dispatcher
from silogan.server.operations.enrolment import COPY_FILE, SITES_FILE
from silogan.server.operations.prometheus import serve_metrics
from silogan.server.operations.submission import Submission
from silogan.server.rounds.checkpoint import recover
from silogan.server.rounds.outcome import write_outcome
from tests.hostile.coordinators import Link, add_run, make_coordinator, new_line, server

Damage = Callable[[Path], object]


@pytest.fixture
def coordinator(tmp_path: Path) -> Coordinator:
    return make_coordinator(tmp_path / "server")


@pytest.fixture
def link() -> Link:
    return Link()


@pytest.fixture
def dispatcher(coordinator: Coordinator, link: Link, monkeypatch: pytest.MonkeyPatch) -> Dispatcher:
    monkeypatch.setattr("silogan.server.operations.dispatcher._LONGEST_WAIT", 0.0)
    monkeypatch.setattr("silogan.server.operations.dispatcher._ASK_SECONDS", 0.0)
    return Dispatcher(coordinator.runs, coordinator.enrolment, link, supervise=True)  # type: ignore[arg-type]


def checkpoint(folder: Path, number: int) -> Path:
    return folder / CHECKPOINT_FOLDER / f"round-{number:06d}.safetensors"


def flip_a_bit(path: Path) -> None:
    """As a disk does: the length stays, and the header too."""
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def both_checkpoints(folder: Path) -> None:
    for number in (1, 2):
        checkpoint(folder, number).write_bytes(b"half")


def no_checkpoint(folder: Path) -> None:
    shutil.rmtree(folder / CHECKPOINT_FOLDER)


DAMAGES: dict[str, Damage] = {
    "both checkpoints damaged": both_checkpoints,
    "no checkpoint left": no_checkpoint,
    "run.yaml gone": lambda folder: (folder / RUN_FILE).unlink(),
    "run.yaml damaged": lambda folder: (folder / RUN_FILE).write_bytes(b"\xff{"),
    "state damaged": lambda folder: (folder / SUBMISSION_FILE).write_text('{"state": 5}'),
    "state gone": lambda folder: (folder / SUBMISSION_FILE).unlink(),
    "state nested": lambda folder: (folder / SUBMISSION_FILE).write_text("[" * 100_000),
    "violations damaged": lambda folder: (folder / QUARANTINE_FILE).write_text("[]"),
    "checkpoints are a file": lambda folder: (no_checkpoint(folder), (folder / CHECKPOINT_FOLDER).write_text("")),
    "outcome is a folder": lambda folder: (folder / OUTCOME_FILE).mkdir(),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_run_is_set_aside_and_the_others_go_on(
    coordinator: Coordinator, link: Link, dispatcher: Dispatcher, damage: Damage
) -> None:
    broken, whole = (add_run(coordinator, seed, Submission("queued")) for seed in (1, 2))
    damage(coordinator.folder / "runs" / broken)
    for _ in range(3):
        dispatcher.step()
    write_outcome(coordinator.runs.path(whole), None)
    for _ in range(3):
        dispatcher.step()
    assert link.started == [whole]
    found = coordinator.runs.all()
    assert (found[broken].state, found[whole].state) == ("damaged", "finished")
    assert found[broken].problem
    assert "\n" not in found[broken].problem
    shown = server(coordinator.folder, "status")
    assert shown.code == 0, shown.err
    assert found[broken].problem[:60] in shown.out
    facts = {run["name"]: run for run in json.loads(server(coordinator.folder, "status", "--json").out)["runs"]}
    assert (facts[broken]["state"], facts[whole]["state"], facts[whole]["round"]) == ("damaged", "finished", 2)


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_run_that_is_damaged_while_it_runs_does_not_run_for_ever(
    coordinator: Coordinator, link: Link, dispatcher: Dispatcher, damage: Damage
) -> None:
    broken, whole = (add_run(coordinator, seed, Submission("queued")) for seed in (1, 2))
    dispatcher.step()
    damage(coordinator.folder / "runs" / broken)
    link.status = "finished:failed"
    for _ in range(5):
        dispatcher.step()
        link.status = "running"
    write_outcome(coordinator.runs.path(whole), None)
    dispatcher.step()
    assert coordinator.runs.all()[broken].state == "damaged"
    assert link.started == [broken, whole]  # each once


def test_a_folder_that_is_gone_ends_its_run(coordinator: Coordinator, link: Link, dispatcher: Dispatcher) -> None:
    broken, whole = (add_run(coordinator, seed, Submission("queued")) for seed in (1, 2))
    dispatcher.step()
    dispatcher.step()
    shutil.rmtree(coordinator.folder / "runs" / broken)
    for _ in range(3):
        dispatcher.step()
    assert (link.started, link.stopped) == ([broken, whole], [1])


@pytest.mark.parametrize("damage", [flip_a_bit, lambda path: path.write_bytes(b""), Path.unlink])
def test_a_run_goes_on_from_the_round_before(
    coordinator: Coordinator, link: Link, dispatcher: Dispatcher, damage: Damage
) -> None:
    name = add_run(coordinator, 1, Submission("queued"))
    damage(checkpoint(coordinator.runs.path(name), 2))
    found = recover(coordinator.runs.path(name))
    assert found.checkpoint is not None
    assert found.checkpoint.round == 1
    dispatcher.step()
    assert link.started == [name]
    assert "continuing from round 1" in coordinator.runs.get(name).problem
    assert "continuing from round 1" in server(coordinator.folder, "status").out


def test_an_older_checkpoint_is_never_released_as_the_last(coordinator: Coordinator) -> None:
    name = add_run(coordinator, 1, Submission("queued"), rounds=4)
    folder = coordinator.runs.path(name)
    flip_a_bit(checkpoint(folder, 4))
    with pytest.raises(FederationError, match="continues from the previous round"):
        conclude(folder)
    assert not (folder / "generator.safetensors").exists()


@pytest.mark.parametrize(
    "outcome", ['{"exit_code": 3, "error": null}', '{"exit_code": [], "error": {}}', "[" * 100_000]
)
def test_a_damaged_outcome_ends_a_run(
    coordinator: Coordinator, link: Link, dispatcher: Dispatcher, outcome: str
) -> None:
    first, second = (add_run(coordinator, seed, Submission("queued")) for seed in (1, 2))
    dispatcher.step()
    (coordinator.runs.path(first) / OUTCOME_FILE).write_text(outcome)
    dispatcher.step()
    assert coordinator.runs.get(first).state == "running"  # begun again from its checkpoint
    write_outcome(coordinator.runs.path(first), None)
    dispatcher.step()
    assert link.started == [first, first, second]


EVENTS = ["[1]", "5", '"x"', '{"round": "x"}', '{"round": 2, "seconds": "long", "epsilon": 5}', "[" * 100_000]


@pytest.mark.parametrize("line", EVENTS, ids=lambda line: line[:20])
def test_damaged_events_are_left_out(coordinator: Coordinator, line: str) -> None:
    name = add_run(coordinator, 1, Submission("running"))
    with (coordinator.runs.path(name) / EVENTS_FILE).open("a") as file:
        file.write(line + "\n")
    shown = server(coordinator.folder, "status", "--json")
    assert shown.code == 0, shown.err
    assert json.loads(shown.out)["runs"][0]["round"] == 2


@pytest.mark.parametrize("content", ["{", '[{"name": 5}]', '[{"name": "a", "public_key": "x", "declared_size": "y"}]'])
def test_a_damaged_sites_file_stops_no_run_and_is_put_back(
    coordinator: Coordinator, link: Link, dispatcher: Dispatcher, content: str
) -> None:
    coordinator.enrolment.enrol("bergen", new_line(), 300)
    before = (coordinator.folder / SITES_FILE).read_bytes()
    (coordinator.folder / SITES_FILE).write_text(content)
    name = add_run(coordinator, 1, Submission("queued"))
    for _ in range(2):
        dispatcher.step()
    assert link.started == [name]
    shown = server(coordinator.folder, "status")
    assert shown.code == 0
    assert "'sites.json': is damaged; run `silogan server repair`" in shown.out
    assert name in shown.out
    mended = server(coordinator.folder, "repair")
    assert mended.code == 0, mended.out
    assert "was restored from its copy: 1 hospitals" in mended.out
    assert (coordinator.folder / SITES_FILE).read_bytes() == before


def test_a_sites_file_that_is_gone_is_not_an_empty_one(coordinator: Coordinator) -> None:
    coordinator.enrolment.enrol("bergen", new_line(), 300)
    (coordinator.folder / SITES_FILE).unlink()
    with pytest.raises(VerificationError, match="is missing; run `silogan server repair`"):
        coordinator.enrolment.all()
    (coordinator.folder / COPY_FILE).write_text("{")
    failed = server(coordinator.folder, "repair")
    assert failed.code == 6
    assert "move both away and enrol the hospitals again" in failed.out


def test_metrics_answer_whatever_is_damaged(coordinator: Coordinator) -> None:
    coordinator.enrolment.enrol("bergen", new_line(), 300)
    whole = add_run(coordinator, 99, Submission("running"))
    for seed, damage in enumerate(DAMAGES.values()):
        damage(coordinator.folder / "runs" / add_run(coordinator, seed, Submission("queued")))
    for name in (SITES_FILE, "ca.pem"):
        (coordinator.folder / name).write_text("{")
    metrics = serve_metrics(coordinator)
    try:
        with httpx.Client(trust_env=False) as client:
            answer = client.get(f"http://127.0.0.1:{coordinator.settings.metrics_port}/metrics")
    finally:
        metrics.shutdown()
        metrics.server_close()
    assert answer.status_code == 200
    assert f'silogan_run_round{{run="{whole}"}} 2' in answer.text
    assert "silogan_problems 2" in answer.text
    assert server(coordinator.folder, "status", "--json").code == 0
