"""A coordinator of small studies, and commands to it: what the tests of damaged coordinators share."""

import sys
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import NamedTuple

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from silogan import cli
from silogan.common.config.scenario import parse_scenario
from silogan.common.errors import FederationError
from silogan.common.modality.image import ImageSchema
from silogan.common.models.weights import generator_weights
from silogan.common.operations.flower import free_port
from silogan.common.privacy.plan import make_plan
from silogan.common.wire.study import SiteDeclaration, Study
from silogan.server.app import initial_weights
from silogan.server.operations.coordinator import Coordinator
from silogan.server.operations.nodes import NodeFacts, key_bytes
from silogan.server.operations.settings import SETTINGS_FILE
from silogan.server.operations.submission import Submission
from silogan.server.rounds.checkpoint import Checkpoint
from silogan.server.rounds.events import append_event


class Done(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str


def server(folder: Path, command: str, *words: object) -> Done:
    """Runs `silogan server COMMAND` in this process."""
    out, err = StringIO(), StringIO()
    argv = ["silogan", "server", command, *map(str, words), "--folder", str(folder)]
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.setattr(sys, "argv", argv)
        patch.setenv("SILOGAN_DEBUG", "")
        patch.setenv("COLUMNS", "300")
        with pytest.raises(SystemExit) as end:
            cli.main()
    return Done(int(end.value.code or 0), out.getvalue(), err.getvalue())


def make_coordinator(folder: Path) -> Coordinator:
    """A coordinator on this machine, on ports that are free."""
    Coordinator.create(folder, ["127.0.0.1"], listen="127.0.0.1", port=free_port())
    ports = {"superlink_port": free_port(), "metrics_port": free_port()}
    lines = (folder / SETTINGS_FILE).read_text().splitlines()
    changed = [f"{key}: {ports[key]}" if (key := line.partition(":")[0]) in ports else line for line in lines]
    (folder / SETTINGS_FILE).write_text("\n".join(changed))
    return Coordinator(folder)


def public_line(key: ec.EllipticCurvePrivateKey) -> str:
    """The public half of a node's key, as its hospital sends it."""
    return key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()


def new_line() -> str:
    """The public half of a new key."""
    return public_line(ec.generate_private_key(ec.SECP384R1()))


def make_study(seed: int | None = 1, sizes: tuple[int, ...] = (100, 200, 300)) -> Study:
    """A study of a few hundred weights."""
    sections = {
        "sites": {"count": len(sizes)},
        "model": {"latent_dim": 2, "width": 2},
        "training": {"rounds": 4, "local_steps": 3, "sample_rate": 1.0},
        "privacy": {"epsilon": 50.0, "noise_multiplier": 2.0},
        "federation": {"join_timeout": 0.01},
    }
    scenario = parse_scenario({"name": "tiny", "seed": seed, **sections})
    sites = tuple(SiteDeclaration(f"site-{number}", size) for number, size in enumerate(sizes, start=1))
    return Study(scenario, ImageSchema(8, 1, ("zero", "one", "two")), make_plan(scenario), sites)


def add_run(coordinator: Coordinator, seed: int, state: Submission, rounds: int = 2) -> str:
    """A run that has come so far: the checkpoints of its last two rounds, and its events."""
    study = make_study(seed)
    name = coordinator.runs.propose(study)
    weights = initial_weights(study)
    ema = generator_weights(weights)
    for number in range(rounds + 1):
        Checkpoint(study.study_id, number, weights, ema).save(coordinator.runs.path(name))
        if number:
            event = {"event": "round", "round": number, "rounds": 4, "seconds": 1.0, "sites_replied": 3}
            event |= {"sites_refused": [], "epsilon": {"min": 1.0, "max": 1.0}}
            append_event(coordinator.runs.path(name), event)
    coordinator.runs.set(name, state)
    return name


class Link:
    """A SuperLink whose runs never end by themselves; it knows nodes and runs until they are `lost`."""

    def __init__(self) -> None:
        self.started: list[str] = []
        self.stopped: list[int] = []
        self.keys: dict[int, bytes] = {}
        self.taken_back: set[int] = set()
        self.status = "running"

    def lose(self) -> None:
        """A new, empty database."""
        self.keys.clear()
        self.taken_back.clear()

    def nodes(self) -> dict[int, NodeFacts]:
        return {
            number: NodeFacts("unregistered" if number in self.taken_back else "online", key, None)
            for number, key in self.keys.items()
        }

    def register(self, name: str, public_key: str) -> int:
        key = key_bytes(public_key)
        if key in self.keys.values():
            raise FederationError("SuperLink", "refuses (400: public key already in use)", "see logs/server.jsonl")
        number = 2**60 + len(self.keys) + 1000 * len(name)
        self.keys[number] = key
        return number

    def unregister(self, node: int) -> None:
        if node not in self.keys or node in self.taken_back:
            raise FederationError("SuperLink", "refuses (404: not found)", "see logs/server.jsonl")
        self.taken_back.add(node)

    def start_run(self, run: str) -> int:
        self.started.append(run)
        return len(self.started)

    def stop_run(self, number: int) -> None:
        if self.status == "unknown":
            raise FederationError("SuperLink", "refuses (404: not found)", "see logs/server.jsonl")
        self.stopped.append(number)

    def run_status(self, number: int) -> str:
        return self.status
