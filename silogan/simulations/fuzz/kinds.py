"""Each input of the product: how it is mutated, and the function that reads it, the same that the command calls."""

import hashlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch
import yaml
from flwr.app import Message, MessageType
from flwr.proto.node_pb2 import NodeInfo
from flwr.supercore.task_identity import TaskIdentity

from silogan.client.data import read
from silogan.client.node.connection import Connection
from silogan.client.node.explanation import explain
from silogan.client.node.hospital import Hospital, site_of
from silogan.client.node.node import Node, read_proposal
from silogan.client.node.node_key import node_public_key
from silogan.client.node.service import services
from silogan.client.state import SiteState
from silogan.common.config.scenario import Scenario, load_scenario, parse_data, parse_scenario
from silogan.common.device import choose_device
from silogan.common.errors import FederationError, SiloganError
from silogan.common.modality.image_options import Folder, MedMnist, Mnist, Slices, Window
from silogan.common.models.networks import blueprint, check_private
from silogan.common.operations.certificates import load_authorities
from silogan.common.privacy.plan import TRAINING, canonical_json, make_plan
from silogan.common.reading import read_keys
from silogan.common.registry import lookup
from silogan.common.wire import run_folder
from silogan.common.wire.bundle import bundle_digest
from silogan.common.wire.envelope import unfold
from silogan.common.wire.messages import Reply, unpack
from silogan.common.wire.refusals import refusal_from_record
from silogan.common.wire.run_folder import GENERATOR_FILE, QUARANTINE_FILE, RUN_FILE
from silogan.common.wire.study import SiteDeclaration, Study, parse_study
from silogan.server.operations.backup import restore
from silogan.server.operations.coordinator import Coordinator
from silogan.server.operations.prometheus import metrics_text
from silogan.server.operations.request import read_request
from silogan.server.operations.status import status
from silogan.server.operations.submission import make_study
from silogan.server.release.generator import load_generator
from silogan.server.rounds.begin import check_scenario
from silogan.server.rounds.checkpoint import Checkpoint
from silogan.server.rounds.members import Members
from silogan.server.rounds.quarantine import Quarantine
from silogan.server.rounds.replies import RoundReplies
from silogan.simulations.audit import as_plain, audit_all
from silogan.simulations.fuzz import content, messages, values
from silogan.simulations.fuzz.content import bytes_file, either, mostly
from silogan.simulations.fuzz.places import CLASSES, RUN, SERVER, STUDY
from silogan.simulations.fuzz.values import Mutator, encoded, json_file, mutated, mutated_text, yaml_file
from silogan.simulations.partition import PARTITIONS, partition

Attempt = Callable[[Path], object]
_LEDGER = "node/ledgers/xrays.sqlite"
_LEDGERS = ("node/ledgers/*", "node/cohorts.sqlite*")
"""Written when a node is opened; a separate check makes sure that no entry is lost or changed."""

_STATE = f"{STUDY}/state/{TRAINING}-000001.pt"
_CHECKPOINT = f"{RUN}/checkpoints/round-000001.safetensors"


@dataclass(frozen=True)
class Kind:
    """One input.

    Attributes:
        file: where it lies in a place (`simulations/fuzz/places.py`).
        mutate: spoils it.
        attempt: reads it, as the product does, in a place; its exceptions are checked.
        may_change: patterns of files that reading it may write to; all others must stay as they are.
        rare: whether it takes long, so that only every fifth of its mutations is tried.
        command: the arguments of the command that reads it, if one does that without reaching out and training.
    """

    file: str
    mutate: Mutator
    attempt: Attempt
    may_change: tuple[str, ...] = ()
    rare: bool = False
    command: str = ""


# --- studies ---------------------------------------------------------------------------------------------------------


def _overrides(rng: Random, original: bytes) -> bytes:
    """The value of `--set` as its own file."""
    key, _, text = original.decode().partition("=")
    others = ("privacy.epsilon", "training", "data.classes", "name", "", ".", "a.b.c", "training.rounds.more", "\x1b")
    keys = [key, *others]
    if rng.randrange(2):
        text = values.dumped(values.nonsense(rng)).removesuffix("...\n").strip()
    else:
        text = mutated_text(rng, text)
    return encoded(f"{rng.choice(keys)}{rng.choice(['=', '=', '=', ''])}{text}")


