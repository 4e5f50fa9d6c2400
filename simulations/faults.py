"""A fault campaign: what a federation does when its parts are killed, hang, are cut off or pretend to be others.

    python -m simulations.faults --out runs/faults [--only NAME]

One coordinator and three hospitals, as in simulations/federation.py, train one short run a fault, with real randomness.
After each, every ledger is audited, and compared with what the coordinator has seen: a round that it has averaged must
be settled in the site's ledger, and no site may have been charged for more rounds than it was asked for.
"""

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import typer
from rich.console import Console

from client.service import REVIEWED_FILE
from common.config import load_scenario
from common.study import Study
from common.supervise import running
from simulations.federation import SCENARIO, Federation, Host, hosts, link_of, set_up, settings, wait_for
from simulations.simulate import simulate

ROUNDS = 6
_QUICK = [
    f"training.rounds={ROUNDS}",
    "training.local_steps=200",  # some seconds of work, so that there is a middle of a round
    "seed=null",
    "privacy.epsilon=1.0",
    "federation.quorum=2",
    "federation.round_timeout=30",
    "federation.join_timeout=60",
]
Fault = Callable[[Federation], str]


def worker_killed(federation: Federation) -> str:
    """SIGKILL to a hospital's worker in the middle of a round."""
    os.kill(_worker(federation.hospitals[0]), signal.SIGKILL)
    return "worker of hospital-1 killed"


def worker_hung(federation: Federation) -> str:
    """A hospital's worker stops doing anything, and does not end."""
    os.kill(_worker(federation.hospitals[0]), signal.SIGSTOP)
    return "worker of hospital-1 stopped"


def supernode_killed(federation: Federation) -> str:
    """SIGKILL to a hospital's SuperNode in the middle of a round; its supervisor starts it again."""
    os.kill(running(federation.hospitals[0].folder)["supernode"], signal.SIGKILL)
    return "SuperNode of hospital-1 killed"


def node_killed(federation: Federation) -> str:
    """SIGKILL to all of a hospital's node, which is started again after ten seconds."""
    host = federation.hospitals[0]
    os.kill(running(host.folder)["supervisor"], signal.SIGKILL)
    time.sleep(10)
    federation.start(host)
    return "node of hospital-1 killed, started again after 10 s"


def server_killed(federation: Federation) -> str:
    """SIGKILL to the coordinator in the middle of a run, which is started again after five seconds."""
    os.kill(running(federation.server.folder)["supervisor"], signal.SIGKILL)
    time.sleep(5)
    federation.start(federation.server)
    return "coordinator killed, started again after 5 s"


def network_cut(federation: Federation) -> str:
    """A hospital is cut off for 60 seconds (with network namespaces only)."""
    host = federation.hospitals[0]
    link = link_of(2 + federation.hospitals.index(host))  # the coordinator has the first
    subprocess.run(["ip", "link", "set", link, "down"], check=True)  # noqa: S603, S607
    time.sleep(60)
    subprocess.run(["ip", "link", "set", link, "up"], check=True)  # noqa: S603, S607
    return f"{host.name} cut off for 60 s"


def modified_software(federation: Federation) -> str:
    """A hospital's software is not what it has reviewed: its node does not start."""
    host = federation.hospitals[0]
    host.stop()
    reviewed = (host.folder / REVIEWED_FILE).read_text()
    (host.folder / REVIEWED_FILE).write_text("0" * 64)
    federation.start(host)
    code = host.processes[-1].wait(timeout=60)
    (host.folder / REVIEWED_FILE).write_text(reviewed)
    host.processes.clear()
    federation.start(host)
    return f"hospital-1 refuses to start (exit code {code}), started again once it was reviewed"


def two_runs(federation: Federation) -> str:
    """A second run is submitted while one is at work."""
    second = federation.submit(*settings(), *_QUICK, "privacy.epsilon=0.9")
    return f"second run was {second['state']}; it is now {wait_for(federation, second['run'], ('finished', 'failed'))}"


