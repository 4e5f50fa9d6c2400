"""An intact place to mutate: a hospital's node, a coordinator, and a valid file of each kind."""

import csv
import gzip
import shutil
import struct
import warnings
from pathlib import Path

import numpy as np
import yaml
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from flwr.cli.build import build_fab_from_disk
from PIL import Image

from silogan.client.ledger.policy import template
from silogan.client.node.hospital import Hospital
from silogan.client.node.joining import prepare_connection
from silogan.client.node.node import Node
from silogan.client.node.node_key import node_public_key
from silogan.common.config.scenario import Scenario, parse_data, parse_scenario
from silogan.common.files import create_secret
from silogan.common.models.weights import Weights, generator_weights
from silogan.common.privacy.plan import TRAINING
from silogan.common.wire.bundle import stage
from silogan.common.wire.envelope import fold
from silogan.common.wire.messages import Instruction, pack
from silogan.common.wire.run_folder import GENERATOR_FILE, QUARANTINE_FILE, RUN_FILE
from silogan.common.wire.study import Study
from silogan.server.app import initial_weights
from silogan.server.operations.backup import back_up
from silogan.server.operations.coordinator import Coordinator
from silogan.server.operations.submission import Submission
from silogan.server.release.generator import save_generator
from silogan.server.rounds.checkpoint import Checkpoint
from silogan.server.rounds.events import append_event
from silogan.server.rounds.quarantine import Quarantine
from silogan.simulations.fuzz import messages
from silogan.simulations.fuzz.content import SITE_KEY
from silogan.simulations.fuzz.medical import write_dicom, write_nifti
from silogan.simulations.fuzz.values import dumped

SERVER = "127.0.0.1:1"
"""Where nobody listens."""

CLASSES = ("benign", "malignant")
DECLARED = 40
STUDY, RUN = "study", "run"
"""Links to the folders of the study at the node, and of its run at the coordinator, whose names are hashes."""

_SCENARIO = {
    "name": "tiny",
    "data": {"source": "folder", "image_size": 8, "channels": 1, "classes": list(CLASSES)},
    "sites": {"count": 1},
    "model": {"latent_dim": 4, "width": 2},
    "training": {"rounds": 4, "local_steps": 1, "sample_rate": 0.25, "generator_batch_size": 4, "device": "cpu"},
    "privacy": {"epsilon": 8.0, "delta": 1e-4, "noise_multiplier": 1.0, "unit": "patient"},
    "federation": {"quorum": 1, "min_cosine": 0.0},
    "evaluation": {"enabled": False},
}


def make(place: Path) -> None:
    """Creates everything that is mutated later. The node has answered round 1, and the coordinator has averaged it."""
    place.mkdir(parents=True)
    _images(place)
    node = _node(place)
    coordinator = Coordinator.create(place / "coordinator", ["127.0.0.1"])
    shutil.copy(coordinator.folder / "ca.pem", place / "ca.pem")
    (registration,) = node.register.all()
    prepare_connection(node.folder, registration, server=SERVER, ca=place / "ca.pem")
    shutil.copy(node.folder / "request.json", place / "request.json")
    coordinator.enrolment.enrol("bergen", node_public_key(node.folder), DECLARED)
    name, study = coordinator.propose(_scenario(place))
    node.approve(study, registration, server=SERVER)
    run = coordinator.runs.path(name)
    shutil.copy(run / RUN_FILE, place / RUN_FILE)
    weights = initial_weights(study)
    _first_round(place, study, weights, run)
    coordinator.runs.set(name, Submission("failed", 1, 1, "server: was killed; resume it"))
    back_up(coordinator, place / "backup.tar.gz")
    for link, target in ((STUDY, node.folder / "studies" / study.study_id), (RUN, run)):
        (place / link).symlink_to(target.relative_to(place), target_is_directory=True)
    _bundle(place)
    shutil.copy(node.folder / "ledgers" / "xrays.sqlite", place / "copy.sqlite")
    (place / "override.txt").write_text("privacy.epsilon=8.0", encoding="utf-8")
    simulated = {**_SCENARIO, "data": {"source": "digits"}, "sites": {"count": 2, "partition": "dirichlet"}}
    simulated["privacy"] = {"epsilon": 8.0, "delta": 1e-4}
    (place / "simulated.yaml").write_text(dumped(simulated), encoding="utf-8")


