import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator
from dataclasses import replace
from pathlib import Path

import pytest
from filelock import FileLock

from silogan.common.errors import UsageError
from silogan.common.operations.supervise import (
    LOCK_FILE,
    STATE_FILE,
    Patience,
    Service,
    Supervisor,
    only_one,
    running,
    stop_running,
)

ROOT = Path(__file__).parent.parent.parent


def until(condition: Callable[[], bool], seconds: float = 30.0) -> bool:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)
    return condition()


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except OSError:
        return False


def service(name: str, code: str, folder: Path, restart_seconds: float = 0.1) -> Service:
    return Service(name, (sys.executable, "-c", code), os.environ, folder, restart_seconds)


@pytest.fixture
def supervised(tmp_path: Path) -> Generator[Callable[..., Supervisor]]:
    """Runs a supervisor in a thread until the test is over."""
    started: list[tuple[Supervisor, threading.Thread]] = []

    def start(*services: Service) -> Supervisor:
        supervisor = Supervisor(tmp_path, list(services))
        thread = threading.Thread(target=supervisor.run)
        thread.start()
        started.append((supervisor, thread))
        return supervisor

    yield start
    for supervisor, thread in started:
        supervisor.stop()
        thread.join()


def pids(folder: Path) -> dict[str, int]:
    try:
        return {name: one["pid"] for name, one in json.loads((folder / STATE_FILE).read_text())["services"].items()}
    except (OSError, ValueError):
        return {}


def test_a_service_that_ends_is_started_again(tmp_path: Path, supervised: Callable[..., Supervisor]) -> None:
    supervised(service("sleeper", "import time; time.sleep(600)", tmp_path))
    assert until(lambda: "sleeper" in pids(tmp_path))
    first = pids(tmp_path)["sleeper"]
    os.kill(first, signal.SIGKILL)
    assert until(lambda: pids(tmp_path).get("sleeper", first) != first)
    state = json.loads((tmp_path / STATE_FILE).read_text())
    assert state["services"]["sleeper"]["starts"] == 2


def test_a_service_that_says_it_can_do_no_more_is_started_again(
    tmp_path: Path, supervised: Callable[..., Supervisor]
) -> None:
    says = "import time; print('handshake error, giving up', flush=True); time.sleep(600)"
    command = (sys.executable, "-c", says)
    supervised(Service("stuck", command, os.environ, tmp_path, 0.1, fatal=("handshake error",)))
    assert until(lambda: "stuck" in pids(tmp_path))
    assert until(lambda: json.loads((tmp_path / STATE_FILE).read_text())["services"]["stuck"]["starts"] >= 2)


def test_other_words_of_a_service_do_not_end_it(tmp_path: Path, supervised: Callable[..., Supervisor]) -> None:
    says = "import time; print('handshake error, trying again', flush=True); time.sleep(600)"
    supervised(Service("well", (sys.executable, "-c", says), os.environ, tmp_path, 0.1, fatal=("giving up",)))
    assert until(lambda: "well" in pids(tmp_path))
    time.sleep(1)
    assert json.loads((tmp_path / STATE_FILE).read_text())["services"]["well"]["starts"] == 1


def starts(folder: Path, name: str) -> int:
    try:
        return json.loads((folder / STATE_FILE).read_text())["services"].get(name, {}).get("starts", 0)
    except (OSError, ValueError):
        return 0


def test_a_service_that_does_not_end_its_work_in_time_is_started_again(
    tmp_path: Path, supervised: Callable[..., Supervisor]
) -> None:
    patience = Patience("takes", ("done", "failed"), 0.5)
    words = {"slow": ("takes one",), "quick": ("takes one", "takes two", "it failed"), "idle": ("done",)}
    codes = {
        name: f"import time\nfor word in {said}: print(word, flush=True)\ntime.sleep(600)"
        for name, said in words.items()
    }
    supervised(*(replace(service(name, code, tmp_path), patience=patience) for name, code in codes.items()))
    assert until(lambda: starts(tmp_path, "slow") >= 3)
    assert starts(tmp_path, "quick") == starts(tmp_path, "idle") == 1


