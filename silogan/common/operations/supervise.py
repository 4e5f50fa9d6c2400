"""Supervision of programs: start them, restart them when they end, log their output, stop them together.

A service that ends is restarted after its delay. So is one that reports that it can no longer work, or that does not
finish a piece of work in time. All services and their children are in one process group, which a guard kills when the
supervisor ends, however it ends.
"""

import json
import logging
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from filelock import FileLock, Timeout

from silogan.common.errors import ConfigError, UsageError
from silogan.common.files import write_bytes_atomically
from silogan.common.operations.logs import is_line

STATE_FILE, LOCK_FILE = "services.json", ".lock"
_LOOK_SECONDS = 0.2
_GLANCE_SECONDS = 1.0  # far longer than `running` holds the lock: who looks must not keep a supervisor from starting
_STOP_SECONDS = 10.0  # for a service that was asked to end

# Leads the process group of the others; its input ends when this process, which holds the other end of the pipe, does.
_GUARD = "import os, signal, sys; sys.stdin.buffer.read(); os.killpg(0, signal.SIGKILL)"
_COLOUR = re.compile(r"\x1b\[[\d;]{0,16}m")  # by which Flower colours what it logs

_log = logging.getLogger("silogan.supervisor")


@dataclass(frozen=True)
class Patience:
    """A time limit for one piece of a service's work, detected from its messages.

    Attributes:
        begins: what it says when it begins.
        ends: what it says when it has ended, in whatever way; any of these.
        seconds: that may lie in between; then it is ended.
    """

    begins: str
    ends: tuple[str, ...]
    seconds: float


@dataclass(frozen=True)
class Service:
    """A program under supervision.

    Attributes:
        name: what logs and `status` call it.
        command: program and arguments.
        env: its environment.
        folder: its working directory.
        restart_seconds: wait between its end and its next start.
        secret: what it reads from its standard input: some hundred bytes at most.
        fatal: what it says when it can do its work no more and yet does not end; it is then ended. Any of these.
        patience: how long it may be at its work; for ever if None.
        along: names of services that are ended after it has ended, because they wait for what it can no longer give.
    """

    name: str
    command: tuple[str, ...]
    env: Mapping[str, str]
    folder: Path
    restart_seconds: float = 1.0
    secret: bytes = field(default=b"", repr=False)
    fatal: tuple[str, ...] = ()
    patience: Patience | None = None
    along: tuple[str, ...] = ()


class ProcessGroup:
    """A group of processes that end together, at the latest when this process ends."""

    def __init__(self) -> None:
        guard = [sys.executable, "-I", "-c", _GUARD]
        self._guard = subprocess.Popen(guard, cwd="/", stdin=subprocess.PIPE, process_group=0)  # noqa: S603
        self._processes: list[subprocess.Popen[bytes]] = []

    def start(
        self,
        command: tuple[str, ...],
        env: Mapping[str, str],
        folder: Path,
        output: IO[bytes] | int,
        secret: bytes = b"",
    ) -> subprocess.Popen[bytes]:
        """Starts a program whose messages go to `output`, and which reads `secret` from its standard input."""
        process = subprocess.Popen(  # noqa: S603
            command,
            env=env,
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            process_group=self._guard.pid,
        )
        if process.stdin is not None:
            with suppress(BrokenPipeError), process.stdin:  # it may have ended already
                process.stdin.write(secret)
        self._processes = [*(one for one in self._processes if one.poll() is None), process]
        return process

    def stop(self, patience: float = 0.0) -> None:
        """Ends all of them, asking first and waiting `patience` seconds."""
        deadline = time.monotonic() + patience
        for process in self._processes if patience else []:
            with suppress(ProcessLookupError):
                process.terminate()
        while time.monotonic() < deadline and any(process.poll() is None for process in self._processes):
            time.sleep(0.05)
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._guard.pid, signal.SIGKILL)
        for process in self._processes:
            process.wait()
        self._guard.communicate()
        deadline = time.monotonic() + _STOP_SECONDS
        with suppress(ProcessLookupError, PermissionError):  # nobody is left, or on macOS nobody alive
            while time.monotonic() < deadline:
                os.killpg(self._guard.pid, 0)
                time.sleep(0.05)


