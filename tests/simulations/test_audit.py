"""Run folders: each site's ledger beside the plan, the heads and the rounds that the coordinator knows."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from silogan.client.ledger.ledger import Approval, Charge, Ledger
from silogan.client.ledger.policy import template
from silogan.client.node.node import Node
from silogan.client.simulated import SIMULATION, open_ledgers, simulated_site
from silogan.common.config.scenario import parse_scenario
from silogan.common.errors import PrivacyRefusal, UsageError
from silogan.common.modality.image import ImageSchema
from silogan.common.modality.image_options import Digits
from silogan.common.privacy.plan import make_plan
from silogan.common.wire.study import SiteDeclaration, Study
from silogan.server.rounds.checkpoint import Checkpoint
from silogan.simulations.audit import as_plain, audit_all
from tests.plans import with_phase

SITES = ("Bergen", "Oslo")


def study(**sections: Any) -> Study:
    """Two sites, rounds of three steps."""
    values: dict[str, Any] = {
        "name": "small",
        "sites": {"count": 2},
        "training": {"rounds": 4, "local_steps": 3},
        "privacy": {"noise_multiplier": 1.0, "epsilon": 20, "delta": 1e-5},
    }
    scenario = parse_scenario(values | sections)
    sites = tuple(SiteDeclaration(name, 700) for name in SITES)
    return Study(scenario, ImageSchema(8, 1, ("a", "b")), make_plan(scenario), sites)


@pytest.fixture
def run(tmp_path: Path) -> tuple[Study, Path]:
    """A run of two sites and two rounds of three steps."""
    small, run_dir = study(), tmp_path / "run"
    for folder in ("ledgers", "checkpoints"):
        (run_dir / folder).mkdir(parents=True)
    small.save(run_dir)
    open_ledgers(small, run_dir)
    for index in range(2):
        for number in (1, 2):
            ledger = ledger_of(small, run_dir, index)
            ledger.settle(ledger.reserve(Charge.of(small.plan, "training", number, small.study_id)), 3)
    know(small, run_dir, rounds=2)
    return small, run_dir


def ledger_of(small: Study, run_dir: Path, index: int) -> Ledger:
    ledger = simulated_site(small, run_dir, index).open_ledger()
    assert ledger is not None
    return ledger


def know(small: Study, run_dir: Path, rounds: int) -> None:
    """A checkpoint that has seen every ledger as it is now."""
    heads = {site: ledger_of(small, run_dir, index).head() for index, site in enumerate(SITES)}
    Checkpoint(small.study_id, rounds, {}, {}, ledger_heads=heads).save(run_dir)


def problems(run_dir: Path) -> list[tuple[str, int, str]]:
    return [
        (found.name, finding.entry, finding.problem) for found in audit_all([run_dir]) for finding in found.findings
    ]


def test_every_site_of_a_run_is_audited(run: tuple[Study, Path]) -> None:
    small, run_dir = run
    plain = as_plain(audit_all([run_dir]))
    assert json.loads(json.dumps(plain)) == plain
    assert (plain["ok"], plain["findings"]) == (True, [])
    assert [cohort["name"] for cohort in plain["cohorts"]] == list(SITES)
    assert {cohort["epsilon_prv"] for cohort in plain["cohorts"]} == {small.plan.epsilon_after("training", 2)}


def test_ledger_by_itself_and_run_folder_together(run: tuple[Study, Path]) -> None:
    _, run_dir = run
    found = audit_all([run_dir / "ledgers" / "Oslo.sqlite", run_dir])
    assert [one.name for one in found] == ["Oslo", "Bergen", "Oslo"]


def test_end_that_was_cut_off_is_found(run: tuple[Study, Path]) -> None:
    small, run_dir = run
    path = run_dir / "ledgers" / "Oslo.sqlite"
    older = path.read_bytes()
    ledger_of(small, run_dir, 1).settle(
        ledger_of(small, run_dir, 1).reserve(Charge.of(small.plan, "training", 3, small.study_id)), 0
    )
    know(small, run_dir, rounds=2)
    path.write_bytes(older)
    ((site, entry, problem),) = problems(run_dir)
    assert (site, entry) == ("Oslo", 0)
    assert "others have seen" in problem


def test_ledger_that_is_gone_is_found(run: tuple[Study, Path]) -> None:
    _, run_dir = run
    (run_dir / "ledgers" / "Bergen.sqlite").unlink()
    assert problems(run_dir) == [("Bergen", 0, "is missing")]


def test_ledger_that_cannot_be_read_does_not_hide_the_others(run: tuple[Study, Path]) -> None:
    _, run_dir = run
    (run_dir / "ledgers" / "Bergen.sqlite").write_bytes(b"date,patient\n" * 999)
    ((site, entry, problem),) = problems(run_dir)
    assert (site, entry) == ("Bergen", 0)
    assert "cannot be used" in problem


def test_more_rounds_than_were_charged_are_found(run: tuple[Study, Path]) -> None:
    small, run_dir = run
    know(small, run_dir, rounds=5)
    assert problems(run_dir) == [(site, 0, "charges 6 steps, but the run took 15") for site in SITES]


def test_plan_that_was_not_approved_is_found(run: tuple[Study, Path]) -> None:
    small, run_dir = run
    ledger_of(small, run_dir, 0).reject(small.study_id, small.plan.plan_id, "no longer")
    other = replace(small, plan=with_phase(small.plan, noise_multiplier=2.0))
    ledger_of(small, run_dir, 1).approve(Approval(small.study_id, other.plan, "dcgan", SIMULATION))
    missing = "contains no approval of the run's plan"
    assert problems(run_dir) == [("Bergen", 0, missing), ("Oslo", 0, missing)]


def test_nothing_to_audit_is_said(tmp_path: Path) -> None:
    for missing in (tmp_path, tmp_path / "ledger.sqlite"):
        with pytest.raises(UsageError):
            audit_all([missing])


def test_run_without_privacy_has_nothing_to_audit(tmp_path: Path) -> None:
    without = study(privacy={"enabled": False})
    without.save(tmp_path)
    with pytest.raises(PrivacyRefusal, match="NON-PRIVATE"):
        audit_all([tmp_path])


def test_damaged_key_is_a_finding_of_its_site(run: tuple[Study, Path]) -> None:
    _, run_dir = run
    (run_dir / "ledgers" / "Bergen.key").write_bytes(b"no key")
    ((site, entry, problem),) = problems(run_dir)
    assert (site, entry) == ("Bergen", 0)
    assert "not an Ed25519 key" in problem


def test_node_is_audited_by_its_register(tmp_path: Path) -> None:
    node = Node.create(tmp_path / "node", template(epsilon=1.0, delta=1e-4, unit="record"))
    node.add_cohort(name="digits", site="bergen", data=Digits(), declared_size=1000)
    node.add_cohort(name="copy", site="bergen", data=Digits(), declared_size=1000)
    (found,) = audit_all([node.folder])
    assert (found.name, found.findings, found.epsilon_budget) == ("digits", (), 1.0)
    (path,) = node.ledger_paths()
    path.unlink()
    assert problems(node.folder) == [("digits", 0, "is missing")]


def test_device_is_no_ledger() -> None:
    with pytest.raises(UsageError, match="is not a file"):
        audit_all([Path("/dev/null")])


def warm(tmp_path: Path, **changes: Any) -> Path:
    """A run of which each ledger holds a warm start, changed or not, and one round."""
    small, run_dir = (
        study(training={"rounds": 4, "local_steps": 3, "warm_start": {"noise_multiplier": 2.0}}),
        tmp_path / "warm",
    )
    for folder in ("ledgers", "checkpoints"):
        (run_dir / folder).mkdir(parents=True)
    small.save(run_dir)
    open_ledgers(small, run_dir)
    for index in range(2):
        ledger = ledger_of(small, run_dir, index)
        charge = replace(Charge.of(small.plan, "statistics", 1, small.study_id), **changes)
        ledger.settle(ledger.reserve(charge), charge.steps)
        ledger.settle(ledger.reserve(Charge.of(small.plan, "training", 1, small.study_id)), 3)
    know(small, run_dir, rounds=1)
    return run_dir


def test_warm_start_is_part_of_what_is_audited(tmp_path: Path) -> None:
    run_dir = warm(tmp_path)
    plain = as_plain(audit_all([run_dir]))
    assert (plain["ok"], plain["findings"]) == (True, [])
    plan = Study.load(run_dir).plan
    assert {cohort["epsilon_prv"] for cohort in plain["cohorts"]} == {plan.epsilon_after("training", 1)}
    assert plan.epsilon_after("training", 1) != study().plan.epsilon_after("training", 1)


@pytest.mark.parametrize("change", [{"noise_multiplier": 1.5}, {"round": 2}, {"clip_norm": 0.5}])
def test_warm_start_that_was_not_approved_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, float]
) -> None:
    with monkeypatch.context() as careless:
        careless.setattr("silogan.client.ledger.ledger.Approval.forbids", lambda *_: None)
        run_dir = warm(tmp_path, **change)
    (name,) = change
    what = "asks for round 2 of statistics where 1" if name == "round" else f"differs from what was approved in {name}"
    found = problems(run_dir)
    assert [site for site, _, _ in found] == list(SITES)
    assert all(what in problem for _, _, problem in found)
