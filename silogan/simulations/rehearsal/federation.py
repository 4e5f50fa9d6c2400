"""A realistic federation on one machine: real processes, TLS, keys, policies and ledgers.

    python -m silogan.simulations.rehearsal.federation --out runs/federation [--scenario FILE]...

A coordinator and three hospitals run a scenario of embedded images or patient records over their own network, where the
system allows it each in a network namespace of its own. The same scenario is simulated in one process, and the
generators are compared. Of several scenarios each hospital registers a cohort, and they run one after the other.
"""

import json
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from silogan.client.data import read
from silogan.client.data.positions import load_positions
from silogan.client.node.service import LOG_FILE
from silogan.common.config.scenario import Scenario, load_scenario
from silogan.common.errors import FederationError
from silogan.common.modality.image import ImageSchema
from silogan.common.operations.flower import free_port
from silogan.common.operations.supervise import running
from silogan.common.wire.run_folder import GENERATOR_FILE, PARTITION_FILE, SUBMISSION_FILE
from silogan.common.wire.study import Study
from silogan.server.rounds.checkpoint import Checkpoint
from silogan.simulations.processes import children, memory
from silogan.simulations.rehearsal.shares import write_share
from silogan.simulations.simulate import simulate

SCENARIO = Path(__file__).parents[1] / "scenarios" / "digits-basic.yaml"
SITES = 3
_WAIT_SECONDS = 1200.0
_SUBNET = "10.213.7"
_OURS = f"sg{os.getpid() % 100_000}"  # begins the names of what this process makes, of 15 characters at most
_BRIDGE = f"{_OURS}b"


