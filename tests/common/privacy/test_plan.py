"""The plan's identity covers everything that privacy depends on, and its budget is never exceeded by its own making."""

import hashlib
import json
import math
import time
from dataclasses import FrozenInstanceError, asdict, fields, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.config.scenario import load_scenario, parse_scenario
from common.errors import ConfigError, PrivacyRefusal
from common.privacy.accounting import Mechanism, epsilon, find_noise_multiplier
from common.privacy.plan import NO_PRIVACY, SEEDED, PrivacyPlan, canonical_json, choose_unit, make_plan, plan_problem

SCENARIOS = Path(__file__).resolve().parents[3] / "simulations" / "scenarios"
PLAN = PrivacyPlan(
    private=True,
    seeded=False,
    unit="record",
    epsilon=8.0,
    delta=1e-5,
    noise_multiplier=2.0,
    sample_rate=1.0,
    clip_norm=1.0,
    steps_per_round=2,
    rounds=3,
)
CHANGES = {
    "private": False,
    "seeded": True,
    "unit": "patient",
    "epsilon": 8.000001,
    "delta": 1.1e-5,
    "noise_multiplier": 2.0000001,
    "sample_rate": 0.99,
    "clip_norm": 1.1,
    "steps_per_round": 3,
    "rounds": 4,
    "records_per_patient": 2,
    "warm_start_noise_multiplier": 2.0,
}


def planned(**sections: dict[str, object]) -> PrivacyPlan:
    """The plan of a scenario with full batches, for which σ is found quickly."""
    training = {"rounds": 2, "local_steps": 3, "sample_rate": 1.0, **sections.pop("training", {})}
    return make_plan(parse_scenario({"name": "x", "training": training, **sections}))


def test_the_identity_changes_with_every_field() -> None:
    assert CHANGES.keys() == {field.name for field in fields(PrivacyPlan)}
    ids = {replace(PLAN, **{name: value}).plan_id for name, value in CHANGES.items()}
    assert len(ids | {PLAN.plan_id}) == len(CHANGES) + 1


def test_the_identity_is_the_hash_of_the_written_form() -> None:
    written = (
        '{"clip_norm":1.0,"delta":1e-05,"epsilon":8.0,"noise_multiplier":2.0,"private":true,'
        '"records_per_patient":1,"rounds":3,'
        '"sample_rate":1.0,"seeded":false,"steps_per_round":2,"unit":"record","warm_start_noise_multiplier":null}'
    )
    assert PLAN.plan_id == hashlib.sha256(written.encode()).hexdigest()


def test_the_identity_survives_being_written_and_read() -> None:
    assert PrivacyPlan(**json.loads(canonical_json(asdict(PLAN)))).plan_id == PLAN.plan_id


def test_a_plan_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        PLAN.noise_multiplier = 0.0  # pyright: ignore[reportAttributeAccessIssue]


def test_the_scenario_and_the_plan_say_the_same() -> None:
    plan = planned(
        training={"rounds": 4, "local_steps": 5, "sample_rate": 0.25},
        privacy={"epsilon": 90.0, "delta": 1e-4, "clip_norm": 0.5, "noise_multiplier": 2.0, "spare_rounds": 3},
    )
    assert plan == PrivacyPlan(
        private=True,
        seeded=False,
        unit="record",
        epsilon=90.0,
        delta=1e-4,
        noise_multiplier=2.0,
        sample_rate=0.25,
        clip_norm=0.5,
        steps_per_round=5,
        rounds=7,
    )
    assert plan.mechanism(10) == Mechanism(2.0, 0.25, 10)


def test_a_plan_has_its_unit_and_the_most_records_of_it() -> None:
    scenario = parse_scenario({"name": "x", "privacy": {"noise_multiplier": 9.0, "records_per_patient": 3}})
    plan = make_plan(scenario, "patient")
    assert (plan.unit, plan.records_per_patient) == ("patient", 3)


@pytest.mark.parametrize(
    ("asked", "known", "unit"),
    [(None, False, "record"), (None, True, "patient"), ("patient", True, "patient"), ("record", True, "record")],
)
def test_the_patient_is_protected_where_he_is_known_unless_the_scenario_says_record(
    asked: str | None, known: bool, unit: str
) -> None:
    assert choose_unit(parse_scenario({"name": "x", "privacy": {"unit": asked}}), patients_known=known) == unit


