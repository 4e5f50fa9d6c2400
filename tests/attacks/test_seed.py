"""The coordinator chooses the noise: a study with a seed, under a plan that says it has none.

Once it passed plan, approval and policy, since nobody compared the plan with the scenario, and the clipped sum could be
read to 0.03.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from silogan.client.ledger.chain import Chain
from silogan.client.node.node import read_proposal
from silogan.common.errors import ConfigError, PrivacyRefusal, SiloganError
from silogan.common.wire.run_folder import RUN_FILE
from silogan.common.wire.study import Study
from tests.attacks.conftest import SERVER, HospitalNode, MakeHospitalNode, answered


def hidden_seed(hospital_node: HospitalNode) -> Study:
    """A seed in the scenario, none in the plan, and the right hash over both."""
    study = hospital_node.study(seed=7)
    return replace(study, plan=replace(study.plan, seeded=False))


def test_a_seed_behind_a_plan_without_one_is_refused_when_it_is_read(
    hospital_node: HospitalNode, tmp_path: Path
) -> None:
    hidden_seed(hospital_node).save(tmp_path)
    with pytest.raises(ConfigError, match=r"plan\.seeded is False, but the scenario gives True"):
        read_proposal(tmp_path / RUN_FILE)


@pytest.mark.parametrize("hidden", [True, False], ids=["behind the plan", "openly"])
def test_a_seed_is_refused_by_plan_and_approval(hospital_node: HospitalNode, hidden: bool) -> None:
    study = hidden_seed(hospital_node) if hidden else hospital_node.study(seed=7)
    objections = hospital_node.node.cost(study, hospital_node.registration, SERVER).objections
    assert any("it is seeded: its noise could be known beforehand" in objection for objection in objections)
    with pytest.raises(PrivacyRefusal, match="seeded"):
        hospital_node.approve(study)
    assert not answered(hospital_node.ask(study))
    assert set(hospital_node.kinds()) == {"refuse"}


def test_a_seed_that_an_older_version_approved_is_not_answered(
    hospital_node: HospitalNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was signed and kept before anybody compared: each round compares anew."""
    study = hidden_seed(hospital_node)
    with monkeypatch.context() as older:
        older.setattr("silogan.client.node.node._misfits", lambda *_: [])
        hospital_node.approve(study)
    assert not answered(hospital_node.ask(study))
    assert hospital_node.kinds() == ["approve", "refuse"]
    assert "seeded" in hospital_node.last_reason()
    assert hospital_node.ledger.epsilon() == 0.0


def test_no_policy_lets_a_seed_in(hospital_node: HospitalNode) -> None:
    """A key did once. Whoever can be talked into an edit of the policy cannot be talked into this one."""
    hospital_node.write_policy(seeded=True)
    with pytest.raises(PrivacyRefusal, match="seeded: unknown key"):
        hospital_node.approve(hospital_node.study(seed=7))


def test_a_node_with_patients_cannot_become_a_rehearsal(hospital_node: HospitalNode) -> None:
    data = hospital_node.registration.data
    for name in ("cohort", "other"):
        with pytest.raises(PrivacyRefusal, match="is not a rehearsal node, and this cannot change"):
            hospital_node.node.add_cohort(name=name, site="bergen", data=data, declared_size=1000, rehearsal=True)


@pytest.mark.parametrize("where", ["register", "ledger"])
def test_a_mark_that_was_changed_on_the_disk_is_seen(hospital_node: HospitalNode, where: str) -> None:
    """Register and ledger are signed, and must agree."""
    folder = hospital_node.node.folder
    path = folder / "cohorts.sqlite" if where == "register" else hospital_node.node.ledger_paths()[0]
    with Chain(path, hospital_node.node.key).transaction() as book:
        entry = book.entries[0].content
    marked = {**entry, "rehearsal": True} if where == "register" else mark(entry)
    path.unlink()
    with Chain(path, hospital_node.node.key).transaction() as book:
        book.append(marked)  # with the site's own key: by software of the hospital that was tampered with
    study = hospital_node.study(seed=7)
    with pytest.raises(SiloganError, match="disagree on whether this is a rehearsal"):
        hospital_node.node.approve(study, hospital_node.node.register.get(None), server=SERVER)


def mark(entry: dict[str, Any]) -> dict[str, Any]:
    return {**entry, "cohort": {**entry["cohort"], "rehearsal": True}}


def test_a_rehearsal_takes_the_study_that_a_hospital_refuses(make_hospital_node: MakeHospitalNode) -> None:
    """Otherwise the tests above could pass for another reason."""
    rehearsal = make_hospital_node(rehearsal=True)
    study = rehearsal.study(seed=7)
    rehearsal.approve(study)
    assert answered(rehearsal.ask(study))


def test_a_hospital_answers_the_same_study_without_a_seed(hospital_node: HospitalNode, tmp_path: Path) -> None:
    study = hospital_node.study()
    study.save(tmp_path)
    assert yaml.safe_load((tmp_path / RUN_FILE).read_text(encoding="utf-8"))["scenario"]["seed"] is None
    hospital_node.approve(read_proposal(tmp_path / RUN_FILE))
    assert answered(hospital_node.ask(study))
