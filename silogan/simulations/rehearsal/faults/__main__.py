"""Runs the fault campaign and prints a table of outcomes.

    python -m silogan.simulations.rehearsal.faults --out runs/faults [--only NAME]...

One coordinator and three hospitals, as in simulations/rehearsal/federation.py, train one short run a fault, with real
randomness. After each, every ledger is audited, and compared with what the coordinator has seen: a round that it has
averaged must be settled in the site's ledger, and no site may have been charged for more rounds than it was asked for.
"""

import shutil
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from silogan.common.config.scenario import load_scenario
from silogan.common.errors import FederationError
from silogan.common.registry import lookup
from silogan.common.wire.run_folder import EVENTS_FILE
from silogan.common.wire.study import Study
from silogan.simulations.rehearsal.faults import FAULTS, Fault, seen, surroundings
from silogan.simulations.rehearsal.faults.coordinators import coordinator_disk_full
from silogan.simulations.rehearsal.federation import (
    SCENARIO,
    Federation,
    hosts,
    join,
    set_up,
    settings,
    submit_short,
    wait_for,
)
from silogan.simulations.simulate import simulate

_SLOW = ("modified-software", "poisoned-update")  # a node that was stopped is back only after some rounds
_LONG = 20
_WAIT_SECONDS = 600.0  # for a run to end
_HEADER = ("fault", "what was done", "the run", "seconds", "the coordinator saw", "the hospital saw", "ledgers")


def main(
    out: Path = Path("runs/faults"),
    only: Annotated[list[str] | None, typer.Option(help="A fault to try; repeatable; all if not given.")] = None,
) -> None:
    """Sets up one federation and lets each fault happen in a run of its own."""
    console = Console(markup=False, highlight=False)
    out = out.absolute()
    chosen = {name: lookup(FAULTS, name, "--only") for name in only or FAULTS}
    small = [out / "hospital-1", out / "coordinator"]
    for folder in small:
        surroundings.unmount(folder)
    shutil.rmtree(out, ignore_errors=True)
    mounted = all(map(surroundings.mount_small_disk, small))
    try:
        surroundings.old_authority(out / "coordinator")
        simulated = out / "simulated"
        changes = [*settings(load_scenario(SCENARIO)), "training.rounds=1", "seed=null"]
        simulate(load_scenario(SCENARIO, changes), simulated)
        with hosts(out) as made:
            federation = set_up(out, made)
            join(federation, Study.load(simulated), simulated)
            for host in made:
                federation.start(host)
            _print(console, _HEADER)
            _print(console, ("---",) * len(_HEADER))
            for name, fault in chosen.items():
                missing = _missing(fault, isolated=bool(made[0].prefix), mounted=mounted)
                row = (f"not run: {missing}",) if missing else _happens(federation, name, fault)
                _print(console, (name, *row))
    finally:
        for folder in small:
            surroundings.unmount(folder)


def _print(console: Console, row: tuple[str, ...]) -> None:
    console.print(f"| {' | '.join(row)} |", soft_wrap=True)


def _missing(fault: Fault, *, isolated: bool, mounted: bool) -> str:
    """What this machine lacks for a fault; empty if it lacks nothing."""
    if fault.__name__.startswith("network") and not isolated:
        return "needs network namespaces"
    if fault in {surroundings.disk_full, coordinator_disk_full, surroundings.read_only} and not mounted:
        return "needs a disk of its own (mount)"
    if fault is surroundings.clock_skewed and surroundings.faketime() is None:
        return "needs faketime"
    return ""


def _happens(federation: Federation, name: str, fault: Fault) -> tuple[str, ...]:
    """One run with one fault in its middle: the row of the table, but its name."""
    run = submit_short(federation, name, _LONG if name in _SLOW else 6)["run"]
    folder = federation.server.folder / "runs" / run
    events = folder / EVENTS_FILE
    began, since = time.monotonic(), datetime.now(UTC).isoformat()
    while len(seen.rounds_of(events)) < 2 or not seen.in_a_round(federation.hospitals[0]):
        if time.monotonic() - began > 300:
            return ("the run did not begin",)
        time.sleep(0.1)
    steps = fault(federation)
    done = [next(steps)]
    try:
        state = wait_for(federation, run, ("finished", "failed", "stopped"), seconds=_WAIT_SECONDS)
    except FederationError as error:
        state = f"DID NOT END: {error.problem}"
    took = time.monotonic() - began
    done += steps
    rounds = seen.rounds_of(events)
    told = ("; ".join(done), f"{state}, {len(rounds)} rounds", f"{took:.0f}", seen.refused(rounds))
    ledgers = seen.ledgers(federation, Study.load(folder).study_id, rounds)
    return (*told, seen.warned(federation.hospitals[0], since), ledgers)


if __name__ == "__main__":
    typer.run(main)