def _node(place: Path) -> Node:
    folder = place / "node"
    folder.mkdir(mode=0o700)
    create_secret(folder / "site.key", SITE_KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    node = Node.create(folder, template(epsilon=9.0, delta=1e-4, unit="patient"))
    policy = yaml.safe_load((folder / "policy.yaml").read_text(encoding="utf-8"))
    (folder / "policy.yaml").write_text(dumped({**policy, "servers": [SERVER]}), encoding="utf-8")
    data = {"source": "folder", "root": str(place / "images"), "classes": list(CLASSES)}
    data["patients"] = str(place / "patients.csv")
    (place / "data.yaml").write_text(dumped(data), encoding="utf-8")
    node.add_cohort(name="xrays", site="bergen", data=parse_data(data), declared_size=DECLARED)
    return node


def _scenario(place: Path) -> Scenario:
    (place / "scenario.yaml").write_text(dumped(_SCENARIO), encoding="utf-8")
    return parse_scenario(_SCENARIO)


def _first_round(place: Path, study: Study, weights: Weights, run: Path) -> None:
    """The node's answer to round 1, what it is asked next, and what the coordinator keeps of it."""
    asked = Instruction(study.study_id, study.plan.plan_id, TRAINING, 1).to_record(pack(weights))
    answer = Hospital(place / "node").answer(asked)
    if "weights" not in answer:
        raise RuntimeError(f"the node refuses: {answer}")
    head = str(answer["header"]["ledger_head"]) if isinstance(answer["header"], dict) else ""
    following = Instruction(study.study_id, study.plan.plan_id, TRAINING, 2, head).to_record(pack(weights))
    (place / "instruction.bin").write_bytes(messages.as_bytes(following))
    (place / "reply.bin").write_bytes(messages.as_bytes(answer))
    (place / "folded.bin").write_bytes(messages.as_bytes(fold(answer)))
    ema = generator_weights(weights)
    event = {"round": 1, "seconds": 0.5, "sites_replied": 1, "sites_refused": [], "epsilon": {"min": 1.0, "max": 1.0}}
    Checkpoint(study.study_id, 1, weights, ema, 0.5, event, {"bergen": head}, ["0" * 64]).save(run)
    append_event(run, event)
    Quarantine(run / QUARANTINE_FILE, 3).record("bergen", 1, "reply: is not finite")
    save_generator(study, ema, run / GENERATOR_FILE)


def _images(place: Path) -> None:
    """Images in folders with a manifest, as PNG and as JPEG; the same as an archive; and MNIST's own files."""
    rng, rows = np.random.default_rng(0), list[tuple[str, str]]()
    for kind, suffix, counts in (("images", "png", (20, 2)), ("photos", "jpg", (2, 1))):
        for split, count in zip(("train", "test"), counts, strict=True):
            for name in CLASSES:
                folder = place / kind / split / name
                folder.mkdir(parents=True)
                for index in range(count):
                    path = folder / f"{index:04d}.{suffix}"
                    Image.fromarray(rng.integers(0, 256, (8, 8), dtype=np.uint8)).save(path)
                    if kind == "images":
                        rows.append((path.relative_to(place / kind).as_posix(), f"{split}-{name}-{index}"))
    with (place / "patients.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("file", "patient"), *rows])
    arrays = {
        f"{split}_{key}": value
        for split, count, first in (("train", 20, 0), ("test", 4, 20))
        for key, value in (
            ("images", rng.integers(0, 256, (count, 8, 8), dtype=np.uint8)),
            ("labels", np.arange(count) % 2),
            ("sites", np.arange(count) % 2),
            ("patients", np.arange(first, first + count)),
        )
    }
    np.savez_compressed(place / "data.npz", site_names=np.array(["a", "b"]), **arrays)  # pyright: ignore[reportArgumentType]
    _mnist(place / "mnist" / "MNIST" / "raw", rng)
    _medical(place / "medical", rng)


def _medical(root: Path, rng: np.random.Generator) -> None:
    """Files as hospitals have them, one of each kind first in its folder; and MNIST as it is published."""
    kinds = {"dicom": "dcm", "nifti": "nii", "nifti-packed": "nii.gz", "deep": "png", "tiff": "tif"}
    for kind, suffix in kinds.items():
        for name in CLASSES:
            folder = root / kind / name
            folder.mkdir(parents=True)
            for index in range(3):
                path, values = folder / f"{index}.{suffix}", rng.integers(0, 4096, (8, 8), dtype=np.uint16)
                if suffix == "dcm":
                    write_dicom(path, values, f"{name}-{index}", RescaleSlope=1, RescaleIntercept=-1024)
                elif suffix.startswith("nii"):
                    write_nifti(path, rng.integers(0, 4096, (8, 8, 3), dtype=np.int16), np.eye(4))
                else:
                    Image.fromarray(values).save(path)
    raw = root / "mnist" / "MNIST" / "raw"
    _mnist(raw, rng)
    for path in list(raw.iterdir()):
        path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()


def _mnist(folder: Path, rng: np.random.Generator) -> None:
    folder.mkdir(parents=True)
    for split, count in (("train", 20), ("t10k", 10)):
        pixels, labels = rng.integers(0, 256, (count, 28, 28), dtype=np.uint8), np.arange(count, dtype=np.uint8) % 10
        head = struct.pack(">IIII", 0x803, count, 28, 28)
        (folder / f"{split}-images-idx3-ubyte").write_bytes(head + pixels.tobytes())
        (folder / f"{split}-labels-idx1-ubyte").write_bytes(struct.pack(">II", 0x801, count) + labels.tobytes())


def _bundle(place: Path) -> None:
    stage(place / "app")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of a library that Flower calls
        (place / "bundle.fab").write_bytes(build_fab_from_disk(place / "app"))
    shutil.rmtree(place / "app")
