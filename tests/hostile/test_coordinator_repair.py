"""`silogan server repair`, and backup, loss, restore and repair: what was lost is named, and mended where it can be."""

import json
import shutil
from pathlib import Path

import pytest

from silogan.common.wire.run_folder import CHECKPOINT_FOLDER, EVENTS_FILE, SUBMISSION_FILE
from silogan.server.operations.coordinator import INNER, Coordinator
from silogan.server.operations.enrolment import SITES_FILE
from silogan.server.operations.settings import SETTINGS_FILE
from silogan.server.operations.submission import Submission
from silogan.server.rounds.checkpoint import recover
from silogan.server.rounds.events import read_events
from tests.hostile.coordinators import add_run, make_coordinator, new_line, server


@pytest.fixture
def coordinator(tmp_path: Path) -> Coordinator:
    made = make_coordinator(tmp_path / "server")
    made.enrolment.enrol("bergen", new_line(), 300)
    return made


def test_a_folder_in_order_is_left_as_it_is(coordinator: Coordinator) -> None:
    add_run(coordinator, 1, Submission("queued"))
    done = server(coordinator.folder, "repair", "--json")
    assert (done.code, json.loads(done.out)) == (0, {"ok": True, "findings": []})


def test_everything_is_mended_that_can_be(coordinator: Coordinator) -> None:
    folder = coordinator.folder
    checkpoint, events, state = (add_run(coordinator, seed, Submission("queued")) for seed in (1, 2, 3))
    aside = add_run(coordinator, 4, Submission("damaged", problem="was damaged then"))
    (folder / "runs" / checkpoint / CHECKPOINT_FOLDER / "round-000002.safetensors").write_bytes(b"half")
    with (folder / "runs" / events / EVENTS_FILE).open("a") as file:
        file.write("[1]\n{\n")
    (folder / "runs" / state / SUBMISSION_FILE).write_text("{")
    (folder / "superexec.secret").unlink()
    (folder / "ca.key").chmod(0o644)
    (folder / INNER / "server.pem").write_text("")
    (folder / SITES_FILE).write_text("{")
    done = server(folder, "repair", "--json")
    assert done.code == 0, done.out
    found = {finding["thing"]: finding for finding in json.loads(done.out)["findings"]}
    assert all(finding["mended"] for finding in found.values())
    named = {f"file '{SITES_FILE}'", "file 'superexec.secret'", "file 'ca.key'", f"folder '{INNER}'"}
    assert found.keys() == named | {f"run '{name}'" for name in (checkpoint, events, state, aside)}
    assert recover(folder / "runs" / checkpoint).problem == "checkpoint of round 2 is missing: continuing from round 1"
    assert len(read_events(folder / "runs" / events)) == 2
    assert [coordinator.runs.get(name).state for name in (state, aside)] == ["stopped", "queued"]
    assert (folder / "ca.key").stat().st_mode & 0o777 == 0o600
    again = json.loads(server(folder, "repair", "--json").out)["findings"]
    assert [finding["thing"] for finding in again] == [f"run '{checkpoint}'"]  # still from the round before


def test_what_needs_a_person_is_named_with_what_mends_it(coordinator: Coordinator) -> None:
    folder = coordinator.folder
    name = add_run(coordinator, 1, Submission("queued"))
    shutil.rmtree(folder / "runs" / name / CHECKPOINT_FOLDER)
    (folder / SETTINGS_FILE).write_text("names: 3")
    done = server(folder, "repair")
    assert done.code == 6
    assert "run `silogan server init --name NAME`" in done.out
    assert "though round 2 was completed; restore one of the last two rounds from a backup" in done.out
    assert "2 problems left" in done.out


def test_what_is_no_coordinator_is_left_alone(tmp_path: Path) -> None:
    done = server(tmp_path, "repair")
    assert done.code == 2
    assert done.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_backup_loss_restore_repair(coordinator: Coordinator, tmp_path: Path) -> None:
    name = add_run(coordinator, 1, Submission("stopped"))
    before = coordinator.enrolment.all()
    assert server(coordinator.folder, "backup", tmp_path / "monday.tar.gz").code == 0
    shutil.rmtree(coordinator.folder)
    restored = server(coordinator.folder, "restore", tmp_path / "monday.tar.gz")
    assert restored.code == 0, restored.err
    done = server(coordinator.folder, "repair")
    assert (done.code, done.out) == (0, "All checks passed\n")
    again = Coordinator(coordinator.folder)
    assert again.enrolment.all() == before
    found = recover(again.runs.path(name))
    assert found.checkpoint is not None
    assert (found.checkpoint.round, found.problem) == (2, "")
    what = [action["what"] for action in json.loads(server(again.folder, "status", "--actions", "--json").out)]
    assert what == ["restore", "repair"]