FAULTS: dict[str, Fault] = {
    fault.__name__.replace("_", "-"): fault
    for fault in (
        *(worker_killed, worker_hung, supernode_killed, node_killed, server_killed, network_cut),
        *(modified_software, two_runs),
    )
}


def main(out: Path = Path("runs/faults"), only: str = "") -> None:
    """Sets up one federation and lets each fault happen in a run of its own."""
    console = Console(markup=False, highlight=False, width=200)
    out = out.absolute()
    shutil.rmtree(out, ignore_errors=True)
    simulated = out / "simulated"
    simulate(load_scenario(SCENARIO, [*settings(), "training.rounds=1"]), simulated)
    with hosts(out) as made:
        federation = set_up(out, Study.load(simulated), simulated, made)
        for host in made:
            federation.start(host)
        for number, (name, fault) in enumerate(FAULTS.items()):
            if only in ("", name) and (made[0].prefix or fault is not network_cut):
                # another ε for each, so that each is a study of its own
                row = _happens(federation, name, fault, f"privacy.epsilon={1 + number / 100}")
                console.print(" | ".join(("", *row, "")).strip(), soft_wrap=True)


def _happens(federation: Federation, name: str, fault: Fault, override: str) -> tuple[str, ...]:
    """One run with one fault in its middle: name, what was done, how it ended, after how long, and the ledgers."""
    run = federation.submit(*settings(), *_QUICK, override)["run"]
    folder = federation.server.folder / "runs" / run
    events = folder / "events.jsonl"
    began = time.monotonic()
    while not events.exists() or len(events.read_text().splitlines()) < 2:
        if time.monotonic() - began > 300:
            return (name, "the run did not begin", "", "", "")
        time.sleep(0.1)
    time.sleep(5)  # into a round
    done = fault(federation)
    state = wait_for(federation, run, ("finished", "failed"), seconds=400)
    took = time.monotonic() - began
    rounds = [json.loads(line) for line in events.read_text().splitlines()]
    lost = [
        f"round {event['round']}: {one['site']}: {one['why']}" for event in rounds for one in event["sites_refused"]
    ]
    study_id = Study.load(folder).study_id
    ledgers = ", ".join(
        _ledger(host, study_id, len(rounds), averaged)
        for host, averaged in zip(federation.hospitals, _averaged(rounds, len(federation.hospitals)), strict=True)
    )
    return (name, done, f"{state}, {len(rounds)} rounds", f"{took:.0f} s", "; ".join(lost)[:300], ledgers)


def _averaged(rounds: list[dict[str, Any]], sites: int) -> list[int]:
    """How many rounds of each site were averaged. Only the first site is ever away, and what it lacks is its own."""
    named = [[refusal["site"] for refusal in event["sites_refused"]] for event in rounds]
    others = [sum(f"site-{number}" not in names for names in named) for number in range(2, sites + 1)]
    return [sum(event["sites_replied"] for event in rounds) - sum(others), *others]


def _ledger(host: Host, study_id: str, rounds: int, averaged: int) -> str:
    """Rounds of a site that were averaged, settled and reserved only; and whether its ledger holds."""
    spent = json.loads(host.run("node", "status", str(host.folder), "--json"))["digits"]
    charged = next(run for run in spent["runs"] if run["study_id"] == study_id)
    settled, reserved = charged["steps_settled"] // 200, charged["steps_reserved"] // 200
    audit = json.loads(host.run("audit", str(host.folder), "--json"))
    exact = audit["ok"] and settled >= averaged and settled + reserved <= rounds + 1
    verdict = "exact" if exact else "NOT EXACT"
    return f"{host.name}: {averaged} averaged, {settled} settled, {reserved} reserved, {verdict}"


def _worker(host: Host) -> int:
    """Process number of a hospital's worker: the executor's youngest child."""
    executor = running(host.folder)["executor"]
    children = Path(f"/proc/{executor}/task/{executor}/children").read_text().split()
    return int(children[-1])


if __name__ == "__main__":
    typer.run(main)