def test_a_service_takes_those_along_that_wait_for_it(tmp_path: Path, supervised: Callable[..., Supervisor]) -> None:
    waits, gives = (service(name, "import time; time.sleep(600)", tmp_path) for name in ("waits", "gives"))
    supervised(waits, replace(gives, along=("waits",)))
    assert until(lambda: {"waits", "gives"} == set(pids(tmp_path)))
    os.kill(pids(tmp_path)["waits"], signal.SIGKILL)
    assert until(lambda: starts(tmp_path, "waits") == 2)
    assert starts(tmp_path, "gives") == 1
    os.kill(pids(tmp_path)["gives"], signal.SIGKILL)
    assert until(lambda: starts(tmp_path, "waits") == 3 and starts(tmp_path, "gives") == 2)


def test_services_are_asked_before_they_are_killed(tmp_path: Path, supervised: Callable[..., Supervisor]) -> None:
    asked = tmp_path / "asked"
    code = (
        "import pathlib, signal, sys, time\n"
        f"def end(*_):\n    pathlib.Path({str(asked)!r}).touch()\n    sys.exit()\n"
        f"signal.signal(signal.SIGTERM, end)\npathlib.Path({str(tmp_path / 'up')!r}).touch()\ntime.sleep(600)\n"
    )
    supervisor = supervised(service("polite", code, tmp_path))
    assert until((tmp_path / "up").exists)
    pid = pids(tmp_path)["polite"]
    supervisor.stop()
    assert until(lambda: not is_alive(pid))
    assert asked.exists()
    assert until(lambda: not (tmp_path / STATE_FILE).exists())


def test_what_services_say_is_logged_under_their_names(
    tmp_path: Path, supervised: Callable[..., Supervisor], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    supervised(service("speaker", "import time; print('good morning', flush=True); time.sleep(600)", tmp_path))
    assert until(lambda: ("silogan.speaker", logging.INFO, "good morning") in caplog.record_tuples)


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_services_end_with_a_killed_supervisor(tmp_path: Path) -> None:
    code = f"""
import os, pathlib, sys
from silogan.common.operations.supervise import Service, Supervisor
folder = pathlib.Path({str(tmp_path)!r})
Supervisor(folder, [Service("child", (sys.executable, "-c", "import time; time.sleep(600)"), os.environ, folder)]).run()
"""
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT) as supervisor:
        assert until(lambda: "child" in pids(tmp_path))
        child = pids(tmp_path)["child"]
        supervisor.kill()
    assert until(lambda: not is_alive(child))


def test_who_looks_does_not_keep_a_supervisor_from_starting(tmp_path: Path) -> None:
    """`running` holds the lock for a moment, in which a status, a health check or another command may ask."""
    looking = threading.Event()

    def look() -> None:
        with FileLock(tmp_path / LOCK_FILE):
            looking.set()
            time.sleep(0.1)

    thread = threading.Thread(target=look)
    thread.start()
    looking.wait()
    with only_one(tmp_path, "node"):
        thread.join()


def test_only_one_runs_in_a_folder_and_can_be_stopped(tmp_path: Path) -> None:
    code = f"""
import os, pathlib, sys
from silogan.common.operations.supervise import Service, Supervisor, only_one
folder = pathlib.Path({str(tmp_path)!r})
with only_one(folder, "node"):
    child = Service("child", (sys.executable, "-c", "import time; time.sleep(600)"), os.environ, folder)
    Supervisor(folder, [child]).run()
"""
    assert running(tmp_path) == {}
    with pytest.raises(UsageError, match="is not running"):
        stop_running(tmp_path, "node")
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT) as supervisor:
        assert until(lambda: set(running(tmp_path)) == {"supervisor", "child"})
        assert running(tmp_path)["supervisor"] == supervisor.pid
        with pytest.raises(UsageError, match="is already running"), only_one(tmp_path, "node"):
            pass
        stop_running(tmp_path, "node")
        assert supervisor.wait(timeout=30) == 0
    assert running(tmp_path) == {}