def _scenario(place: Path) -> None:
    _propose(load_scenario(place / "scenario.yaml"))


def _override(place: Path) -> None:
    text = (place / "override.txt").read_text(encoding="utf-8", errors="replace")
    _propose(load_scenario(place / "scenario.yaml", [text]))


def _propose(scenario: Scenario) -> None:
    """What `silogan server submit` makes of it, and what the hospital would read of that."""
    names = [SiteDeclaration(f"site-{number}", 40) for number in range(scenario.sites.count)]
    study = make_study(scenario, tuple(names))
    plain = {"scenario": scenario.model_dump(mode="json"), "plan": asdict(study.plan)}
    canonical_json(plain)
    _printable([scenario.title, scenario.name, *study.schema.classes])


def _simulated(place: Path) -> None:
    """What `silogan simulate` does of it before it writes anything."""
    scenario = load_scenario(place / "simulated.yaml")
    check_scenario(scenario)
    lookup(PARTITIONS, scenario.sites.partition, "sites.partition")
    choose_device(scenario.training.device)
    make_plan(scenario)
    data = read(scenario.data)
    check_private(blueprint(scenario.model, data.schema).discriminator)
    partition(scenario.sites, data.train.labels.numpy(), None, np.random.default_rng(0), None)


def _run_yaml(rng: Random, original: bytes) -> bytes:
    """A mutated study; mostly with a matching plan and hash, as a hostile coordinator would send."""
    run: Any = yaml.load(original, yaml.CSafeLoader)
    match rng.randrange(6):
        case 0:
            return yaml_file(rng, original)
        case 1:
            run = mutated(rng, run)
        case 2:
            run = _with_its_hash(mutated(rng, run, ("plan",)))
        case 3:
            run = _with_its_hash(mutated(rng, run, (rng.choice(["sites", "schema", "versions"]),)))
        case 4:
            run = _with_its_hash(_with_its_plan(mutated(rng, run, ("scenario", rng.choice(["training", "privacy"])))))
        case _:
            run = _with_its_hash(_with_its_plan(mutated(rng, run, ("scenario",))))
    return encoded(values.dumped(run))


def _with_its_hash(run: Any) -> Any:
    with suppress(SiloganError, ValueError, TypeError, KeyError, RecursionError):
        scenario = parse_scenario(run["scenario"]).model_dump(mode="json")
        plain = {"scenario": scenario, **{key: run[key] for key in ("schema", "plan", "sites")}}
        return {**run, "study_id": hashlib.sha256(canonical_json(plain).encode()).hexdigest()}
    return run


def _with_its_plan(run: Any) -> Any:
    with suppress(SiloganError, ValueError, TypeError, KeyError, RecursionError):
        return {**run, "plan": asdict(make_plan(parse_scenario(run["scenario"]), "patient"))}
    return run


def _approve(place: Path) -> None:
    """Looks at the study as `silogan node plan` does, and signs it."""
    node = Node(place / "node")
    registration = node.register.get(None)
    parse_study.cache_clear()
    study = read_proposal(place / RUN_FILE)
    cost = node.cost(study, registration, SERVER)
    _printable([part for pair in explain(study, registration, SERVER, cost) for part in pair])
    node.approve(study, registration, server=SERVER)
    kept = Study.load(place / "node" / "studies" / study.study_id)
    if kept != study or site_of(node, study.study_id, registration).study != study:
        raise AssertionError("kept another study than the one approved")


# --- settings --------------------------------------------------------------------------------------------------------


def _connection(place: Path) -> None:
    connection = Connection.load(place / "node")
    _printable([connection.server, connection.host, str(connection.port), connection.proxy or ""])
    for service in services(place / "node", connection):
        if not all("\x00" not in part for part in service.command):
            raise AssertionError("a command with a zero byte")


def _settings(place: Path) -> None:
    coordinator = Coordinator(place / "coordinator")
    proxy = coordinator.proxy()
    proxy.write()
    proxy.check()
    coordinator.authority.check(coordinator.settings.names)


def _data_file(place: Path) -> None:
    read(parse_data(read_keys(place / "data.yaml", "data", "for example: source: folder")))


