"""Faults of processes: they are killed, hang, or get two tasks at once."""

import os
import signal
from collections.abc import Iterator

from silogan.common.operations.supervise import running
from silogan.simulations.processes import children
from silogan.simulations.rehearsal.federation import Federation, Host, submit_short, wait_for


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
    federation.restart(federation.hospitals[0], 10)
    yield "whole node killed, started again after 10 s"


def site_gone(federation: Federation) -> Iterator[str]:
    """A hospital's node is killed and does not come back before the run has ended; two are a quorum."""
    federation.kill(federation.hospitals[0])
    yield "whole node killed for good"
    federation.start(federation.hospitals[0])


def server_killed(federation: Federation) -> Iterator[str]:
    """SIGKILL to the coordinator in the middle of a run, which is started again after five seconds."""
    federation.restart(federation.server, 5)
    yield "coordinator killed, started again after 5 s"


def two_runs(federation: Federation) -> Iterator[str]:
    """A second run is submitted while one is at work."""
    second = submit_short(federation, "the second of two")
    yield f"a second run submitted, which was {second['state']}"
    ended = wait_for(federation, second["run"], ("finished", "failed"))
    yield f"the second run began after the first and {ended}"


def _worker(host: Host) -> int:
    """Process number of a hospital's worker: the executor's youngest child."""
    return children(running(host.folder)["executor"])[-1]