@dataclass
class Host:
    """A machine of the federation.

    Attributes:
        name: what it is called.
        folder: of its coordinator or node.
        address: of its network link.
        prefix: the command that puts a program onto it.
        software: where its copy of this software is; the one that runs now if not given.
        processes: what was started here.
    """

    name: str
    folder: Path
    address: str
    prefix: tuple[str, ...] = ()
    software: Path | None = None
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list[subprocess.Popen[bytes]])

    def run(self, *arguments: str) -> str:
        """Runs one `silogan` command here and returns what it prints.

        Raises:
            FederationError: it failed; what it said is in the error.
        """
        done = self.execute("-m", "silogan", *arguments)
        if done.returncode:
            what = f"{self.name}: silogan {arguments[0]} {arguments[1]}"
            raise FederationError(what, done.stderr.strip(), "see above")
        return done.stdout

    def execute(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Runs Python here and returns how that ended."""
        return subprocess.run(  # noqa: S603
            self._command(arguments), capture_output=True, text=True, check=False, env=_env(), cwd=self.software
        )

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Starts a `silogan` command that runs on."""
        with (self.folder.parent / f"{self.name}.log").open("ab") as log:
            process = subprocess.Popen(  # noqa: S603
                self._command(("-m", "silogan", *arguments)),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=_env(),
                cwd=self.software,
            )
        self.processes.append(process)
        return process

    def stop(self) -> None:
        """Ends what was started here."""
        for process in self.processes:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process in self.processes:
            with suppress(subprocess.TimeoutExpired):
                process.wait(timeout=30)
        self.processes.clear()

    def _command(self, arguments: Sequence[str]) -> list[str]:
        return [*self.prefix, sys.executable, *arguments]


@dataclass
class Federation:
    """A coordinator and its hospitals, and the folder that holds theirs."""

    out: Path
    server: Host
    hospitals: list[Host]
    port: int

    @property
    def address(self) -> str:
        """Where hospitals find the coordinator."""
        return f"{self.server.address}:{self.port}"

    def status(self) -> dict[str, Any]:
        """What `silogan server status --json` says."""
        return json.loads(self.server.run("server", "status", "--folder", str(self.server.folder), "--json"))

    def start(self, host: Host) -> None:
        """Starts a host's programs."""
        root = ("--as-root",) if os.geteuid() == 0 else ()
        if host is self.server:
            host.start("server", "start", "--supervise", "--folder", str(host.folder), *root)
        else:
            host.start("node", "start", str(host.folder), *root)

    def submit(self, scenario: Path, *overrides: str, cohort: str) -> dict[str, Any]:
        """Queues a scenario, and has each hospital approve it for a cohort."""
        settings = [word for override in overrides for word in ("--set", override)]
        folder = ("--folder", str(self.server.folder))
        command = ("server", "submit", str(scenario), *folder, *settings, "--json")
        proposal = json.loads(self.server.run(*command, "--propose"))["proposal"]
        decided = ("--server", self.address, "--cohort", cohort)
        self.each(lambda host: host.run("node", "approve", str(host.folder), proposal, *decided))
        return json.loads(self.server.run(*command))

    def each(self, work: Callable[[Host], object]) -> None:
        """Does something at all hospitals at once."""
        with ThreadPoolExecutor() as pool:
            list(pool.map(work, self.hospitals))

    def kill(self, host: Host) -> None:
        """Kills all programs of a host at once."""
        os.kill(running(host.folder)["supervisor"], signal.SIGKILL)

    def restart(self, host: Host, seconds: float) -> None:
        """Kills all programs of a host, and starts them again after some time."""
        self.kill(host)
        time.sleep(seconds)
        self.start(host)

    def stop(self) -> None:
        """Ends everything."""
        for host in [*self.hospitals, self.server]:
            host.stop()


def settings(scenario: Scenario, sites: int = SITES) -> list[str]:
    """What a scenario needs to be told, since the coordinator has no data to look at."""
    told = ["privacy.unit=record", f"sites.count={sites}", "evaluation.enabled=false"]
    schema = read(scenario.data).schema
    if not isinstance(schema, ImageSchema):
        return told
    classes = json.dumps(list(schema.classes))
    return [*told, f"data.image_size={schema.size}", f"data.channels={schema.channels}", f"data.classes={classes}"]


STEPS = 200
"""Of a round: as many as a new policy allows."""


def submit_short(federation: Federation, title: str, rounds: int = 6) -> dict[str, Any]:
    """Submits some rounds, with randomness of their own. Each title makes another study of it."""
    return federation.submit(
        SCENARIO,
        *(*settings(load_scenario(SCENARIO)), f"title={title}", f"training.rounds={rounds}"),
        *(f"training.local_steps={STEPS}", "seed=null", "privacy.epsilon=1"),
        *("federation.quorum=2", "federation.round_timeout=30", "federation.join_timeout=60"),
        cohort="digits",
    )


def set_up(out: Path, hosts: "list[Host]") -> Federation:
    """Makes the folder of a coordinator through the command line; its hospitals are still to join."""
    server, *hospitals = hosts
    port = free_port()
    server.run("server", "init", "--name", server.address, "--port", str(port), "--folder", str(server.folder))
    _spread_ports(server.folder)
    return Federation(out, server, hospitals, port)


def join(federation: Federation, study: Study, simulated: Path) -> str:
    """Has each hospital register its share of a study's data through the command line, and the coordinator enrol it.

    Returns:
        The name of the cohort, which is that of the data's source.
    """
    data, cohort, server = read(study.scenario.data), study.scenario.data.source, federation.server

    def register(host: Host) -> None:
        index = federation.hospitals.index(host)
        site, positions = study.sites[index], load_positions(simulated / PARTITION_FILE, index)
        share = write_share(federation.out / f"{host.name}-{cohort}", data, positions)
        host.run(
            *("node", "init", str(host.folder), "--cohort", cohort, "--site", site.name, "--data", str(share)),
            *("--size", str(site.declared_size), "--record-level", "--epsilon", "10", "--delta", "1e-4"),
            *(["--rehearsal"] if study.plan.seeded else []),
            *("--server", federation.address, "--ca", str(server.folder / "ca.pem")),
        )
        policy = host.folder / "policy.yaml"
        text = policy.read_text(encoding="utf-8").replace("servers: []", f"servers: ['{federation.address}']")
        policy.write_text(text, encoding="utf-8")
        server.run("server", "enrol", site.name, str(host.folder / "request.json"), "--folder", str(server.folder))

    federation.each(register)
    return cohort


def wait_for(federation: Federation, run: str, states: tuple[str, ...], seconds: float = _WAIT_SECONDS) -> str:
    """Waits until a run is in one of `states`, and returns which.

    Raises:
        FederationError: it is not in time.
    """
    path = federation.server.folder / "runs" / run / SUBMISSION_FILE
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        state = json.loads(path.read_text(encoding="utf-8"))["state"]
        if state in states:
            return state
        time.sleep(0.5)
    raise FederationError(f"run {run}", f"is not {' or '.join(states)} within {seconds:.0f} s", "see logs/server.jsonl")


@contextmanager
def hosts(out: Path, sites: int = SITES) -> Generator[list[Host]]:
    """A coordinator and its hospitals, each in a network namespace where the system allows that."""
    before = signal.signal(signal.SIGTERM, _end)
    names = ["coordinator", *(f"hospital-{number}" for number in range(1, sites + 1))]
    made = [Host(name, out / name, "127.0.0.1") for name in names]
    isolated = os.geteuid() == 0 and shutil.which("ip") is not None and _connect(made)
    try:
        yield made
    finally:
        for host in made:
            host.stop()
        if isolated:
            _disconnect(made)
        signal.signal(signal.SIGTERM, before)


def _end(number: int, _: object) -> None:
    """Ends this process as an error would, so that what it has started ends too."""
    sys.exit(128 + number)


def _connect(made: list[Host]) -> bool:
    """Gives each host a namespace, and an address on a bridge between them; False where that is not allowed."""
    _disconnect(made)
    if not all(_wire(number) for number in range(1, len(made) + 1)):
        _disconnect(made)
        return False
    for number, host in enumerate(made, start=1):
        host.address, host.prefix = f"{_SUBNET}.{number}", ("ip", "netns", "exec", f"{_OURS}-{number}")
    return True


def link_of(number: int) -> str:
    """The network link of the host that was made as the `number`-th, from 1."""
    return f"{_OURS}o{number}"


def _wire(number: int) -> bool:
    """Connects one host's namespace to the bridge, which the first one makes."""
    space, inside, outside = f"{_OURS}-{number}", f"{_OURS}i{number}", link_of(number)
    bridge = [("link", "add", _BRIDGE, "type", "bridge"), ("link", "set", _BRIDGE, "up")] if number == 1 else []
    commands = [
        *bridge,
        ("netns", "add", space),
        ("link", "add", inside, "type", "veth", "peer", "name", outside),
        ("link", "set", outside, "master", _BRIDGE, "up"),
        ("link", "set", inside, "netns", space),
        ("-n", space, "addr", "add", f"{_SUBNET}.{number}/24", "dev", inside),
        ("-n", space, "link", "set", inside, "up"),
        ("-n", space, "link", "set", "lo", "up"),
    ]
    return all(_ip(*command) for command in commands)


def _disconnect(made: list[Host]) -> None:
    for number in range(1, len(made) + 1):
        _ip("netns", "delete", f"{_OURS}-{number}")
    _ip("link", "delete", _BRIDGE)


def _ip(*arguments: str) -> bool:
    return subprocess.run(["ip", *arguments], capture_output=True, check=False).returncode == 0  # noqa: S603, S607


def _spread_ports(folder: Path) -> None:
    """Free ports for what listens on the loopback address, where other programs may be."""
    path = folder / "server.yaml"
    lines = path.read_text(encoding="utf-8").splitlines()
    free = {"superlink_port": free_port(), "metrics_port": free_port()}
    changed = [f"{key}: {free[key]}" if (key := line.partition(":")[0]) in free else line for line in lines]
    path.write_text("\n".join(changed) + "\n", encoding="utf-8")


def _env() -> dict[str, str]:
    """Each hospital has one thread: they share this machine, and rounding depends on it."""
    return os.environ | {"OMP_NUM_THREADS": "1"}


def _differences(run: Path, simulated: Path) -> int:
    """How many tensors of two runs' last checkpoints are not equal bit for bit; the generators' files count as one."""
    ours, theirs = Checkpoint.latest(run), Checkpoint.latest(simulated)
    if ours is None or theirs is None or ours.weights.keys() != theirs.weights.keys():
        raise FederationError("weights", "cannot be compared", "see the runs' checkpoints")
    files = [(folder / GENERATOR_FILE).read_bytes() for folder in (run, simulated)]
    return sum(not ours.weights[name].equal(theirs.weights[name]) for name in ours.weights) + (files[0] != files[1])


def _pace(nodes: list[Path], began: float, ended: float) -> str:
    """How long a run's rounds took and how much of that was work at the slowest site, from the nodes' own logs.

    A round lasts from one answer of a site to its next one. The first round, in which sites read their data and warm
    up, is left out; empty if there is no other.

    Args:
        nodes: their folders.
        began: when the run did, in seconds since 1970.
        ended: when it did.
    """
    answered: dict[int, list[float]] = {}
    worked: dict[int, list[float]] = {}
    for node in nodes:
        for line in (node / LOG_FILE).read_text(encoding="utf-8").splitlines():
            entry = json.loads(line)
            found = re.fullmatch(r"round (\d+) answered in ([\d.]+) s", entry["message"])
            at = datetime.fromisoformat(entry["time"]).timestamp()
            if found and began <= at <= ended:
                answered.setdefault(int(found[1]), []).append(at)
                worked.setdefault(int(found[1]), []).append(float(found[2]))
    rounds = sorted(set(answered) & {number + 1 for number in answered})
    if not rounds:
        return ""
    lasted = [max(answered[number]) - max(answered[number - 1]) for number in rounds]
    work = [max(worked[number]) for number in rounds]
    beside = statistics.median(whole - part for whole, part in zip(lasted, work, strict=True))
    whole, part = statistics.median(lasted), statistics.median(work)
    return f"; a round takes {whole:.1f} s, {part:.1f} s of it at the slowest site; {beside:.1f} s overhead (medians)"


def memory_of(folder: Path) -> dict[str, int]:
    """The most memory that each program of a coordinator or node has had, in MiB, its children's included (Linux)."""
    return {name: sum(memory("VmHWM", one) for one in _family(of)) >> 20 for name, of in running(folder).items()}


def _family(process: int) -> list[int]:
    return [process, *(one for child in children(process) for one in _family(child))]


def _memory(federation: Federation) -> str:
    """`memory_of` the coordinator, and of the node that has had most."""
    server = memory_of(federation.server.folder)
    nodes = [memory_of(host.folder) for host in federation.hospitals]
    most = {name: max(node[name] for node in nodes) for name in nodes[0]}
    told = ["; ".join(f"{name} {mib}" for name, mib in of.items() if name != "supervisor") for of in (server, most)]
    return f"peak memory, MiB: coordinator:  {told[0]}; a node: {told[1]}"


@dataclass(frozen=True)
class Rehearsal:
    """A scenario that was simulated, and that a federation is to run as well."""

    scenario: Path
    overrides: list[str]
    simulated: Path

    @property
    def study(self) -> Study:
        """As it was simulated."""
        return Study.load(self.simulated)


def main(
    out: Path = Path("runs/federation"),
    scenario: Annotated[
        list[Path] | None, typer.Option(help="One with data that comes with this software; repeatable.")
    ] = None,
    rounds: Annotated[int | None, typer.Option(help="In place of the scenario's, where it trains.")] = None,
    sites: int = SITES,
    changes: Annotated[list[str] | None, typer.Option("--set", help="KEY=VALUE of the scenario; repeatable.")] = None,
) -> None:
    """Runs the federation and the simulation, and compares them; without a seed there is nothing to compare."""
    console = Console(markup=False, highlight=False, soft_wrap=True)
    out = out.absolute()
    shutil.rmtree(out, ignore_errors=True)
    rehearsals = [
        _simulated(console, path.absolute(), out / "simulated" / path.stem, rounds, sites, changes or [])
        for path in scenario or [SCENARIO]
    ]
    with hosts(out, sites) as made:
        federation = set_up(out, made)
        federation.start(federation.server)
        where = "network namespaces" if made[0].prefix else "processes"
        console.print(f"coordinator at {federation.address} and {sites} hospitals, in separate {where}")
        runs = [_submitted(console, federation, one) for one in rehearsals]
        finished = _all_finished(console, federation, runs)
        console.print(_memory(federation))
        federation.stop()
        for host in made[1:]:
            _tell_ledgers(console, host)
    if not finished:
        raise SystemExit(FederationError.exit_code)
    pairs = [(one, run) for one, (run, _) in zip(rehearsals, runs, strict=True) if one.study.plan.seeded]
    if sum(_compared(console, one, run) for one, run in pairs):
        raise SystemExit(FederationError.exit_code)


def _simulated(
    console: Console, scenario: Path, folder: Path, rounds: int | None, sites: int, changes: list[str]
) -> Rehearsal:
    """Simulates a scenario."""
    wanted = load_scenario(scenario, changes)
    shorter = [] if rounds is None or not wanted.training.rounds else [f"training.rounds={rounds}"]
    overrides = [*settings(wanted, sites), *shorter, *changes]
    simulate(load_scenario(scenario, overrides), folder)
    study = Study.load(folder)
    phases = ", ".join(f"{phase.rounds} of {phase.name}" for phase in study.plan.phases)
    console.print(f"simulated {study.scenario.title} with {sites} sites in one process, rounds: {phases}")
    return Rehearsal(scenario, overrides, folder)


def _submitted(console: Console, federation: Federation, one: Rehearsal) -> tuple[Path, float]:
    """Has the hospitals join and approve a study, and starts their nodes unless they run.

    Returns:
        The run's folder at the coordinator, and when it was queued, in seconds since 1970.
    """
    cohort = join(federation, one.study, one.simulated)
    for host in federation.hospitals:
        if not host.processes:
            federation.start(host)
    run = federation.submit(one.scenario, *one.overrides, cohort=cohort)["run"]
    console.print(f"cohort '{cohort}' registered and enrolled, run {run} approved by each hospital and queued")
    return federation.server.folder / "runs" / run, time.time()


def _all_finished(console: Console, federation: Federation, runs: list[tuple[Path, float]]) -> bool:
    """Waits for runs, each of which begins when it was queued and the one before it has ended."""
    states: list[str] = []
    began = 0.0
    for run, queued in runs:
        states.append(wait_for(federation, run.name, ("finished", "failed")))
        began, ended = max(began, queued), (run / SUBMISSION_FILE).stat().st_mtime
        pace = _pace([host.folder for host in federation.hospitals], began, ended)
        console.print(f"run {run.name} {states[-1]} after {ended - began:.0f} s{pace}")
        began = ended
    return set(states) == {"finished"}


def _tell_ledgers(console: Console, host: Host) -> None:
    """What a hospital's ledgers hold, and whether its audit finds nothing."""
    spent = json.loads(host.run("node", "status", str(host.folder), "--json"))
    charged = ", ".join(f"ε {one['epsilon_charged']:.4g} for {cohort}" for cohort, one in spent.items())
    audit = json.loads(host.run("audit", str(host.folder), "--json"))
    console.print(f"{host.name}: charged {charged}; ledgers {'verified' if audit['ok'] else 'FAILED'}")


def _compared(console: Console, one: Rehearsal, run: Path) -> int:
    """How much of a run's weights and generator is not that of the simulation."""
    different = _differences(run, one.simulated)
    verdict = f"{different} tensors or files differ from" if different else "identical to"
    console.print(f"{one.study.scenario.name}: weights and generator {verdict} `silogan simulate`")
    return different


if __name__ == "__main__":
    typer.run(main)
