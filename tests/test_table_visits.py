"""Patients with several visits in tables: one unit each, from the files to the ledger, the report and the audit."""

import html
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from silogan.client.data import read
from silogan.client.data.positions import load_positions
from silogan.client.ledger.page import write_page
from silogan.client.mechanism import Patients, Randomness, Terms
from silogan.common.config.scenario import Scenario, parse_scenario
from silogan.common.modality import Stored
from silogan.common.modality.table import Category, Number, TableSchema
from silogan.common.privacy.statistics import Pairs, Singles, Statistic
from silogan.common.privacy.statistics.pairs import GROUPS
from silogan.common.wire.run_folder import PARTITION_FILE, REPORT_FILE, REPORT_PAGE
from silogan.common.wire.study import declared_size
from silogan.simulations.attacks.empirical import audit_one_run
from silogan.simulations.audit import audit_all
from silogan.simulations.partition import PARTITIONS
from silogan.simulations.planner import outlook
from silogan.simulations.prepare import prepare
from silogan.simulations.simulate import simulate

pytestmark = pytest.mark.usefixtures("threads_kept", "one_thread")

DESCRIPTION = """
patient: id
missing: [-9]
label: {column: state, classes: [well, ill]}
columns:
  number: {type: integer, min: 0, max: 999}
  pressure: {type: integer, min: 60, max: 240, edges: [90, 120, 150, 180]}
  smoker: {type: binary, values: ["no", "yes"], optional: true}
"""
MOST_VISITS, PATIENTS = 5, 60


def visits(hospital: int) -> Iterator[tuple[str, str]]:
    """The file and the row of each visit; patient n has 1 + n mod 5, in two files by turns.

    The later file writes a patient's name as a spreadsheet does that has seen an empty cell.
    """
    for patient in range(PATIENTS):
        for visit in range(1 + patient % MOST_VISITS):
            late = (visit + patient + hospital) % 2
            name, smoker, state = (f"{patient}", f"{patient}.0")[late], ("", "no")[visit % 2], ("well", "ill")[late]
            yield ("2023", "2024")[late], f"{name},{patient},{100 + 7 * visit + patient},{smoker},{state}"


