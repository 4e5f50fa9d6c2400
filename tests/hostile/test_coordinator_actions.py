"""Who did what at the coordinator is written down, whoever did it and however it ended."""

import json
import os
import pwd
from pathlib import Path

import pytest

from silogan.server.operations.actions import ACTIONS_FILE, acting, read_actions
from silogan.server.operations.coordinator import Coordinator
from silogan.server.operations.submission import Submission
from tests.hostile.coordinators import add_run, make_coordinator, new_line, server


@pytest.fixture
def coordinator(tmp_path: Path) -> Coordinator:
    return make_coordinator(tmp_path / "server")


def test_each_action_is_written_down_with_who_and_how_it_ended(coordinator: Coordinator, tmp_path: Path) -> None:
    folder, key = coordinator.folder, tmp_path / "node.pub"
    key.write_text(new_line())
    run = add_run(coordinator, 1, Submission("queued"))
    server(folder, "enrol", "bergen", key, "--size", 300)
    server(folder, "enrol", "bergen", "--remove")
    server(folder, "enrol", "bergen", "--remove")  # is waiting to be forgotten
    server(folder, "enrol", "nobody", "--remove")
    server(folder, "stop", run)
    server(folder, "stop", run)
    server(folder, "backup", tmp_path / "b.tar.gz")
    done = server(folder, "status", "--actions", "--json")
    actions = json.loads(done.out)
    assert [action["what"] for action in actions] == [*("enrol", *["remove"] * 3), "stop", "stop", "backup"]
    results = [action["result"] for action in actions]
    assert results[:2] == ["done", "done"]
    assert results[3].startswith("site 'nobody': is not enrolled")
    assert (results[4], results[6]) == ("done", "done")
    assert results[5] == f"run '{run}': is stopped; only queued and running runs can be stopped"
    assert all(action["who"].startswith(pwd.getpwuid(os.geteuid()).pw_name) for action in actions)
    assert (folder / ACTIONS_FILE).stat().st_mode & 0o777 == 0o600
    assert "bergen" in server(folder, "status", "--actions").out


def test_what_cannot_be_written_down_is_not_done(coordinator: Coordinator) -> None:
    (coordinator.folder / ACTIONS_FILE).mkdir()
    run = add_run(coordinator, 1, Submission("queued"))
    done = server(coordinator.folder, "stop", run)
    assert done.code == 3
    assert "so the command does nothing" in done.err
    assert coordinator.runs.get(run).state == "queued"


def test_no_value_breaks_the_lines_or_the_terminal(coordinator: Coordinator) -> None:
    with acting(coordinator.folder, "enrol", site="\x1b[2Jevil\n{}\u202e" + "x" * 10_000):
        pass
    (line,) = (coordinator.folder / ACTIONS_FILE).read_text().splitlines()
    assert len(line) < 500
    (action,) = read_actions(coordinator.folder)
    assert action["site"].isprintable()


@pytest.mark.parametrize("line", ["[1]", "{", "\x00", '{"who": "\\u001b[2J"}', "[" * 100_000])
def test_damaged_lines_hide_no_others(coordinator: Coordinator, line: str) -> None:
    with acting(coordinator.folder, "enrol"):
        pass
    with (coordinator.folder / ACTIONS_FILE).open("a") as file:
        file.write(line + "\n")
    with acting(coordinator.folder, "stop"):
        pass
    what = [action.get("what") for action in read_actions(coordinator.folder)]
    assert [one for one in what if one] == ["enrol", "stop"]
    shown = server(coordinator.folder, "status", "--actions")
    assert shown.code == 0
    assert "\x1b[2J" not in shown.out
