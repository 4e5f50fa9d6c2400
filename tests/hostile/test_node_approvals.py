"""Who approved a study, when and why; and two people where the policy asks for two."""

from pathlib import Path

import pytest

from silogan.client.ledger.audit import audit
from silogan.client.ledger.chain import Chain
from silogan.client.ledger.statement import state
from silogan.client.node.node import Node
from silogan.common.errors import ConfigError, PrivacyRefusal
from silogan.common.privacy.plan import canonical_json
from tests.ledger_faults.hospital import DECLARED_SIZE, DIGITS, SITE, Hospital, assert_clean, policy_text


@pytest.fixture
def hospital(tmp_path: Path) -> Hospital:
    node = Node.create(tmp_path / "node", policy_text(approvers=2))
    node.add_cohort(name="digits", site=SITE, data=DIGITS, declared_size=DECLARED_SIZE)
    return Hospital(node, "digits")


def test_one_of_two_approvers_is_not_enough(hospital: Hospital) -> None:
    study = hospital.study()
    with pytest.raises(PrivacyRefusal, match="names no approver"):
        hospital.approve(study)
    for name in ("Dr. Berg", " dr.  BERG "):
        hospital.approve(study, approver=name, reason="ethics vote 17/26")
        with pytest.raises(PrivacyRefusal, match="not approved"):
            hospital.round(study)
    hospital.approve(study, approver="data protection officer")
    hospital.round(study)
    kinds = [kind for kind in hospital.kinds() if kind != "refuse"]
    assert kinds == ["endorse", "endorse", "approve", "reserve", "settle"]
    first, *_, last = state(hospital.ledger.entries()).decisions
    assert (first.decision, first.approver, first.reason) == ("endorse", "Dr. Berg", "ethics vote 17/26")
    assert (last.decision, last.approver, last.created[:2]) == ("approve", "data protection officer", "20")
    assert_clean(hospital)


def test_a_rejection_in_between_begins_anew(hospital: Hospital) -> None:
    study = hospital.study()
    hospital.approve(study, approver="a")
    hospital.node.reject(study, hospital.node.register.get(None), "not yet")
    hospital.approve(study, approver="b")
    assert hospital.kinds() == ["endorse", "reject", "endorse"]
    hospital.approve(study, approver="a")
    assert hospital.kinds()[-1] == "approve"
    assert_clean(hospital)


def test_an_auditor_sees_an_approval_of_too_few(hospital: Hospital) -> None:
    study = hospital.study()
    hospital.approve(study, approver="a")
    endorsement = hospital.ledger.entries()[-1].content
    with Chain(hospital.path, hospital.node.key).transaction() as book:
        book.append({**endorsement, "kind": "approve"})
    (finding,) = audit(hospital.path, public_key=hospital.node.key.public).findings
    assert "fewer approvers" in finding.problem


def test_an_approver_is_a_printable_line(hospital: Hospital) -> None:
    for wrong in ("x" * 201, "a\x1b[2J"):
        with pytest.raises(ConfigError, match="approver: is not one printable line"):
            hospital.approve(hospital.study(), approver=wrong)
    assert hospital.kinds() == []


def test_an_approval_of_before_names_nobody_and_holds(tmp_path: Path) -> None:
    node = Node.create(tmp_path / "node", policy_text())
    node.add_cohort(name="digits", site=SITE, data=DIGITS, declared_size=DECLARED_SIZE)
    hospital = Hospital(node, "digits")
    study = hospital.study()
    hospital.approve(study)
    content = hospital.ledger.entries()[-1].content
    older = {name: value for name, value in content.items() if name not in ("approver", "reason")}
    with Chain(hospital.path, node.key).transaction() as book:
        assert "approver" not in canonical_json(older)
        book.append(older)
    hospital.round(study)
    assert_clean(hospital)