def _request(place: Path) -> None:
    public, declared = read_request("bergen", place / "request.json", None)
    Coordinator(place / "coordinator").enrolment.enrol("bergen", public, declared)


# --- what comes over the wire ----------------------------------------------------------------------------------------


def _bundle(place: Path) -> None:
    bundle_digest((place / "bundle.fab").read_bytes())


def _instruction(place: Path) -> None:
    """A node answers with a reply or a code, whatever it is asked."""
    record = messages.from_bytes((place / "instruction.bin").read_bytes())
    with suppress(FederationError):
        record = unfold(record)
    answer = Hospital(place / "node").answer(record)
    refusal = refusal_from_record(answer)
    if refusal is not None:
        raise FederationError("instruction", f"is refused ({refusal[1]})", "send another")
    Reply.from_record(answer)


class _Node:
    """A grid with one node."""

    def get_nodes(self) -> list[NodeInfo]:
        return [NodeInfo(node_id=1, name="bergen")]


def _reply(place: Path) -> None:
    """The server takes a reply, or names what is wrong with it."""
    for name in ("_task_id", "_run_id", "_node_id"):
        setattr(TaskIdentity, name, 1)  # flwr 1.41 looks up in a class who sends a message
    record = messages.from_bytes((place / "reply.bin").read_bytes())
    with suppress(FederationError):
        record = unfold(record)
    checkpoint = Checkpoint.latest(place / RUN)
    if checkpoint is None:
        raise AssertionError("there is no checkpoint")
    quarantine = Quarantine(place / QUARANTINE_FILE, after=3)
    members = Members(("bergen",), quarantine)
    members.connected(_Node())  # pyright: ignore[reportArgumentType]
    replies = RoundReplies(1, TRAINING, checkpoint.weights, 1000.0, members, {})
    question = Message(messages.from_bytes(b""), 1, MessageType.TRAIN)
    taken = list(replies.usable([Message(record, reply_to=question)]))
    if len(taken) + len(replies.refused) != 1:
        raise AssertionError("neither taken nor refused")
    for _, error in replies.refused:
        raise error
    for _, weights in taken:
        if not all(bool(tensor.isfinite().all()) for tensor in weights.values()):
            raise AssertionError("took what is not finite")


def _envelope(place: Path) -> None:
    _, arrays = Reply.from_record(unfold(messages.from_bytes((place / "folded.bin").read_bytes())))
    unpack(arrays)


# --- evidence and state ----------------------------------------------------------------------------------------------


def _audit(place: Path) -> None:
    """The ledger alone, and with its node; then what the node itself makes of it."""
    _audited(place / _LEDGER)
    _register(place)


def _audited(path: Path) -> None:
    for found in as_plain(audit_all([path]))["findings"]:
        _printable([str(found["cohort"]), found["problem"]])


def _register(place: Path) -> None:
    _audited(place / "node")
    node = Node(place / "node")
    node.statements()
    registration = node.register.get(None)
    node.cost(read_proposal(place / RUN_FILE), registration, SERVER)
    _printable([registration.name, registration.site])


def _statements(place: Path) -> None:
    Node(place / "node").statements()


def _status(place: Path) -> None:
    metrics_text(status(Coordinator(place / "coordinator")))


def _policy(place: Path) -> None:
    Node(place / "node").policy()
    _approve(place)


def _generator(place: Path) -> None:
    generator = load_generator(place / RUN / GENERATOR_FILE)
    generator.sample(generator.balanced_labels(4), 4, torch.Generator().manual_seed(0))
    _printable([*generator.schema.classes, *generator.marks])


def _state(place: Path) -> None:
    SiteState(place / STUDY / "state").load(TRAINING, 1)


def _restore(place: Path) -> None:
    restore(place / "backup.tar.gz", place / "restored")


# --- images ----------------------------------------------------------------------------------------------------------


def _folder(name: str, *, manifest: bool, size: int | None = None) -> Attempt:
    def attempt(place: Path) -> None:
        patients = place / "patients.csv" if manifest else None
        read(Folder(root=place / name, classes=CLASSES, patients=patients, image_size=size))

    return attempt


