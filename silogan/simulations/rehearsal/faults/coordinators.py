"""Faults of the coordinator: its proxy, its disk, its files, and restarts."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

from silogan.common.operations.supervise import running
from silogan.common.wire.run_folder import CHECKPOINT_FOLDER, EVENTS_FILE
from silogan.server.operations.coordinator import DATABASE
from silogan.simulations.processes import children
from silogan.simulations.rehearsal.faults.surroundings import fill
from silogan.simulations.rehearsal.federation import Federation, submit_short, wait_for


def proxy_frozen(federation: Federation) -> Iterator[str]:
    """The proxy stops doing anything for 30 seconds, and does not end."""
    proxy = running(federation.server.folder)["proxy"]
    programs = (proxy, *children(proxy))
    for number in (signal.SIGSTOP, signal.SIGCONT):
        for process in programs:
            os.kill(process, number)
        if number == signal.SIGSTOP:
            time.sleep(30)
    yield "proxy stopped with SIGSTOP for 30 s"


def coordinator_disk_full(federation: Federation) -> Iterator[str]:
    """The coordinator's disk is full for 30 seconds, in which rounds end and checkpoints are due."""
    with fill(federation.server.folder):
        time.sleep(30)
    yield "the coordinator's disk full for 30 s"


def checkpoint_damaged(federation: Federation) -> Iterator[str]:
    """The coordinator is killed, and its newest checkpoint is damaged before it is started again."""
    _kill(federation)
    newest = max(_run_folder(federation).glob(f"{CHECKPOINT_FOLDER}/*"), key=lambda path: path.stat().st_mtime)
    newest.write_bytes(bytes(100))
    federation.start(federation.server)
    yield "coordinator killed and its newest checkpoint filled with zeros"


def database_lost(federation: Federation) -> Iterator[str]:
    """The coordinator is killed, and the SuperLink's database is gone when it is started again."""
    _kill(federation)
    for path in federation.server.folder.glob(f"{DATABASE}*"):
        path.unlink()
    federation.start(federation.server)
    yield "coordinator killed and the SuperLink's database deleted"


def server_restarted_thrice(federation: Federation) -> Iterator[str]:
    """The coordinator is killed and started again three times."""
    for _ in range(3):
        federation.restart(federation.server, 10)
        time.sleep(15)
    yield "coordinator killed and started again three times, 20 s apart"


def run_stopped(federation: Federation) -> Iterator[str]:
    """A run is stopped while a round is under way; the next one must not wait for it."""
    folder = _run_folder(federation)
    federation.server.run("server", "stop", folder.name, "--folder", str(federation.server.folder))
    yield "run stopped in the middle of a round"
    second = submit_short(federation, "after one that was stopped")
    yield f"the next run {wait_for(federation, second['run'], ('finished', 'failed'), seconds=600)}"


def _kill(federation: Federation) -> None:
    federation.kill(federation.server)
    time.sleep(5)


def _run_folder(federation: Federation) -> Path:
    """Of the run that is under way: the one that wrote last."""
    runs = federation.server.folder / "runs"
    return max(runs.glob(f"*/{EVENTS_FILE}"), key=lambda path: path.stat().st_mtime).parent
