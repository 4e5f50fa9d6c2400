"""Faults of processes: they are killed, hang, or get two tasks at once."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

from common.operations.supervise import running
from simulations.rehearsal.faults.runs import submit_short
from simulations.rehearsal.federation import Federation, Host, wait_for


def worker_killed(federation: Federation) -> Iterator[str]:
    """SIGKILL to a hospital's worker in the middle of a round."""
    os.kill(_worker(federation.hospitals[0]), signal.SIGKILL)
    yield "worker killed"


def worker_hung(federation: Federation) -> Iterator[str]:
    """A hospital's worker stops doing anything, and does not end."""
    os.kill(_worker(federation.hospitals[0]), signal.SIGSTOP)
    yield "worker stopped with SIGSTOP"


def supernode_killed(federation: Federation) -> Iterator[str]:
    """SIGKILL to a hospital's SuperNode in the middle of a round; its supervisor starts it again."""
    os.kill(running(federation.hospitals[0].folder)["supernode"], signal.SIGKILL)
    yield "SuperNode killed"


def node_killed(federation: Federation) -> Iterator[str]:
    """SIGKILL to all of a hospital's node, which is started again after ten seconds."""
    host = federation.hospitals[0]
    os.kill(running(host.folder)["supervisor"], signal.SIGKILL)
    time.sleep(10)
    federation.start(host)
    yield "whole node killed, started again after 10 s"


def site_gone(federation: Federation) -> Iterator[str]:
    """A hospital's node is killed and does not come back before the run has ended; two are a quorum."""
    host = federation.hospitals[0]
    os.kill(running(host.folder)["supervisor"], signal.SIGKILL)
    yield "whole node killed for good"
    federation.start(host)


def server_killed(federation: Federation) -> Iterator[str]:
    """SIGKILL to the coordinator in the middle of a run, which is started again after five seconds."""
    os.kill(running(federation.server.folder)["supervisor"], signal.SIGKILL)
    time.sleep(5)
    federation.start(federation.server)
    yield "coordinator killed, started again after 5 s"


def two_runs(federation: Federation) -> Iterator[str]:
    """A second run is submitted while one is at work."""
    second = submit_short(federation, "the second of two")
    yield f"a second run submitted, which was {second['state']}"
    ended = wait_for(federation, second["run"], ("finished", "failed"))
    yield f"the second run began after the first and {ended}"


def _worker(host: Host) -> int:
    """Process number of a hospital's worker: the executor's youngest child."""
    executor = running(host.folder)["executor"]
    children = Path(f"/proc/{executor}/task/{executor}/children").read_text().split()
    return int(children[-1])