def _medical(kind: str, **options: Any) -> Attempt:
    window = Window(centre=1024, width=4096)

    def attempt(place: Path) -> None:
        read(Folder(root=place / "medical" / kind, classes=CLASSES, window=window, test_fraction=0.5, **options))

    return attempt


def _archive(place: Path) -> None:
    read(MedMnist(root=place / "data.npz", classes=CLASSES))


def _mnist(folder: str) -> Attempt:
    return lambda place: read(Mnist(root=place / folder)) and None


_LINES = ["../../etc/passwd,1\n", ",\n", "a,\n", '"a\n', "\x1b[2J,1\n", "x" * 200_000 + ",1\n"]


def _manifest(rng: Random, original: bytes) -> bytes:
    """A manifest with other lines."""
    lines = original.decode().splitlines(keepends=True)
    at = rng.randrange(len(lines))
    match rng.randrange(8):
        case 0:
            del lines[at]
        case 1:
            lines.append(lines[at])
        case 2:
            lines[at] = lines[at].replace(",", rng.choice(["", ",,", ";", "\t", '","', "\x00", "\r"]))
        case 3:
            lines[at] = rng.choice(_LINES)
        case 4:
            return rng.choice([b"\xef\xbb\xbf", b"\xff\xfe", b""]) + original.decode().encode("utf-16")
        case 5:
            return encoded("file,patient\n" + "".join(f"{n},{n}\n" for n in range(20_000)))
        case _:
            return encoded(mutated_text(rng, original.decode()))
    return encoded("".join(lines))


_WORDS = [b"\x00\x00\x00\x00", b"\xff\xff\xff\xff", b"\x00\x00\x08\x03", b"\x00\x00\x0d\x02"]


def _idx(rng: Random, original: bytes) -> bytes:
    head = b"".join(rng.choice([*_WORDS, original[at : at + 4]]) for at in range(0, 16, 4))
    return head + original[16:] if rng.randrange(2) else bytes_file(rng, original)


def _other_format(rng: Random, original: bytes) -> bytes:
    """Something else under the name of an image."""
    del original
    return rng.choice([b"", b"GIF89a", b"%PDF-1.4", b"II*\x00" + bytes(100), b"P6 9999999 9999999 255\n", bytes(10**6)])


def _printable(texts: list[str]) -> None:
    """Texts for people contain no control characters."""
    for text in texts:
        if not text.isprintable():
            raise AssertionError(f"shows what cannot be printed: {ascii(text)[:80]}")


_AT = "--folder coordinator"
_STATUS = f"server status {_AT}"
_COPY = "copy.sqlite"
_IMAGE = "images/train/benign/0000.png"
_KEPT = (*_LEDGERS, "node/studies/*")
_ENROLLED = ("coordinator/sites.json", "coordinator/.sites.json.lock")
_MORE = "node init node --cohort more --site bergen --data data.yaml --size 40"
_DATABASE, _TENSORS = mostly(content.database_file), mostly(content.tensors_file)
_PNG = either(content.png_file, content.png_file, bytes_file, _other_format)
_OTHER = either(bytes_file, bytes_file, bytes_file, _other_format)
_FIRST = "benign/0"
_AXIAL = Slices(axis="axial")
_MNIST = "mnist/MNIST/raw/train"

