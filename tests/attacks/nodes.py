"""A hospital's node as it is in the field, with a folder of images and a manifest, that has approved a tiny study."""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from flwr.app import RecordDict
from flwr.common.serde import recorddict_to_proto
from PIL import Image

from silogan.client.ledger.policy import template
from silogan.client.ledger.register import Registration
from silogan.client.node.hospital import Hospital
from silogan.client.node.joining import prepare_connection
from silogan.client.node.node import Node
from silogan.common.config.scenario import parse_scenario
from silogan.common.modality.image_options import Folder
from silogan.common.models.networks import build, initialise
from silogan.common.models.weights import weights_of
from silogan.common.privacy.plan import make_plan
from silogan.common.wire.messages import Instruction, Weights, pack
from silogan.common.wire.study import SiteDeclaration, Study
from silogan.server.operations.authority import Authority
from tests.plans import phase_and_round

SERVER = "127.0.0.1:1"  # where nobody listens
CLASSES = ("benign", "malignant")
DECLARED = 40


@dataclass
class Ward:
    """A hospital's images, its node, and the study that it takes part in.

    Attributes:
        root: the folder of images.
        manifest: whose they are.
        node: the node's folder.
        registration: the cohort.
        study: approved for `SERVER`.
    """

    root: Path
    manifest: Path
    node: Node
    registration: Registration
    study: Study

    def rows(self) -> list[tuple[str, str]]:
        """File and patient of each line of the manifest."""
        with self.manifest.open(encoding="utf-8", newline="") as file:
            return [(file, patient) for file, patient in list(csv.reader(file))[1:]]

    def write_rows(self, rows: list[tuple[str, str]]) -> None:
        """Writes the manifest anew."""
        with self.manifest.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([("file", "patient"), *rows])

    def withdraw(self, file: str) -> None:
        """A patient withdraws: the image goes, and its line."""
        (self.root / file).unlink()
        self.write_rows([row for row in self.rows() if row[0] != file])

    def ask(self, number: int = 1, weights: Weights | None = None, **header: Any) -> RecordDict:
        """What the coordinator sends for a round."""
        sent = weights if weights is not None else {} if number == 0 else weights_for(self.study)
        return Instruction(self.study.study_id, self.study.plan.plan_id, *phase_and_round(number), **header).to_record(
            pack(sent)
        )

    def answer(self, number: int = 1) -> RecordDict:
        """What a node that has just been started answers."""
        return Hospital(self.node.folder).answer(self.ask(number))


def make_ward(folder: Path, counts: Mapping[str, int] | None = None, **training: Any) -> Ward:
    """A ward with as many patients of each class, with an image each, and two more of each for the test split."""
    root, manifest = folder / "images", folder / "patients.csv"
    rows = [row for label, name in enumerate(CLASSES) for row in _draw(root, label, (counts or {}).get(name, 20))]
    node = Node.create(folder / "node", template(epsilon=9.0, delta=1e-4, unit="patient"))
    policy = node.folder / "policy.yaml"
    values = yaml.safe_load(policy.read_text(encoding="utf-8"))
    policy.write_text(yaml.safe_dump({**values, "servers": [SERVER]}), encoding="utf-8")
    scenario = parse_scenario(
        {
            "name": "tiny",
            "seed": None,
            "model": {"latent_dim": 4, "width": 2},
            "training": {
                **{"rounds": 4, "local_steps": 1, "sample_rate": 0.25, "generator_batch_size": 4, "device": "cpu"},
                **training,
            },
            "privacy": {"epsilon": 8.0, "delta": 1e-4, "noise_multiplier": 1.0, "unit": "patient"},
        }
    )
    data = Folder(root=root, classes=CLASSES, patients=manifest)
    with manifest.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("file", "patient"), *rows])
    registration, _ = node.add_cohort(name="xrays", site="bergen", data=data, declared_size=DECLARED)
    prepare_connection(node.folder, registration, server=SERVER, ca=Authority.create(folder).ca_pem)
    roster = (SiteDeclaration("bergen", DECLARED),)
    study = Study(scenario, registration.schema, make_plan(scenario, "patient"), roster)
    node.approve(study, registration, server=SERVER)
    return Ward(root, manifest, node, registration, study)


def weights_for(study: Study, seed: int = 0) -> Weights:
    """Fresh weights of both networks."""
    gan = build(study.scenario.model, study.schema)
    initialise(gan, torch.Generator().manual_seed(seed))
    return weights_of(gan)


def on_the_wire(record: RecordDict) -> bytes:
    """The bytes that leave."""
    return recorddict_to_proto(record).SerializeToString(deterministic=True)


def _draw(root: Path, label: int, count: int) -> list[tuple[str, str]]:
    """Draws the images of one class; file and patient of each."""
    rng, rows = np.random.default_rng(label), list[tuple[str, str]]()
    for split, number in (("train", count), ("test", 2)):
        folder = root / split / CLASSES[label]
        folder.mkdir(parents=True)
        for index in range(number):
            path = folder / f"{index:04d}.png"
            Image.fromarray(rng.integers(0, 256, (8, 8), dtype=np.uint8)).save(path)
            rows.append((path.relative_to(root).as_posix(), f"{split}-{label}-{index}"))
    return rows