@pytest.mark.parametrize(
    ("privacy", "key"),
    [({"unit": "patient"}, "privacy.unit"), ({"records_per_patient": 2}, "privacy.records_per_patient")],
)
def test_patients_that_the_data_does_not_know_are_refused(privacy: dict[str, object], key: str) -> None:
    with pytest.raises(ConfigError, match=r"data\.images_per_patient") as caught:
        choose_unit(parse_scenario({"name": "x", "privacy": privacy}), patients_known=False)
    assert caught.value.thing == key


def test_the_noise_found_pays_for_all_rounds_and_no_more() -> None:
    plan = planned(privacy={"epsilon": 5.0})
    spent = plan.epsilon_after(6)
    assert spent == epsilon([Mechanism(plan.noise_multiplier, 1.0, 6)], plan.delta)
    assert 4.9 < spent <= 5.0
    assert plan.epsilon_after(7) > 5.0


def test_spare_rounds_are_paid_for_with_more_noise() -> None:
    without, spare = (planned(privacy={"epsilon": 5.0, "spare_rounds": spare}) for spare in (0, 2))
    assert spare.rounds == without.rounds + 2
    assert spare.noise_multiplier > without.noise_multiplier
    assert spare.epsilon_after(4 * 3) <= 5.0


def test_a_budget_too_small_for_one_round_is_refused() -> None:
    with pytest.raises(PrivacyRefusal) as caught:
        planned(privacy={"epsilon": 1.0, "noise_multiplier": 1.0})
    assert caught.value.exit_code == 5
    assert caught.value.thing == "privacy.epsilon"
    assert "1 does not pay for one round" in caught.value.problem
    assert "noise_multiplier = 1)" in caught.value.problem


def test_a_budget_for_one_round_but_not_for_all_is_a_plan() -> None:
    """The run is interrupted by the ledger when the budget is spent; the rounds before it are worth having."""
    one_round = PLAN.epsilon_after(3)
    plan = planned(privacy={"epsilon": one_round + 0.1, "noise_multiplier": 2.0})
    assert plan.epsilon_after(3) <= plan.epsilon < plan.epsilon_after(6)


def test_without_privacy_there_is_neither_noise_nor_a_cost() -> None:
    plan = planned(privacy={"enabled": False, "noise_multiplier": 1.0, "epsilon": 1e-9})
    assert not plan.private
    assert plan.noise_multiplier == 0.0
    assert plan.epsilon_after(1000) is None


@pytest.mark.parametrize(
    ("private", "seed", "marks"),
    [
        (True, None, ()),
        (True, 0, (SEEDED,)),
        (False, None, (NO_PRIVACY,)),
        (False, 7, (NO_PRIVACY, SEEDED)),
    ],
)
def test_artefacts_are_marked_with_what_takes_privacy_away(
    private: bool, seed: int | None, marks: tuple[str, ...]
) -> None:
    scenario = {"name": "x", "seed": seed, "privacy": {"enabled": private, "noise_multiplier": 9.0}}
    assert make_plan(parse_scenario(scenario)).marks() == marks


def test_the_marks_say_what_people_look_for() -> None:
    assert NO_PRIVACY == "NON-PRIVATE"
    assert SEEDED == "seeded: not private against someone who knows the seed"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {"a": [float("-inf")]}])
def test_canonical_json_has_no_text_for_what_is_no_number(value: object) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical_json(value)


@given(st.dictionaries(st.text(), st.integers() | st.text() | st.floats(allow_nan=False, allow_infinity=False)))
def test_canonical_json_has_one_text_for_a_value_and_reads_back(values: dict[str, object]) -> None:
    text = canonical_json(values)
    assert canonical_json(dict(reversed(values.items()))) == text
    assert json.loads(text) == values
    assert text.isascii()


def test_a_warm_start_is_paid_from_the_same_budget() -> None:
    without = planned(privacy={"epsilon": 5.0, "delta": 1e-5})
    plan = planned(privacy={"epsilon": 5.0, "delta": 1e-5}, training={"warm_start": {"noise_multiplier": 3.0}})
    assert plan.warm_start_noise_multiplier == 3.0
    assert plan.noise_multiplier > without.noise_multiplier
    assert plan.mechanisms(6) == [Mechanism(3.0, 1.0, 1), Mechanism(plan.noise_multiplier, 1.0, 6)]
    spent = plan.epsilon_after(6)
    assert spent is not None
    assert epsilon([plan.mechanism(6)], 1e-5) < spent <= 5.0
    assert spent == epsilon(plan.mechanisms(6), 1e-5)


