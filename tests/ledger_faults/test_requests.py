"""What a server, or a study, may not ask: refused before data is read, nothing reserved, and on record.

fault                                               test
--------------------------------------------------- --------------------------------------------------------------------
σ/2, a step or round too many, another plan         test_request_that_was_not_approved_is_refused
site software with a changed study                  test_changed_study_is_refused_whatever_the_site_s_software_believes
charge unlike the approval                          test_charge_that_was_not_approved_is_refused
run.yaml edited after approval                      test_study_edited_on_the_disk_is_never_taken_for_the_approved_one
run.yaml of another study                           test_another_study_in_place_of_the_approved_one_is_refused
after `reject`, policy tightened                    test_rejected_study_is_refused, test_tightened_policy_is_obeyed
no policy, or one that cannot be read               test_without_a_policy_nothing_is_allowed
unknown or missing key in the policy                test_policy_with_a_wrong_key_allows_nothing
ε above 20 without an override                      test_epsilon_above_20_needs_an_override, ..._at_every_charge
no privacy, seeded                                  test_study_that_a_node_never_runs_is_refused
no privacy, put on the disk by hand                 test_study_without_privacy_that_was_put_on_the_disk_is_refused
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from silogan.client.ledger.ledger import Charge
from silogan.client.round import run_round
from silogan.common.errors import ConfigError
from silogan.common.privacy.accounting import Mechanism, epsilon
from silogan.common.privacy.plan import PrivacyPlan
from silogan.common.wire.messages import Instruction
from silogan.common.wire.study import Study
from tests.ledger_faults.hospital import (
    DELTA,
    RATE,
    ROUNDS,
    SIGMA,
    STEPS,
    Hospital,
    ask,
    assert_clean,
    assert_refused,
    cost,
    make_weights,
    policy_text,
)
from tests.plans import with_phase


def other_digit(digits: str) -> str:
    """The same hash but for one hexadecimal digit."""
    return f"{'1' if digits[0] == '0' else '0'}{digits[1:]}"


PLANS: dict[str, Callable[[PrivacyPlan], PrivacyPlan]] = {
    "half the noise": lambda plan: with_phase(plan, noise_multiplier=plan.training.noise_multiplier / 2),
    "one step more": lambda plan: with_phase(plan, steps_per_round=plan.training.steps_per_round + 1),
    "one round more": lambda plan: with_phase(plan, rounds=plan.training.rounds + 1),
    "larger clip norm": lambda plan: with_phase(plan, clip_norm=plan.training.clip_norm * 2),
    "lower sample rate": lambda plan: with_phase(plan, sample_rate=plan.training.sample_rate / 2),
    "seeded": lambda plan: replace(plan, seeded=True),
}

REQUESTS: dict[str, Callable[[Study], Instruction]] = {
    **{
        name: lambda study, change=change: ask(study, plan_id=change(study.plan).plan_id)
        for name, change in PLANS.items()
    },
    "round beyond the plan": lambda study: ask(study, ROUNDS + 1),
    "round 0": lambda study: ask(study, 0),
    "one digit of the plan's hash": lambda study: ask(study, plan_id=other_digit(study.plan.plan_id)),
    "another study": lambda study: ask(study, study_id=other_digit(study.study_id)),
}


@pytest.mark.parametrize("name", REQUESTS)
def test_request_that_was_not_approved_is_refused(hospital: Hospital, study: Study, name: str) -> None:
    site, asked = hospital.site(study), REQUESTS[name](study)
    assert_refused(hospital, lambda seen: run_round(seen.site(site), asked, make_weights(study)))
    entry = hospital.ledger.entries()[-1].content
    assert (entry["study_id"], entry["plan_id"], entry["round"]) == (asked.study_id, asked.plan_id, asked.round)


@pytest.mark.parametrize("same_name", [False, True], ids=["its own id", "the approved id"])
@pytest.mark.parametrize("name", PLANS)
def test_changed_study_is_refused_whatever_the_site_s_software_believes(
    hospital: Hospital, study: Study, name: str, same_name: bool
) -> None:
    changed = replace(study, plan=PLANS[name](study.plan))
    if same_name:
        changed.__dict__["study_id"] = study.study_id  # what a cached property has found
    site = replace(hospital.site(study), study=changed)
    same = "is not seeded" if name == "seeded" else "differs from what was approved in plan_id"
    match = same if same_name else "is not approved"
    assert_refused(hospital, lambda seen: hospital.round_of(seen.site(site)), match=match)


CHARGES: dict[str, dict[str, Any]] = {
    "half the noise": {"noise_multiplier": SIGMA / 2},
    "one step more": {"steps": STEPS + 1},
    "one round more": {"round": ROUNDS + 1},
    "larger clip norm": {"clip_norm": 2.0},
    "lower sample rate": {"sample_rate": RATE / 2},
    "more records": {"records_per_patient": 2},
    "another plan": {"plan_id": "0" * 64},
    "another study": {"study_id": "0" * 64},
}


@pytest.mark.parametrize("name", CHARGES)
def test_charge_that_was_not_approved_is_refused(hospital: Hospital, study: Study, name: str) -> None:
    charge = replace(Charge.of(study.plan, "training", 1, study.study_id), **CHARGES[name])
    assert_refused(hospital, lambda _: hospital.ledger.reserve(charge))


def test_study_that_nobody_reviewed_is_refused(hospital: Hospital) -> None:
    assert_refused(hospital, lambda _: hospital.round(hospital.study("another")), match="not approved")


# --- the approved study on the disk ----------------------------------------------------------------------------------


def run_file(hospital: Hospital, study: Study) -> Path:
    return hospital.node.folder / "studies" / study.study_id / "run.yaml"


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.floats(0, 1, exclude_max=True), byte=st.integers(32, 126))
def test_study_edited_on_the_disk_is_never_taken_for_the_approved_one(
    hospital: Hospital, study: Study, place: float, byte: int
) -> None:
    file = run_file(hospital, study)
    original, before = file.read_bytes(), hospital.ledger.entries()
    changed = bytearray(original)
    changed[int(place * len(changed))] = byte
    file.write_bytes(changed)
    refusal: ConfigError | None = None
    try:
        assert hospital.site(study).study == study  # a version of the software was changed, or a blank
    except ConfigError as error:
        refusal = error
    finally:
        file.write_bytes(original)
    written = [(entry.content["kind"], entry.content["reason"]) for entry in hospital.ledger.entries()[len(before) :]]
    assert written == ([("refuse", str(refusal))] if refusal else [])


@pytest.mark.parametrize("key", ["noise_multiplier", "steps_per_round", "rounds", "epsilon", "clip_norm"])
def test_plan_edited_on_the_disk_is_refused(hospital: Hospital, study: Study, key: str) -> None:
    file = run_file(hospital, study)
    values = yaml.safe_load(file.read_text(encoding="utf-8"))
    (values["plan"] if key == "epsilon" else values["plan"]["phases"][0])[key] += 1
    file.write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")
    assert_refused(hospital, lambda _: hospital.round(study), ConfigError, match="was changed")


@pytest.mark.parametrize("changes", [{}, {"enabled": False}], ids=["private", "without privacy"])
def test_another_study_in_place_of_the_approved_one_is_refused(
    hospital: Hospital, study: Study, changes: dict[str, Any]
) -> None:
    hospital.study("another", **changes).save(run_file(hospital, study).parent)
    assert_refused(hospital, lambda _: hospital.round(study), ConfigError, match="does not hold the approved study")


# --- the hospital's own word -----------------------------------------------------------------------------------------


def test_rejected_study_is_refused(hospital: Hospital, study: Study) -> None:
    hospital.round(study)
    hospital.node.reject(study, hospital.node.register.get(hospital.cohort), "too much")
    site = hospital.site(study)
    assert_refused(hospital, lambda seen: hospital.round_of(seen.site(site), 2), match="not approved")
    hospital.approve(study)
    hospital.round(study, 2)


TIGHTENED: dict[str, Any] = {
    "epsilon": cost(STEPS) / 2,
    "delta": DELTA / 2,
    "unit": "patient",
    "min_noise_multiplier": SIGMA * 1.01,
    "max_clip_norm": 0.99,
    "max_sample_rate": 0.5,
    "max_steps_per_round": STEPS - 1,
    "max_steps": STEPS * ROUNDS - 1,
    "families": [],
    "servers": ["elsewhere.example.org"],
}


@pytest.mark.parametrize("key", TIGHTENED)
def test_tightened_policy_is_obeyed(hospital: Hospital, study: Study, key: str) -> None:
    site = hospital.site(study)
    hospital.write_policy(**{key: TIGHTENED[key]})
    assert_refused(hospital, lambda seen: hospital.round_of(seen.site(site)))
    hospital.write_policy()
    assert hospital.round_of(site).ledger_head == hospital.ledger.head()


UNREADABLE: dict[str, Callable[[Path], object]] = {
    "none": lambda _: None,
    "a folder": lambda path: path.mkdir(),
    "empty": lambda path: path.touch(),
    "not text": lambda path: path.write_bytes(b"\xff\xfe\x00"),
    "not YAML": lambda path: path.write_text("epsilon: [", encoding="utf-8"),
    "a list": lambda path: path.write_text("- epsilon", encoding="utf-8"),
    "not a number": lambda path: path.write_text(policy_text(epsilon=float("nan")), encoding="utf-8"),
    "infinite": lambda path: path.write_text(policy_text(epsilon=float("inf")), encoding="utf-8"),
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_without_a_policy_nothing_is_allowed(hospital: Hospital, study: Study, name: str) -> None:
    site, path = hospital.site(study), hospital.node.folder / "policy.yaml"
    path.unlink()
    UNREADABLE[name](path)
    assert_refused(hospital, lambda seen: hospital.round_of(seen.site(site)), match="policy 'policy.yaml'")


@pytest.mark.parametrize("key", ["max_epsilon", *(key for key in yaml.safe_load(policy_text()) if key != "approvers")])
def test_policy_with_a_wrong_key_allows_nothing(hospital: Hospital, study: Study, key: str) -> None:
    """An unknown one is as bad as a missing one: what was meant by it is not known."""
    site, values = hospital.site(study), yaml.safe_load(policy_text())
    problem = "is missing" if values.pop(key, None) is not None else "unknown key"
    if problem == "unknown key":
        values[key] = 99.0
    (hospital.node.folder / "policy.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
    assert_refused(hospital, lambda seen: hospital.round_of(seen.site(site)), match=f"{key}: {problem}")


# --- what a node never runs, or not without a word ------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes", [{"enabled": False}, {"seed": 3}, {"seed": 3, "enabled": False}], ids=["no privacy", "seeded", "both"]
)
def test_study_that_a_node_never_runs_is_refused(hospital: Hospital, changes: dict[str, Any]) -> None:
    study = hospital.study("another", **changes)
    assert_refused(hospital, lambda _: hospital.approve(study))
    assert_refused(hospital, lambda _: hospital.round(study), match="not approved")


def test_study_without_privacy_that_was_put_on_the_disk_is_refused(hospital: Hospital) -> None:
    """Nobody approved it, and a site without privacy would have no ledger to find that in."""
    study = hospital.study("another", enabled=False)
    run_file(hospital, study).parent.mkdir()
    study.save(run_file(hospital, study).parent)
    assert_refused(hospital, lambda seen: hospital.round_of(seen.site(hospital.site(study))), match="without privacy")


LOUD = 0.5  # σ of which two rounds pass ε = 20
assert epsilon([Mechanism(LOUD, RATE, STEPS)], DELTA) < 20 < epsilon([Mechanism(LOUD, RATE, 2 * STEPS)], DELTA)


def test_epsilon_above_20_needs_an_override(hospital: Hospital) -> None:
    hospital.write_policy(epsilon=99.0)
    study = hospital.study("loud", noise_multiplier=LOUD, epsilon=99.0)
    assert_refused(hospital, lambda _: hospital.approve(study), match="--override")
    assert_refused(hospital, lambda _: hospital.approve(study, override=" "), match="--override")
    hospital.approve(study, override="a phantom, no patient")
    for number in (1, 2):
        hospital.round(study, number)
    assert hospital.ledger.epsilon() > 20
    assert_clean(hospital)


@pytest.mark.parametrize("why", ["the budget was raised", "another study came between"])
def test_epsilon_above_20_needs_an_override_at_every_charge(hospital: Hospital, why: str) -> None:
    """An approval without one was signed when ε could not come above 20."""
    raised = why == "the budget was raised"
    hospital.write_policy(epsilon=20.0 if raised else 99.0)
    study = hospital.study("loud", rounds=ROUNDS if raised else 1, noise_multiplier=LOUD, epsilon=99.0)
    hospital.approve(study)
    hospital.write_policy(epsilon=99.0)
    if raised:
        hospital.round(study)
    else:
        between = hospital.study("between", rounds=1, noise_multiplier=LOUD, epsilon=99.0)
        hospital.approve(between, override="a phantom, no patient")
        hospital.round(between)
    site, number = hospital.site(study), 2 if raised else 1
    assert_refused(hospital, lambda seen: hospital.round_of(seen.site(site), number), match="--override")
    hospital.approve(study, override="a phantom, no patient")
    hospital.round_of(site, number)
    assert hospital.ledger.epsilon() > 20
