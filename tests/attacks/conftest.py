"""A hospital as its engineer sets it up, and a coordinator that means harm."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from flwr.app import RecordDict

from silogan.client.ledger.audit import Audit, audit
from silogan.client.ledger.ledger import Ledger
from silogan.client.ledger.policy import template
from silogan.client.ledger.register import Registration
from silogan.client.node.hospital import Hospital
from silogan.client.node.joining import prepare_connection
from silogan.client.node.node import Node
from silogan.common.config.scenario import Unit, parse_scenario
from silogan.common.modality import Data
from silogan.common.modality.image_options import Digits
from silogan.common.models.networks import build, initialise
from silogan.common.models.weights import weights_of
from silogan.common.privacy.plan import make_plan
from silogan.common.wire.messages import Instruction, pack
from silogan.common.wire.study import SiteDeclaration, Study
from silogan.server.operations.authority import Authority
from tests.plans import phase_and_round

SERVER = "coordinator.example.org:9443"
SITE, DECLARED_SIZE = "bergen", 1000
EPSILON, DELTA = 8.0, 1e-4


@dataclass
class HospitalNode:
    """A hospital's folder, made through the same steps as `silogan node init` and an edit of the policy.

    Attributes:
        node: the folder.
        registration: its one cohort, scikit-learn's digits.
    """

    node: Node
    registration: Registration

    @property
    def hospital(self) -> Hospital:
        """The hospital as the coordinator meets it: one message in, one message out."""
        return Hospital(self.node.folder)

    @property
    def ledger(self) -> Ledger:
        """The cohort's ledger."""
        return self.node.ledger(self.registration)

    def audit(self) -> Audit:
        """What `silogan audit` finds."""
        return audit(self.node.ledger_paths()[0], public_key=self.node.key.public)

    def kinds(self) -> list[str]:
        """What was done since the ledger was opened, edits of the policy aside."""
        kinds = [entry.content["kind"] for entry in self.ledger.entries()][1:]
        return [kind for kind in kinds if kind != "policy"]

    def last_reason(self) -> str:
        """Why the last request was refused, as the ledger has it."""
        return self.ledger.entries()[-1].content["reason"]

    def write_policy(self, **changes: Any) -> None:
        """The hospital's engineer edits the policy."""
        path = self.node.folder / "policy.yaml"
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
        path.write_text(yaml.safe_dump({**values, **changes}), encoding="utf-8")

    def study(self, name: str = "study", *, seed: int | None = None, **sections: dict[str, Any]) -> Study:
        """An honest study for this hospital: four rounds of a tiny model, each in well under a second."""
        defaults: dict[str, dict[str, Any]] = {
            "model": {"latent_dim": 4, "width": 2},
            "training": {
                "rounds": 4,
                "local_steps": 1,
                "sample_rate": 0.25,
                "generator_batch_size": 4,
                "d_steps_per_g_step": 2,
                "device": "cpu",
            },
            "privacy": {"epsilon": EPSILON, "delta": DELTA, "noise_multiplier": 2.0},
        }
        merged = {key: {**defaults.get(key, {}), **sections.get(key, {})} for key in {**defaults, **sections}}
        scenario = parse_scenario({"name": name, "seed": seed, **merged})
        plan = make_plan(scenario, self.registration.unit)
        return Study(scenario, self.registration.schema, plan, (SiteDeclaration(SITE, DECLARED_SIZE),))

    def approve(self, study: Study, **options: Any) -> None:
        """The hospital's data protection officer agrees."""
        self.node.approve(study, self.registration, server=SERVER, **options)

    def ask(self, study: Study, number: int = 1, *, weights: int = 0, hospital: Hospital | None = None) -> RecordDict:
        """The answer to a request for a round; `weights` is the seed of what is sent with it."""
        gan = build(study.scenario.model, study.schema)
        initialise(gan, torch.Generator().manual_seed(weights))
        instruction = Instruction(study.study_id, study.plan.plan_id, *phase_and_round(number))
        sent = pack(weights_of(gan) if number else {})  # a warm start is asked for without weights
        return (hospital or self.hospital).answer(instruction.to_record(sent))


def answered(record: RecordDict) -> bool:
    """Whether a record is a reply, and no refusal."""
    return "weights" in record


MakeHospitalNode = Callable[..., HospitalNode]


@pytest.fixture(autouse=True)
def _one_thread(threads_kept: None) -> None:
    torch.set_num_threads(1)


def new_hospital_node(
    base: Path,
    *,
    data: Data | None = None,
    unit: Unit = "record",
    declared_size: int = DECLARED_SIZE,
    rehearsal: bool = False,
    **policy: Any,
) -> HospitalNode:
    """A hospital in a new folder."""
    base.mkdir(parents=True)
    node = Node.create(base / "node", template(epsilon=EPSILON, delta=DELTA, unit=unit))
    registration, _ = node.add_cohort(
        name="cohort", site=SITE, data=data or Digits(), declared_size=declared_size, rehearsal=rehearsal
    )
    prepare_connection(node.folder, registration, server=SERVER, ca=Authority.create(base).ca_pem)
    made = HospitalNode(node, registration)
    made.write_policy(servers=[SERVER], **policy)
    return made


@pytest.fixture
def make_hospital_node(tmp_path: Path) -> MakeHospitalNode:
    """`make_hospital_node(folder="hospital", **options)`: see `new_hospital_node`."""

    def make(*, folder: str = "hospital", **options: Any) -> HospitalNode:
        return new_hospital_node(tmp_path / folder, **options)

    return make


@pytest.fixture
def hospital_node(make_hospital_node: MakeHospitalNode) -> HospitalNode:
    """A hospital with scikit-learn's digits, a budget of ε = 8 and a coordinator that may ask."""
    return make_hospital_node()
