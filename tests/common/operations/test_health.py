"""Health: up only while a supervisor runs and none of its services has ended."""

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from silogan.common.operations.health import healthy
from silogan.common.operations.supervise import Service, Supervisor, only_one, running


def until(wanted: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not wanted():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def code(*arguments: str) -> int:
    return subprocess.run(
        [sys.executable, "-m", "silogan.common.operations.health", *arguments], check=False
    ).returncode


def test_up_down_and_up_again(tmp_path: Path) -> None:
    assert not healthy(tmp_path)
    sleeper = Service("sleeper", (sys.executable, "-c", "import time; time.sleep(600)"), {}, tmp_path, 1.0)
    supervisor = Supervisor(tmp_path, [sleeper])

    def run() -> None:
        with only_one(tmp_path, "test"):
            supervisor.run()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        until(lambda: healthy(tmp_path))
        assert code(str(tmp_path)) == 0
        first = running(tmp_path)["sleeper"]
        subprocess.run(["kill", f"-{int(signal.SIGKILL)}", str(first)], check=True)
        until(lambda: not healthy(tmp_path))
        until(lambda: healthy(tmp_path))
        assert running(tmp_path)["sleeper"] != first
    finally:
        supervisor.stop()
        thread.join()
    assert not healthy(tmp_path)


@pytest.mark.parametrize("arguments", [(), ("/nonexistent",), ("a", "b")])
def test_anything_else_is_not_healthy(arguments: tuple[str, ...]) -> None:
    assert code(*arguments) == 1
