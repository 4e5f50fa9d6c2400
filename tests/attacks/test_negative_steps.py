"""Numbers that give budget back: a study with a negative number of steps, which an accountant adds up.

Once -100 steps took what was charged from 5.60 to 0.0, "12 of 12 left".
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from silogan.client.ledger.chain import Chain
from silogan.client.node.node import read_proposal
from silogan.common.errors import SiloganError, VerificationError
from silogan.common.wire.run_folder import RUN_FILE
from silogan.common.wire.study import Study
from tests.attacks.conftest import HospitalNode, answered

PLAN_VALUES: dict[str, list[Any]] = {
    "steps_per_round": [-100, -1, 0, 0.5, True, "1", None, 10**9, float("nan"), float("inf"), [1]],
    "rounds": [-4, 0, 1.0, 10**12, "4"],
    "noise_multiplier": [-2.0, 0.0, 1e-9, float("nan"), float("inf"), "2.0", True, [2.0], 2.0**16],
    "spare_rounds": [-1, 4, True],
    "share": [-0.1, 1.5, float("nan")],
    "kind": ["release", None],
    "name": ["", "x" * 40, "\x1b[2J", 3],
    "phases": [[], None, {}, [[]], [{}], "training", [{} for _ in range(17)]],
    "sample_rate": [-0.25, 0.0, 1.5, float("nan"), 1e-30],
    "clip_norm": [-1.0, 0.0, float("inf"), float("nan"), 2.0**-11, 2.0**21],
    "records_per_patient": [-1, 0, 2.5, True, 129],
    "epsilon": [-8.0, 0.0, float("nan"), float("inf"), 1e300],
    "delta": [-1e-4, 0.0, 1.0, float("nan"), 1e-300],
    "private": ["yes", 1, None],
    "seeded": ["no", 0],
    "unit": ["image", None],
    "more": [1],
}


@pytest.mark.parametrize(("key", "value"), [(key, value) for key, values in PLAN_VALUES.items() for value in values])
def test_no_field_of_a_plan_takes_what_it_cannot_mean(
    hospital_node: HospitalNode, tmp_path: Path, key: str, value: Any
) -> None:
    """With a hash over it that is right: whoever writes the file can reckon it."""
    study = hospital_node.study()
    study.save(tmp_path)
    written = yaml.safe_load((tmp_path / RUN_FILE).read_text(encoding="utf-8"))
    of_phase = key in written["plan"]["phases"][0]
    (written["plan"]["phases"][0] if of_phase else written["plan"])[key] = value
    (tmp_path / RUN_FILE).write_text(yaml.safe_dump(written), encoding="utf-8")
    with pytest.raises(
        SiloganError, match=f"plan: has the unknown key|plan.(phases.)?{key}: |plan(.phases(.name)?)?: "
    ) as caught:
        read_proposal(tmp_path / RUN_FILE)
    assert "\n" not in str(caught.value)


def forged(study: Study, **changes: Any) -> Study:
    """A study whose plan was never checked, as software that does not check would make it."""
    plan, phase = replace(study.plan), replace(study.plan.training)
    for name, value in changes.items():
        object.__setattr__(phase, name, value)
    object.__setattr__(plan, "phases", (phase,))
    return replace(study, plan=plan)


@pytest.mark.parametrize("steps", [-100, -1, 0])
def test_negative_steps_never_lower_what_was_charged(
    hospital_node: HospitalNode, steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = hospital_node.study()
    hospital_node.approve(honest)
    assert answered(hospital_node.ask(honest))
    charged = hospital_node.ledger.epsilon()
    evil = forged(honest, steps_per_round=steps)
    assert evil.plan.plan_id != honest.plan.plan_id
    with pytest.raises(SiloganError):
        hospital_node.approve(evil)
    assert not answered(hospital_node.ask(evil))
    assert hospital_node.ledger.epsilon() == charged == honest.plan.epsilon_after("training", 1)


@pytest.mark.parametrize("kind", ["reserve", "settle", "approve"])
def test_an_entry_with_negative_steps_is_never_reckoned_with(hospital_node: HospitalNode, kind: str) -> None:
    """An older version of the software wrote it, signed and in order: the ledger stops, and the audit names it."""
    study = hospital_node.study()
    hospital_node.approve(study)
    assert answered(hospital_node.ask(study))
    path = hospital_node.node.ledger_paths()[0]
    with Chain(path, hospital_node.node.key).transaction() as book:
        entry = next(one for one in book.entries if one.content["kind"] == kind).content
        if kind == "approve":
            phase = {**entry["plan"]["phases"][0], "steps_per_round": -100}
            entry = {**entry, "plan": {**entry["plan"], "phases": [phase]}}
        forged_entry = book.append({**entry, **({} if kind == "approve" else {"steps": -100}), **later(kind)})
    assert not answered(hospital_node.ask(study, 2))
    if kind != "approve":
        with pytest.raises(VerificationError, match="has a field of the wrong type or with an invalid value"):
            hospital_node.ledger.epsilon()
    assert [finding.entry for finding in hospital_node.audit().findings] == [forged_entry.seq]


def later(kind: str) -> dict[str, Any]:
    """What makes a second entry of its kind one that nothing but its steps speaks against."""
    return {"reserve": {"round": 3}, "settle": {}, "approve": {}}[kind]
