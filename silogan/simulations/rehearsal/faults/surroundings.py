"""Faults of the environment: network, disk, clock, certificate."""

import errno
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import time
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from silogan.common.operations.supervise import running
from silogan.server.operations.authority import Authority
from silogan.simulations.rehearsal.federation import Federation, Host, link_of

SMALL_DISK_BYTES = 128 << 20
"""Size of the disks that the folders of the coordinator and of the first hospital are on."""
_PIECE = bytes(1 << 20)


def network_cut(federation: Federation) -> Iterator[str]:
    """A hospital is cut off for 60 seconds."""
    _link(federation.hospitals[0], "down")
    time.sleep(60)
    _link(federation.hospitals[0], "up")
    yield "cut off for 60 s"


def network_cut_for_good(federation: Federation) -> Iterator[str]:
    """A hospital is cut off until the run has ended."""
    _link(federation.hospitals[0], "down")
    yield "cut off until the run had ended"
    _link(federation.hospitals[0], "up")


def disk_full(federation: Federation) -> Iterator[str]:
    """The disk of a hospital's folder is full for 30 seconds."""
    with fill(federation.hospitals[0].folder):
        time.sleep(30)
    yield "disk full for 30 s"


def read_only(federation: Federation) -> Iterator[str]:
    """A hospital's folder cannot be written for 30 seconds."""
    folder = str(federation.hospitals[0].folder)
    if not (_succeeds("mount", "--bind", folder, folder) and _succeeds("mount", "-o", "remount,bind,ro", folder)):
        raise OSError(errno.EPERM, "mount")
    time.sleep(30)
    _succeeds("umount", "--lazy", folder)
    yield "folder read-only for 30 s"


def ledger_locked(federation: Federation) -> Iterator[str]:
    """Another program locks a hospital's ledger for 60 seconds."""
    ledger = sqlite3.connect(federation.hospitals[0].folder / "ledgers" / "digits.sqlite", isolation_level=None)
    with closing(ledger):
        ledger.execute("PRAGMA busy_timeout = 30000")
        ledger.execute("BEGIN EXCLUSIVE")
        time.sleep(60)
        ledger.execute("ROLLBACK")
    yield "ledger locked by another program for 60 s"


def clock_skewed(federation: Federation) -> Iterator[str]:
    """A hospital's clock is an hour ahead, and is then set right."""
    host = federation.hospitals[0]
    host.stop()
    library = faketime()
    if library is None:
        raise FileNotFoundError(errno.ENOENT, "faketime")
    # The environment and not the program of that name, which would stay in between when the node is stopped.
    settings = (f"LD_PRELOAD={library}", "FAKETIME=+3600s", "FAKETIME_DONT_FAKE_MONOTONIC=1")
    right, host.prefix = host.prefix, (*host.prefix, "env", *settings)
    federation.start(host)
    time.sleep(30)
    finding = _finding(host, "clock")
    host.stop()
    host.prefix = right
    federation.start(host)
    yield f"clock an hour ahead for 30 s; `node check`: {finding}"


def certificate_expired(federation: Federation) -> Iterator[str]:
    """The coordinator's certificate expires while it runs, and is renewed after 30 seconds."""
    server = federation.server
    Authority(server.folder).renew([server.address], days=1, at=datetime.now(UTC) - timedelta(days=3))
    os.kill(running(server.folder)["proxy"], signal.SIGHUP)  # nginx shows it from now on
    time.sleep(30)
    finding = _finding(federation.hospitals[0], "coordinator")
    server.run("server", "init", "--name", server.address, "--folder", str(server.folder))
    os.kill(running(server.folder)["proxy"], signal.SIGHUP)
    yield f"certificate expired for 30 s, then renewed; `node check`: {finding}"


def old_authority(folder: Path) -> None:
    """Makes a coordinator's authority as of ten days ago, so that a certificate of its can have expired."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    Authority.create(folder, "SiloGAN", at=datetime.now(UTC) - timedelta(days=10))


def faketime() -> Path | None:
    """The library that gives a program another time; None if it is not installed."""
    return next(Path("/usr/lib").glob("**/faketime/libfaketime.so.1"), None)


@contextmanager
def fill(folder: Path) -> Generator[None]:
    """The disk of a folder is full within this context."""
    filler = folder / "filler"
    try:
        with filler.open("wb", buffering=0) as file:
            while True:
                file.write(_PIECE)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
    yield
    filler.unlink()


def mount_small_disk(folder: Path) -> bool:
    """Puts a folder onto a small disk in memory; False where that is not allowed."""
    folder.mkdir(parents=True, exist_ok=True)
    return _succeeds("mount", "-t", "tmpfs", "-o", f"size={SMALL_DISK_BYTES}", "tmpfs", str(folder))


def unmount(folder: Path) -> None:
    """Ends `mount_small_disk`."""
    _succeeds("umount", str(folder))


def _link(host: Host, state: str) -> None:
    link = link_of(int(host.address.rpartition(".")[2]))
    if not _succeeds("ip", "link", "set", link, state):
        raise OSError(errno.EPERM, "network link")


def _finding(host: Host, name: str) -> str:
    """What `silogan node check` says about one thing."""
    checks = json.loads(host.execute("-m", "silogan", "node", "check", str(host.folder), "--json").stdout)
    found = next(check for check in checks if check["name"] == name)
    return f"{found['finding']}; {found['hint']}"


def _succeeds(*command: str) -> bool:
    if shutil.which(command[0]) is None:
        return False
    with suppress(OSError):
        return subprocess.run(command, capture_output=True, check=False).returncode == 0  # noqa: S603
    return False