def test_a_warm_start_that_takes_the_whole_budget_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"1 does not pay for the warm start alone \(ε = "):
        planned(privacy={"epsilon": 1.0, "delta": 1e-5}, training={"warm_start": {"noise_multiplier": 1.0}})


def test_noise_of_a_warm_start_is_found_from_its_share_of_the_budget() -> None:
    budget = {"epsilon": 4.0, "delta": 1e-5}
    plan = planned(privacy=budget, training={"warm_start": {"epsilon_share": 0.5}})
    sigma = plan.warm_start_noise_multiplier
    assert sigma is not None
    assert 1.98 < epsilon([Mechanism(sigma, 1.0, 1)], 1e-5) <= 2.0
    smaller = planned(privacy=budget, training={"warm_start": {"epsilon_share": 0.1}})
    assert (smaller.warm_start_noise_multiplier or 0) > sigma
    assert smaller.noise_multiplier < plan.noise_multiplier
    # less than the sum: what is left to the steps alone costs more than the other half
    assert epsilon([plan.mechanism(6)], 1e-5) > 2.5


@pytest.mark.parametrize(
    "change",
    [
        *({"private": "no"}, {"private": 1}, {"seeded": 0}, {"unit": "image"}, {"epsilon": "8"}, {"epsilon": -1.0}),
        *({"epsilon": math.inf}, {"delta": 0.0}, {"delta": 1.0}, {"delta": math.nan}, {"noise_multiplier": 0.0}),
        *({"noise_multiplier": -1.0}, {"noise_multiplier": True}, {"sample_rate": 0.0}, {"sample_rate": 1.5}),
        *({"clip_norm": 0.0}, {"clip_norm": math.inf}, {"steps_per_round": -100}, {"steps_per_round": 0}),
        *({"steps_per_round": 2.0}, {"steps_per_round": True}, {"rounds": 0}, {"rounds": 10**9}),
        *({"records_per_patient": 0}, {"records_per_patient": 1.5}, {"warm_start_noise_multiplier": 0.0}),
    ],
    ids=str,
)
def test_a_plan_that_cannot_be_is_not_even_made(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="validation error"):
        replace(PLAN, **change)


def test_only_a_plan_without_privacy_has_no_noise() -> None:
    assert replace(PLAN, private=False, noise_multiplier=0.0).noise_multiplier == 0.0


@pytest.mark.parametrize("name", CHANGES)
def test_a_plan_is_the_scenario_s_in_every_field(name: str) -> None:
    scenario = parse_scenario({"name": "x", "privacy": {"noise_multiplier": 3.0, "epsilon": 8.0, "unit": "record"}})
    plan = make_plan(scenario)
    assert plan_problem(scenario, plan) is None
    changed = replace(plan, **{name: CHANGES[name]})
    assert (plan_problem(scenario, changed) or "").startswith(f"plan.{name} is ")


def test_a_plan_for_patients_needs_a_scenario_that_may_know_them() -> None:
    open_scenario = parse_scenario({"name": "x", "privacy": {"noise_multiplier": 3.0}})
    for unit in ("record", "patient"):
        assert plan_problem(open_scenario, make_plan(open_scenario, unit)) is None
    several = parse_scenario({"name": "x", "privacy": {"noise_multiplier": 3.0, "records_per_patient": 2}})
    with pytest.raises(ConfigError, match="each record is a unit of its own"):
        plan_problem(several, replace(make_plan(several, "patient"), unit="record"))


@pytest.mark.parametrize("path", sorted(SCENARIOS.glob("*.yaml")), ids=lambda path: path.stem)
def test_the_plan_of_every_scenario_is_quickly_derived(path: Path) -> None:
    scenario = load_scenario(path)
    find_noise_multiplier.cache_clear()
    began = time.process_time()
    plan = make_plan(scenario)
    assert time.process_time() - began < 2
    assert (plan.epsilon_after(plan.steps) or 0) <= plan.epsilon
