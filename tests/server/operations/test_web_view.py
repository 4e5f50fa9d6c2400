"""A coordinator in a browser: its nodes and runs, and the newest run in detail."""

import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from silogan.common.errors import ConfigError
from silogan.common.wire.run_folder import RUN_FILE
from silogan.server.operations.coordinator import Coordinator
from silogan.server.operations.submission import Submission
from silogan.server.operations.web_view import coordinator_state, newest_run
from tests.hostile.coordinators import add_run

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def coordinator(tmp_path: Path) -> Coordinator:
    return Coordinator.create(tmp_path / "server", ["localhost"])


def test_a_coordinator_without_runs_is_shown(coordinator: Coordinator) -> None:
    state = coordinator_state(coordinator.folder)()
    assert (state["terms"], state["runs"], state["nodes"]) == ("not running", [], [])
    assert newest_run(coordinator.folder)() is None
    assert json.loads(json.dumps(state, allow_nan=False)) == state


def test_the_run_that_runs_is_shown_in_detail(coordinator: Coordinator) -> None:
    first = add_run(coordinator, 1, Submission("running"))
    add_run(coordinator, 2, Submission("stopped", problem="\x1b[2J"))
    state = coordinator_state(coordinator.folder)()
    assert newest_run(coordinator.folder)() == coordinator.runs.path(first)
    assert state["run"] == first
    assert {run["state"] for run in state["runs"]} == {"running", "stopped"}
    assert "\x1b" not in json.dumps(state, ensure_ascii=False)
    assert [site["state"] for site in state["sites"]]


def test_a_damaged_run_is_a_warning(coordinator: Coordinator) -> None:
    name = add_run(coordinator, 1, Submission("running"))
    (coordinator.runs.path(name) / RUN_FILE).write_text("{")
    state = coordinator_state(coordinator.folder)()
    assert any(RUN_FILE in warning for warning in state["warnings"])


def test_what_is_no_coordinator_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        coordinator_state(tmp_path / "none")


def test_the_command_serves_it_until_it_is_interrupted(coordinator: Coordinator) -> None:
    add_run(coordinator, 1, Submission("stopped"))
    command = [sys.executable, "-u", "-m", "silogan", "server", "view", str(coordinator.folder)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": str(ROOT)}
    ) as process:
        assert process.stdout is not None
        (address,) = re.findall(r"http://127\.0\.0\.1:\d+/\S+/", process.stdout.readline())
        with urllib.request.urlopen(f"{address}state.json", timeout=10) as answer:  # noqa: S310  (our own)
            assert json.load(answer)["runs"][0]["state"] == "stopped"
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 0