class Supervisor:
    """Keeps services running.

    Args:
        folder: `services.json`, what runs and how often it was started, is kept in it.
        services: what to keep running; started in this order.
    """

    def __init__(self, folder: Path, services: list[Service]) -> None:
        self._folder = folder
        self._services = services
        self._group = ProcessGroup()
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._due: dict[str, float] = {service.name: 0.0 for service in services}
        self._starts: dict[str, int] = {service.name: 0 for service in services}
        self._late: dict[str, float] = {}
        """By when a service that is at its work must have ended it."""
        self._stopping = threading.Event()

    def run(self, meanwhile: Callable[[], None] | None = None) -> None:
        """Keeps the services running until `stop`, SIGTERM or SIGINT; calls `meanwhile` again and again.

        The services have ended when it returns or raises.
        """
        try:
            with self._signals():
                while not self._stopping.wait(_LOOK_SECONDS):
                    for service in self._services:
                        self._look_after(service)
                    if meanwhile is not None:
                        meanwhile()
        finally:
            self._group.stop(patience=_STOP_SECONDS)
            (self._folder / STATE_FILE).unlink(missing_ok=True)

    def stop(self) -> None:
        """Makes `run` return."""
        self._stopping.set()

    def process(self, name: str) -> int | None:
        """Process number of a service; None while it is down."""
        running = self._running.get(name)
        return None if running is None else running.pid

    def _look_after(self, service: Service) -> None:
        process = self._running.get(service.name)
        if process is not None and time.monotonic() > self._late.get(service.name, float("inf")):
            _log.warning("%s did not finish its work in time and is stopped", service.name)
            self._late.pop(service.name, None)
            process.kill()
            process.wait()
        if process is not None and process.poll() is not None:
            _log.warning("%s ended with code %s", service.name, process.returncode)
            del self._running[service.name]
            self._due[service.name] = time.monotonic() + service.restart_seconds
            for name in service.along:
                if name in self._running:
                    self._running[name].kill()
        if service.name not in self._running and time.monotonic() >= self._due[service.name]:
            self._start(service)

    def _start(self, service: Service) -> None:
        process = self._group.start(service.command, service.env, service.folder, subprocess.PIPE, service.secret)
        self._late.pop(service.name, None)
        threading.Thread(target=self._follow, args=(service, process), daemon=True).start()
        self._running[service.name] = process
        self._starts[service.name] += 1
        _log.info("%s started", service.name)
        services = {name: {"pid": one.pid, "starts": self._starts[name]} for name, one in self._running.items()}
        state = {"pid": os.getpid(), "services": services}
        with suppress(OSError):  # a full disk: `status` is then behind, and nothing else
            write_bytes_atomically(self._folder / STATE_FILE, json.dumps(state).encode())

    def _follow(self, service: Service, process: subprocess.Popen[bytes]) -> None:
        """Logs a process's output and reacts to it."""
        log = logging.getLogger(f"silogan.{service.name}")
        if process.stdout is None:
            return
        with process.stdout:
            for line in process.stdout:
                text = _COLOUR.sub("", line.decode(errors="replace")).rstrip()
                if text:
                    log.info("%s", text, extra={"ready": is_line(text)})
                if any(words in text for words in service.fatal):
                    _log.warning("%s can no longer work and is stopped", service.name)
                    process.kill()
                if service.patience is not None and process is self._running.get(service.name):
                    self._watch(service.name, service.patience, text)

    def _watch(self, name: str, patience: Patience, text: str) -> None:
        if patience.begins in text:
            self._late[name] = time.monotonic() + patience.seconds
        elif any(words in text for words in patience.ends):
            self._late.pop(name, None)

    def _on_signal(self, *_: object) -> None:
        self.stop()

    @contextmanager
    def _signals(self) -> Generator[None]:
        """Lets SIGTERM and SIGINT stop the services in order."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self._on_signal) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


@contextmanager
def only_one(folder: Path, what: str) -> Generator[None]:
    """Keeps a second supervisor out of a folder.

    Raises:
        UsageError: one is there.
        ConfigError: the folder is not there, or cannot be written.
    """
    if not folder.is_dir():  # the lock would make it
        raise ConfigError(f"{what} '{folder}'", "is not there", "check its path")
    try:
        lock = FileLock(folder / LOCK_FILE).acquire(timeout=_GLANCE_SECONDS)
    except Timeout:
        raise UsageError(f"{what} '{folder}'", "is already running", "stop it first") from None
    except OSError as error:
        raise ConfigError(f"{what} '{folder}'", f"cannot be written ({error.strerror})", "check permissions") from None
    with lock:
        yield


def running(folder: Path) -> dict[str, int]:
    """Process numbers of the supervisor of a folder (as `supervisor`) and of its services; empty if none runs."""
    try:
        with FileLock(folder / LOCK_FILE).acquire(timeout=0):
            return {}
    except Timeout:
        pass
    try:
        state = json.loads((folder / STATE_FILE).read_text(encoding="utf-8"))
        return {"supervisor": state["pid"], **{name: one["pid"] for name, one in state["services"].items()}}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def stop_running(folder: Path, what: str, patience: float = 30.0) -> None:
    """Stops the supervisor of a folder and waits until it is gone.

    Raises:
        UsageError: none runs, or it does not stop.
    """
    processes = running(folder)
    if not processes:
        raise UsageError(f"{what} '{folder}'", "is not running", "start it first")
    with suppress(ProcessLookupError):
        os.kill(processes["supervisor"], signal.SIGTERM)
    try:
        with FileLock(folder / LOCK_FILE).acquire(timeout=patience):
            return
    except Timeout:
        raise UsageError(f"{what} '{folder}'", f"does not stop within {patience:.0f} s", "kill it") from None