@pytest.fixture(scope="module")
def wards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two hospitals with two files each, whose patients have the same numbers."""
    folder = tmp_path_factory.mktemp("wards")
    (folder / "columns.yaml").write_text(DESCRIPTION, encoding="utf-8")
    for hospital, name in enumerate(("bergen", "oslo")):
        (folder / "data" / name).mkdir(parents=True)
        for file in ("2023", "2024"):
            rows = [row for its, row in visits(hospital) if its == file]
            text = "\n".join(["id,number,pressure,smoker,state", *rows, ""])
            (folder / "data" / name / f"{file}.csv").write_text(text, encoding="utf-8")
    return folder


def scenario(wards: Path, **sections: Any) -> Scenario:
    return parse_scenario(
        {
            "name": "visits",
            "seed": 1,
            "data": {"source": "table", "root": wards / "data", "columns": wards / "columns.yaml"},
            "sites": {"count": 2, "partition": "natural"},
            "model": {"family": "mixture", "components": 8, "steps": 50},
            "training": {"rounds": 0},
            "privacy": {"epsilon": 5.0, "delta": 1e-4, "records_per_patient": MOST_VISITS},
            "evaluation": {"enabled": False},
            **sections,
        }
    )


# --- from the files to the hospitals ---------------------------------------------------------------------------------


def test_no_patient_is_in_both_splits(wards: Path) -> None:
    found = read(scenario(wards).data)
    assert found.site_names == ("bergen", "oslo")
    trained, tested = (set(part.stored["number"].tolist()) for part in (found.train, found.test))
    assert trained.isdisjoint(tested)
    assert len(trained) + len(tested) == PATIENTS
    for part in (found.train, found.test):
        assert part.patients is not None
        assert part.sites is not None
        numbers = part.stored["number"].long()
        for code in part.patients.unique():
            own = part.patients == code
            assert numbers[own].unique().numel() == part.sites[own].unique().numel() == 1
            assert int(own.sum()) == 1 + int(numbers[own][0]) % MOST_VISITS, "all visits, of both files"


@pytest.mark.parametrize("partition", PARTITIONS)
def test_no_partition_cuts_a_patient_apart(wards: Path, tmp_path: Path, partition: str) -> None:
    asked = scenario(wards, sites={"count": 2, "partition": partition})
    study, patients = prepare(asked, tmp_path), read(asked.data).train.patients
    assert patients is not None
    parts = [patients[load_positions(tmp_path / PARTITION_FILE, site)].unique() for site in range(2)]
    assert torch.cat(parts).sort().values.equal(patients.unique())
    assert study.plan.unit == "patient"
    assert [site.declared_size for site in study.sites] == [declared_size(len(part)) for part in parts]


# --- what a patient adds ---------------------------------------------------------------------------------------------

SCHEMA = TableSchema(
    ("well", "ill"),
    (
        Number("number", "age", 0, 99, 1.0, edges=(20.0, 40.0, 60.0)),
        Category("category", "sex", ("f", "m"), (("0",), ("1",)), optional=True),
        Number("number", "dose", 0, 1, edges=(0.5,)),
    ),
)
CELLS = (4, 3, 2)


def stored(count: int, seed: int) -> tuple[Stored, Tensor]:
    rng = torch.Generator().manual_seed(seed)
    ages, sexes = torch.randint(100, (count,), generator=rng), torch.randint(2, (count,), generator=rng).double()
    sexes[torch.rand(count, generator=rng) < 0.3] = torch.nan
    values = {"age": ages.double(), "sex": sexes, "dose": torch.rand(count, generator=rng).double()}
    return values, torch.randint(2, (count,), generator=rng)


def released(of: Statistic, rows: Stored, labels: Tensor, patients: Tensor | None, most: int) -> Tensor:
    """What leaves a hospital, with next to no noise."""
    terms = Terms(sample_rate=1.0, clip_norm=1.0, noise_multiplier=1e-9, records_per_patient=most, block=32)
    how = {"encode": SCHEMA.encode, "terms": terms, "randomness": Randomness.secure()}
    return Patients(rows, labels, patients, **how).noisy_statistic(of.placed, of.slots, of.width)


@st.composite
def statistics(draw: st.DrawFn) -> Statistic:
    """Singles, or pairs by groups that a hostile coordinator may have sent."""
    if draw(st.booleans()):
        return Singles(SCHEMA)
    wanted = [draw(st.lists(st.integers(0, cells - 1), min_size=cells, max_size=cells)) for cells in CELLS]
    groups = [sorted(set(of_column)).index(group) for of_column in wanted for group in of_column]
    return Pairs(SCHEMA, {GROUPS: torch.tensor(groups).float()}, by_class=draw(st.booleans()))


@given(statistics(), st.integers(1, 12), st.integers(1, 6), st.integers(0, 2**32 - 1))
def test_a_patient_adds_at_most_one_whatever_was_sent(of: Statistic, count: int, most: int, seed: int) -> None:
    rows, labels = stored(count, seed)
    alone = released(of, rows, labels, torch.zeros(count, dtype=torch.int64), most)
    assert 0 < float(alone.norm()) <= 1


@given(statistics(), st.lists(st.integers(0, 4), min_size=1, max_size=12), st.integers(0, 2**32 - 1))
def test_a_sum_with_a_patient_is_at_most_one_from_that_without(of: Statistic, codes: list[int], seed: int) -> None:
    (rows, labels), patients = stored(len(codes), seed), torch.tensor(codes)
    others = patients != patients[0]
    rest = {name: part[others] for name, part in rows.items()}
    whole = released(of, rows, labels, patients, len(codes))
    assert float((whole - released(of, rest, labels[others], patients[others], len(codes))).norm()) <= 1


def test_that_bound_is_missed_where_visits_are_accounted_by_themselves() -> None:
    rows, labels = stored(1, 0)
    five = {name: part.repeat(5) for name, part in rows.items()}
    together = [
        float(released(Singles(SCHEMA), five, labels.repeat(5), patients, 5).norm())
        for patients in (torch.zeros(5, dtype=torch.int64), None)
    ]
    assert together == pytest.approx([63 / 64, 5 * 63 / 64], abs=1e-3)


@pytest.mark.parametrize("most", [1, 2, 9])
def test_counts_hold_patients_however_often_they_came(most: int) -> None:
    (rows, labels), patients = stored(40, 3), torch.arange(40) % 15 // 2
    of = Singles(SCHEMA)
    counts = of.counts(released(of, rows, labels, patients, most), 0.0).counts
    for block in SCHEMA.blocks:
        assert float(counts[:, block].sum()) == pytest.approx(8, abs=1e-3)


# --- what plan, report and ledger say -------------------------------------------------------------------------------


def test_plan_report_and_ledger_say_patient_and_k(wards: Path, tmp_path: Path) -> None:
    asked = scenario(wards)
    run, page = tmp_path / "run", tmp_path / "audit.html"
    simulate(asked, run)
    expected = outlook(asked, None)
    assert (expected.unit, expected.records_per_patient) == ("patient", MOST_VISITS)
    report = json.loads((run / REPORT_FILE).read_bytes())
    assert expected.records == sum(site["declared_size"] for site in report["sites"])
    assert {site["unit"] for site in report["sites"]} == {"patient"}
    assert {phase["records_per_patient"] for phase in report["phases"]} == {MOST_VISITS}
    told = " ".join(html.unescape((run / REPORT_PAGE).read_text(encoding="utf-8")).split())
    assert "adding or removing any one patient's records" in told
    assert "record level" not in told.lower()
    audits = audit_all([run])
    assert len(audits) == 2
    for found in audits:
        assert found.statement is not None
        assert (found.findings, found.unit) == ((), "patient")
        assert {phase.records_per_patient for one in found.statement.runs for phase in one.phases} == {MOST_VISITS}
    write_page(audits, page, datetime.now(UTC))
    assert "Unit of privacy: </strong>the patient" in page.read_text(encoding="utf-8")


# --- what canaries show ---------------------------------------------------------------------------------------------

CANARIES = 4000
"""Of 40,000 simulated audits of a release of ε = 5, in each patients' bound was between 1.9 and 4.0, and where five
visits were accounted one by one it was 8.98, the most that so many can show."""


def test_visits_of_a_patient_show_no_more_than_one_unless_each_is_accounted_by_itself(wards: Path) -> None:
    by_patient = scenario(wards)
    privacy = {"epsilon": 5.0, "delta": 1e-4, "unit": "record"}
    patients = audit_one_run(by_patient, canaries=CANARIES)
    records = audit_one_run(scenario(wards, privacy=privacy), canaries=CANARIES, records_per_canary=MOST_VISITS)
    assert (patients.unit, records.unit) == ("patient", "record")
    assert patients.records_per_canary == records.records_per_canary == MOST_VISITS
    assert patients.epsilon_analytic == records.epsilon_analytic == pytest.approx(5, abs=0.02)
    assert patients.holds
    assert patients.epsilon_lower_bound > 1.5
    assert 0.77 < patients.auc < 0.85
    assert not records.holds
    assert records.epsilon_lower_bound == records.largest_lower_bound > 8