KINDS: dict[str, Kind] = {
    "scenario": Kind(
        *("scenario.yaml", yaml_file, _scenario, ("coordinator/runs/*",)),
        command=f"server submit scenario.yaml --propose {_AT}",
    ),
    "simulation": Kind("simulated.yaml", yaml_file, _simulated),
    "override": Kind("override.txt", _overrides, _override),
    "run": Kind(RUN_FILE, _run_yaml, _approve, _KEPT, command=f"node plan node {RUN_FILE} --server {SERVER}"),
    "policy": Kind(
        *("node/policy.yaml", yaml_file, _policy, _KEPT),
        command=f"node approve node {RUN_FILE} --server {SERVER}",
    ),
    "node": Kind("node/node.yaml", yaml_file, _connection, ("node/runtime.secret",)),
    "server": Kind("coordinator/server.yaml", yaml_file, _settings, ("coordinator/proxy/*",), command=_STATUS),
    "data": Kind("data.yaml", yaml_file, _data_file, (*_LEDGERS, "node/*"), command=_MORE),
    "request": Kind(
        *("request.json", json_file, _request, _ENROLLED), command=f"server enrol bergen request.json {_AT}"
    ),
    "bundle": Kind("bundle.fab", mostly(content.zip_file()), _bundle),
    "instruction": Kind("instruction.bin", messages.message, _instruction, _KEPT, rare=True),
    "reply": Kind("reply.bin", messages.message, _reply, (QUARANTINE_FILE, run_folder.QUARANTINE_LOCK)),
    "envelope": Kind("folded.bin", bytes_file, _envelope),
    "ledger": Kind(_LEDGER, _DATABASE, _audit, _LEDGERS, rare=True, command="node status node"),
    "ledger-copy": Kind(_COPY, _DATABASE, lambda place: _audited(place / _COPY), rare=True, command=f"audit {_COPY}"),
    "register": Kind("node/cohorts.sqlite", _DATABASE, _register, _LEDGERS, rare=True, command="audit node"),
    "generator": Kind(
        *(f"{RUN}/{GENERATOR_FILE}", _TENSORS, _generator, ("out/*",)),
        command=f"generate {RUN} --count 2 --out out",
    ),
    "checkpoint": Kind(_CHECKPOINT, _TENSORS, _status, command=_STATUS),
    "state": Kind(_STATE, either(content.zip_file(), bytes_file), _state),
    "sites": Kind("coordinator/sites.json", json_file, _status, command=_STATUS),
    "submission": Kind(f"{RUN}/{run_folder.SUBMISSION_FILE}", json_file, _status, command=_STATUS),
    "events": Kind(f"{RUN}/{run_folder.EVENTS_FILE}", json_file, _status, command=_STATUS),
    "quarantine": Kind(
        f"{RUN}/{QUARANTINE_FILE}", json_file, lambda place: Quarantine(place / RUN / QUARANTINE_FILE, 3)
    ),
    "study-of-run": Kind(f"{RUN}/{RUN_FILE}", yaml_file, _status, command=_STATUS),
    "backup": Kind(
        *("backup.tar.gz", either(content.tar_file, bytes_file), _restore, ("restored/*", ".restored.*")),
        command="server restore backup.tar.gz --folder restored",
    ),
    "authority": Kind("ca.pem", bytes_file, lambda place: load_authorities(place / "ca.pem")),
    "site-key": Kind("node/site.key", bytes_file, _statements, _LEDGERS, command="node status node"),
    "node-key": Kind("node/node.key", bytes_file, lambda place: node_public_key(place / "node")),
    "npz": Kind("data.npz", mostly(content.zip_file(content.npy_bytes)), _archive),
    "png": Kind(_IMAGE, _PNG, _folder("images", manifest=False)),
    "png-resized": Kind(_IMAGE, content.png_file, _folder("images", manifest=False, size=8)),
    "jpeg": Kind("photos/train/benign/0000.jpg", either(bytes_file, _other_format), _folder("photos", manifest=False)),
    "manifest": Kind("patients.csv", either(_manifest, bytes_file), _folder("images", manifest=True)),
    "mnist": Kind(f"{_MNIST}-images-idx3-ubyte", _idx, _mnist("mnist")),
    "mnist-labels": Kind(f"{_MNIST}-labels-idx1-ubyte", _idx, _mnist("mnist")),
    "mnist-packed": Kind(f"medical/{_MNIST}-images-idx3-ubyte.gz", bytes_file, _mnist("medical/mnist")),
    "dicom": Kind(f"medical/dicom/{_FIRST}.dcm", _OTHER, _medical("dicom", patients="dicom")),
    "nifti": Kind(f"medical/nifti/{_FIRST}.nii", _OTHER, _medical("nifti", slices=_AXIAL)),
    "nifti-packed": Kind(f"medical/nifti-packed/{_FIRST}.nii.gz", _OTHER, _medical("nifti-packed", slices=_AXIAL)),
    "png-deep": Kind(f"medical/deep/{_FIRST}.png", _PNG, _medical("deep")),
    "tiff": Kind(f"medical/tiff/{_FIRST}.tif", _OTHER, _medical("tiff")),
}
"""Every input, by the name that `--only` takes."""
