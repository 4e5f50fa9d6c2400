"""The release gate: each requirement refuses by itself, and all reasons are told."""

from dataclasses import replace
from typing import Any

import pytest

from silogan.common.config.scenario import parse_scenario
from silogan.common.errors import ConfigError, PrivacyRefusal, VerificationError
from silogan.common.modality.image import ImageSchema
from silogan.common.privacy.plan import make_plan
from silogan.common.wire.study import SiteDeclaration, Study
from silogan.server.release.datasheet import Datasheet
from silogan.server.release.gate import Evidence, Requirement, examine, require
from silogan.server.release.sealed import Accepted

SITES = ("Bergen", "Oslo")
SHEET = Datasheet(purpose="p", collection="c", approvals="a", intended_use="i", licence="l", contact="c")
REPORT: dict[str, Any] = {
    "private": True,
    "classes": ["a", "b"],
    "utility": {"auroc_synthetic": 0.94, "auroc_real": 0.95, "per_class_recall_synthetic": [0.9, 0.9]},
    "fidelity": {"coverage": 0.8},
    "memorisation": {"measured": True, "passed": True, "findings": [], "reason": None},
}


def study(**privacy: Any) -> Study:
    values = {"name": "small", "sites": {"count": 2}, "privacy": {"epsilon": 10, "delta": 1e-4, **privacy}}
    scenario = parse_scenario(values)
    sites = tuple(SiteDeclaration(name, 700) for name in SITES)
    return Study(scenario, ImageSchema(8, 1, ("a", "b")), make_plan(scenario), sites)


def cohort(name: str, **changes: Any) -> dict[str, Any]:
    figures = {"unit": "record", "delta": 1e-4, "epsilon_budget": 10.0, "epsilon_prv": 9.9, "epsilon_filter": None}
    return {"name": name, **figures, **changes}


def audit(*cohorts: dict[str, Any], findings: tuple[dict[str, Any], ...] = ()) -> dict[str, Any]:
    return {"ok": not findings, "findings": list(findings), "cohorts": list(cohorts or map(cohort, SITES))}


CLEAN = Evidence(study(), True, REPORT, (), audit(), SHEET, None)


def refused(evidence: Evidence) -> dict[str, tuple[str, ...]]:
    return {one.name: one.reasons for one in examine(evidence) if not one.met}


def test_a_clean_run_may_be_released() -> None:
    found = examine(CLEAN)
    assert refused(CLEAN) == {}
    assert [one.name for one in found] == [
        "artefacts", "privacy", "ledgers", "budget", "verdict", "memorisation", "data sheet",
    ]  # fmt: skip
    assert all(one.told for one in found)
    require(found, "release")


TAMPERED = {"cohort": "Oslo", "entry": 3, "problem": "is not signed by the site's key"}
COPIED = {"measured": True, "passed": False, "findings": ["100% are copies"], "reason": None}


