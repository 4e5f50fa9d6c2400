"""A hospital's table, from its registration to the audit, and what an engineer may get wrong about its description."""

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from silogan.client.ledger.audit import audit
from silogan.client.ledger.policy import template
from silogan.client.ledger.register import Registration
from silogan.client.node.explanation import explain
from silogan.client.node.hospital import site_of
from silogan.client.node.node import Node, read_proposal
from silogan.client.node.preflight import preflight
from silogan.client.round import run_round
from silogan.common.config.scenario import parse_scenario
from silogan.common.errors import ConfigError, DataError, PrivacyRefusal
from silogan.common.modality.table_options import Table
from silogan.common.privacy.statistics.pairs import GROUPS
from silogan.common.wire.messages import Instruction, Weights
from silogan.common.wire.run_folder import RUN_FILE
from silogan.common.wire.study import SiteDeclaration, Study
from silogan.server.operations.submission import make_study

pytestmark = pytest.mark.usefixtures("one_thread")

SERVER, SITE, SIZE = "fl.example.org:9443", "bergen", 100
COLUMNS: dict[str, Any] = {
    "label": {"column": "outcome", "classes": {"well": 0, "ill": 1}},
    "patient": "id",
    "columns": {
        "age": {"type": "integer", "min": 18, "max": 99, "edges": [40, 60]},
        "sex": {"type": "binary", "values": ["female", "male"]},
        "dx": {"type": "codes", "values": ["E11", "I10", "J45"], "most": 2},
    },
}


def described(path: Path, **columns: dict[str, Any]) -> Path:
    path.write_text(yaml.safe_dump({**COLUMNS, "columns": COLUMNS["columns"] | columns}), encoding="utf-8")
    return path


def rows(path: Path, first: int = 0, count: int = 120) -> Path:
    """Two visits of each patient."""
    rng = random.Random(first)  # noqa: S311
    lines = [f"P{first + row // 2},{rng.randint(18, 99)},{rng.choice(('female', 'male'))},{rng.randrange(2)},"
             f"{rng.choice(('', 'E11', 'E11|I10'))}" for row in range(count)]  # fmt: skip
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n".join(["id,age,sex,outcome,dx", *lines]) + "\n", encoding="utf-8")
    return path


class Hospital:
    """A hospital with a CSV file, its description and a node in which the table is registered."""

    def __init__(self, folder: Path) -> None:
        self.file, self.columns = rows(folder / "data" / "visits.csv"), described(folder / "columns.yaml")
        self.node = Node.create(folder / "node", template(epsilon=10.0, delta=1e-4, unit="patient"))
        policy = self.node.folder / "policy.yaml"
        policy.write_text(policy.read_text("utf-8").replace("servers: []", f"servers: ['{SERVER}']"), "utf-8")
        self.add("visits", root=self.file)

    def add(self, name: str, **keys: Any) -> None:
        data = Table.model_validate({"columns": self.columns, "test_fraction": 0.0, **keys})
        self.node.add_cohort(name=name, site=SITE, data=data, declared_size=SIZE)

    @property
    def cohort(self) -> Registration:
        return self.node.register.get("visits")

    def study(self, columns: Path | None = None, **model: bool) -> Study:
        """As the coordinator makes it, who has the description and no data."""
        scenario = {
            "name": "visits",
            "data": {"source": "table", "columns": str(columns or self.columns)},
            "sites": {"count": 2},
            "model": {"family": "mixture", "singles_share": 0.25, **model},
            "training": {"rounds": 0},
            "privacy": {"epsilon": 8.0, "delta": 1e-4},
        }
        return make_study(parse_scenario(scenario), (SiteDeclaration(SITE, SIZE), SiteDeclaration("oslo", SIZE)))

    def approve(self, study: Study) -> None:
        self.node.approve(study, self.cohort, server=SERVER)

    def answer(self, study: Study, phase: str) -> Weights:
        """One release, asked for as a coordinator does: numbers are not cut anew."""
        sent = {GROUPS: torch.cat([torch.arange(b.stop - b.start).float() for b in study.schema.blocks])}
        site = site_of(self.node, study.study_id, self.cohort)
        asked = Instruction(study.study_id, study.plan.plan_id, phase, 1)
        return run_round(site, asked, sent if phase == "pairs" else {})[1]

    def kinds(self) -> list[str]:
        """What was done since the ledger was opened."""
        return [entry.content["kind"] for entry in self.node.ledger(self.cohort).entries()][1:]


@pytest.fixture
def hospital(tmp_path: Path) -> Hospital:
    return Hospital(tmp_path)


def test_a_table_is_registered_explained_approved_answered_and_audited(hospital: Hospital, tmp_path: Path) -> None:
    hospital.study().save(tmp_path)
    study = read_proposal(tmp_path / RUN_FILE)
    said = dict(explain(study, hospital.cohort, SERVER, hospital.node.cost(study, hospital.cohort, SERVER)))
    assert said["model"] == "mixture, table rows of 2 columns and 3 codes; nothing is trained on the data"
    assert said["columns"] == "age, sex, dx"
    assert said["singles"].startswith("noisy counts of the values of each column")
    assert said["pairs"].startswith("noisy counts of the values of each two columns")
    assert "image" not in " ".join(said.values())
    assert said["verdict"] == "allowed by the policy"
    hospital.approve(study)
    assert hospital.cohort.unit == "patient"
    for phase in ("singles", "pairs"):
        (released,) = hospital.answer(study, phase).values()
        assert released.abs().max() > 0
    assert hospital.kinds() == ["approve", "reserve", "settle", "reserve", "settle"]
    found = audit(hospital.node.ledger_paths()[0], public_key=hospital.node.key.public)
    assert found.findings == ()
    assert 7.5 < hospital.node.ledger(hospital.cohort).epsilon() <= 8.0


def test_a_hospital_is_told_that_rows_will_say_whose_they_are_like(hospital: Hospital) -> None:
    apart, together = hospital.study(by_hospital=True), hospital.study()
    assert apart.plan == together.plan  # what leaves is the same
    cost = hospital.node.cost(apart, hospital.cohort, SERVER)
    said, others = (dict(explain(one, hospital.cohort, SERVER, cost)) for one in (apart, together))
    assert said["hospitals"].startswith("rows will say which hospital they resemble; whoever has the generator sees")
    assert "hospitals" not in others
    assert apart.schema == together.schema == hospital.cohort.schema
    hospital.approve(apart)
    assert hospital.answer(apart, "singles")
    with pytest.raises(PrivacyRefusal):
        hospital.answer(together, "singles")  # another study, which was not approved


def test_nothing_need_be_held_out_at_a_hospital(hospital: Hospital) -> None:
    patients = sum(1 for _ in hospital.cohort.fingerprints)
    hospital.add("fewer", root=hospital.file, test_fraction=0.5)
    assert sum(1 for _ in hospital.node.register.get("fewer").fingerprints) < patients
    with pytest.raises(DataError, match="has no record that could take part"):
        hospital.add("none", root=hospital.file, test_fraction=1 - 1e-9)


def test_a_study_of_other_columns_is_refused_and_they_are_named(hospital: Hospital, tmp_path: Path) -> None:
    other = described(tmp_path / "other.yaml", age={"type": "integer", "min": 18, "max": 89})
    with pytest.raises(PrivacyRefusal, match=r"differ from the cohort's in shape or classes \(column 'age'\)"):
        hospital.approve(hospital.study(other))


@pytest.mark.parametrize("change", ["moved", "changed", "not YAML"])
def test_a_description_that_is_not_as_registered_costs_nothing(hospital: Hospital, tmp_path: Path, change: str) -> None:
    study = hospital.study()
    hospital.approve(study)
    changes: dict[str, Callable[[], object]] = {
        "moved": lambda: hospital.columns.rename(tmp_path / "elsewhere.yaml"),
        "changed": lambda: described(hospital.columns, sex={"type": "categorical", "values": ["female", "male", "x"]}),
        "not YAML": lambda: hospital.columns.write_text("columns: [", encoding="utf-8"),
    }
    changes[change]()
    with pytest.raises((ConfigError, DataError), match=r"registered \(column 'sex'\)|^description") as caught:
        hospital.answer(study, "singles")
    assert "\n" not in str(caught.value)
    assert hospital.kinds() == ["approve"]
    failed = [check for check in preflight(hospital.node.folder) if check.name == "data 'visits'" and not check.ok]
    assert len(failed) == 1


def test_a_table_moves_with_its_description(hospital: Hospital, tmp_path: Path) -> None:
    study = hospital.study()
    hospital.approve(study)
    file = hospital.file.rename(tmp_path / "moved.csv")
    columns = hospital.columns.rename(tmp_path / "moved.yaml")
    with pytest.raises(ConfigError, match=r"columns\.yaml'?: cannot be read"):
        hospital.node.relocate(hospital.cohort, root=file)
    other = described(tmp_path / "other.yaml", age={"type": "integer", "min": 0, "max": 99})
    with pytest.raises(DataError, match=r"another shape than registered \(column 'age'\)"):
        hospital.node.relocate(hospital.cohort, root=file, columns=other)
    before = hospital.cohort
    moved = hospital.node.relocate(before, root=file, columns=columns)
    assert moved == replace(before, data=before.data.model_copy(update={"root": file, "columns": columns}))
    hospital.answer(study, "singles")
    assert hospital.kinds() == ["approve", "reserve", "settle"]


def test_a_patient_in_two_files_of_a_hospital_is_one(hospital: Hospital) -> None:
    rows(hospital.file.with_name("ward-2.csv"))
    hospital.add("wards", root=hospital.file.parent)
    wards, visits = (hospital.node.register.get(name) for name in ("wards", "visits"))
    assert (wards.ledger, wards.fingerprints) == ("visits", visits.fingerprints)


def test_patients_are_known_whether_or_not_a_column_names_the_hospital(hospital: Hospital, tmp_path: Path) -> None:
    """They have one ledger: the description of another study may hold a column of hospitals, here all the same."""
    lines = hospital.file.read_text("utf-8").splitlines()
    with_site = [f"{line},{'hospital' if number == 0 else SITE}" for number, line in enumerate(lines)]
    (tmp_path / "with-site.csv").write_text("\n".join(with_site) + "\n", encoding="utf-8")
    columns = tmp_path / "with-site.yaml"
    columns.write_text(yaml.safe_dump({**COLUMNS, "site": "hospital"}), encoding="utf-8")
    hospital.add("again", root=tmp_path / "with-site.csv", columns=columns)
    assert hospital.node.register.get("again").ledger == "visits"


def test_rows_of_a_new_patient_are_left_out_and_those_of_a_patient_who_withdrew_are_gone(hospital: Hospital) -> None:
    study = hospital.study()
    hospital.approve(study)
    site = site_of(hospital.node, study.study_id, hospital.cohort)
    before = site.read_records()
    lines = hospital.file.read_text("utf-8").splitlines()
    kept = [line for line in lines if not line.startswith("P7,")]
    hospital.file.write_text("\n".join([*kept, "NEW,50,male,1,I10"]) + "\n", encoding="utf-8")
    after = site.read_records()
    assert len(after) == len(before) - 2
    assert {"P7", "NEW"}.isdisjoint(after.patient_names[code] for code in after.patients.tolist())