@pytest.mark.parametrize(
    ("changes", "name", "reason", "kind"),
    [
        ({"missing": ("report.json is of another study",)}, "artefacts", "another study", VerificationError),
        ({"study": study(enabled=False)}, "privacy", "NON-PRIVATE", PrivacyRefusal),
        ({"audit": audit(findings=(TAMPERED,))}, "ledgers", "Oslo: entry 3 is not signed", VerificationError),
        ({"audit": audit(cohort("Bergen"))}, "ledgers", "Oslo: no audited ledger", VerificationError),
        (
            {"audit": audit(cohort("Bergen"), cohort("Oslo", epsilon_prv=None))},
            "ledgers",
            "Oslo: no audited ledger",
            VerificationError,
        ),
        (
            {"audit": audit(cohort("Bergen"), cohort("Oslo", epsilon_prv=10.4))},
            "budget",
            "Oslo: ε = 10.4 was spent of a budget of 10",
            PrivacyRefusal,
        ),
        (
            {"audit": audit(cohort("Bergen"), cohort("Oslo", epsilon_prv=9.0, epsilon_filter=12.0))},
            "budget",
            "Oslo: ε = 12 was spent",
            PrivacyRefusal,
        ),
        ({"report": {**REPORT, "fidelity": {"coverage": 0.01}}}, "verdict", "failed: ", VerificationError),
        ({"report": {**REPORT, "memorisation": COPIED}}, "memorisation", "100% are copies", PrivacyRefusal),
        (
            {"report": {**REPORT, "memorisation": {"measured": False, "passed": None, "reason": "it is off"}}},
            "memorisation",
            "not measured: it is off",
            PrivacyRefusal,
        ),
        (
            {"report": {name: value for name, value in REPORT.items() if name != "memorisation"}},
            "memorisation",
            "of an older version",
            PrivacyRefusal,
        ),
        ({"datasheet": ConfigError("sheet", "says nothing of licence", "fill it in")}, "data sheet", "licence", None),
    ],
    ids=range(12),
)
def test_each_requirement_refuses_by_itself(
    changes: dict[str, Any], name: str, reason: str, kind: type[Exception] | None
) -> None:
    evidence = replace(CLEAN, **changes)
    found = refused(evidence)
    assert list(found) == [name]
    assert reason in found[name][0]
    with pytest.raises(kind or VerificationError, match="is refused for 1 reason"):
        require(examine(evidence), "release")


def test_every_reason_is_told_and_one_of_privacy_decides_the_exit_code() -> None:
    worst = replace(
        CLEAN,
        missing=("generator.safetensors is missing",),
        audit=audit(cohort("Bergen", epsilon_prv=11.0), findings=(TAMPERED,)),
        datasheet=ConfigError("sheet", "says nothing of licence", "fill it in"),
    )
    assert list(refused(worst)) == ["artefacts", "ledgers", "budget", "data sheet"]
    with pytest.raises(PrivacyRefusal, match="is refused for 4 reasons, first of budget: Bergen"):
        require(examine(worst), "release")


def test_the_verdict_is_computed_again_and_not_believed() -> None:
    report = {**REPORT, "fidelity": {"coverage": 0.01}, "verdict": {"word": "usable", "reasons": ["trust me"]}}
    assert list(refused(replace(CLEAN, report=report))) == ["verdict"]


def test_a_verdict_can_be_accepted_by_name_and_nothing_else_can() -> None:
    weak = replace(CLEAN, report={**REPORT, "fidelity": {"coverage": 0.2}}, accepted=Accepted("Dr Berg", "teaching"))
    assert refused(weak) == {}
    assert "accepted by Dr Berg: teaching" in next(one.told for one in examine(weak) if one.name == "verdict")
    copied = replace(weak, report={**REPORT, "memorisation": COPIED})
    assert list(refused(copied)) == ["memorisation"]


def test_at_real_hospitals_what_cannot_be_measured_is_said_and_the_verdict_needs_a_name() -> None:
    real = replace(CLEAN, simulation=False, report=None)
    assert list(refused(real)) == ["verdict"]
    accepted = replace(real, accepted=Accepted("Dr Berg", "judged by two radiologists"))
    assert refused(accepted) == {}
    told = next(one.told for one in examine(accepted) if one.name == "memorisation")
    assert told == "not measured: real hospitals' records cannot be compared with; the guarantee is ε"


def test_a_simulation_without_a_report_is_not_taken_for_real_hospitals() -> None:
    found = refused(replace(CLEAN, report=None))
    assert found["memorisation"] == ("not measured: there is no report",)
    assert found["verdict"][0].startswith("unmeasured: there is no report")


def test_reasons_are_one_line_each_whatever_a_ledger_says() -> None:
    evil = {"cohort": "Oslo\x1b[2J", "entry": 0, "problem": "is\nbad"}
    (reason, *_) = refused(replace(CLEAN, audit=audit(findings=(evil,))))["ledgers"]
    assert reason == "Oslo\\x1b[2J: the ledger is bad"


def test_what_is_met_has_no_reasons() -> None:
    assert Requirement("a", (), "fine").met
    assert not Requirement("a", ("bad",), "").met
