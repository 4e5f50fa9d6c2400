"""The plan's identity covers everything that privacy depends on, and its budget is never exceeded by its own making."""

import hashlib
import json
import math
import time
from dataclasses import FrozenInstanceError, asdict, fields, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from silogan.common.config.scenario import load_scenario, parse_scenario
from silogan.common.errors import ConfigError, PrivacyRefusal
from silogan.common.privacy.accounting import Mechanism, epsilon, find_noise_multiplier, information
from silogan.common.privacy.plan import (
    NO_PRIVACY,
    SEEDED,
    Phase,
    PrivacyPlan,
    canonical_json,
    choose_unit,
    make_plan,
    plan_problem,
    with_noise,
)
from tests.plans import training_plan, with_phase, with_statistics

SCENARIOS = Path(__file__).resolve().parents[3] / "simulations" / "scenarios"
PLAN = training_plan(True, False, "record", 8.0, 1e-5, 2.0, 1.0, 1.0, 2, 3)
CHANGES = {
    "private": False,
    "seeded": True,
    "unit": "patient",
    "epsilon": 8.000001,
    "delta": 1.1e-5,
}
PHASE_CHANGES = {
    "name": "another",
    "kind": "statistics",
    "share": 0.9,
    "noise_multiplier": 2.0000001,
    "sample_rate": 0.99,
    "clip_norm": 1.1,
    "steps_per_round": 3,
    "rounds": 4,
    "records_per_patient": 2,
    "spare_rounds": 1,
}


def planned(**sections: dict[str, object]) -> PrivacyPlan:
    """The plan of a scenario with full batches, for which σ is found quickly."""
    training = {"rounds": 2, "local_steps": 3, "sample_rate": 1.0, **sections.pop("training", {})}
    return make_plan(parse_scenario({"name": "x", "training": training, **sections}))


def test_the_identity_changes_with_every_field() -> None:
    assert CHANGES.keys() | {"phases"} == {field.name for field in fields(PrivacyPlan)}
    assert PHASE_CHANGES.keys() == {field.name for field in fields(Phase)}
    one_step = with_phase(PLAN, steps_per_round=1)
    ids = {replace(one_step, **{name: value}).plan_id for name, value in CHANGES.items()}
    ids |= {with_phase(one_step, **{name: value}).plan_id for name, value in PHASE_CHANGES.items()}
    assert len(ids | {one_step.plan_id}) == len(CHANGES) + len(PHASE_CHANGES) + 1


def test_the_identity_is_the_hash_of_the_written_form() -> None:
    written = (
        '{"delta":1e-05,"epsilon":8.0,"phases":[{"clip_norm":1.0,"kind":"training","name":"training",'
        '"noise_multiplier":2.0,"records_per_patient":1,"rounds":3,"sample_rate":1.0,"share":1.0,"spare_rounds":0,'
        '"steps_per_round":2}],"private":true,"seeded":false,"unit":"record"}'
    )
    assert PLAN.plan_id == hashlib.sha256(written.encode()).hexdigest()


def test_the_identity_survives_being_written_and_read() -> None:
    written = canonical_json(asdict(PLAN))
    assert TypeAdapter(PrivacyPlan).validate_json(written).plan_id == PLAN.plan_id


def test_a_plan_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        PLAN.training.noise_multiplier = 0.0  # pyright: ignore[reportAttributeAccessIssue]


def test_the_scenario_and_the_plan_say_the_same() -> None:
    plan = planned(
        training={"rounds": 4, "local_steps": 5, "sample_rate": 0.25},
        privacy={"epsilon": 90.0, "delta": 1e-4, "clip_norm": 0.5, "noise_multiplier": 2.0, "spare_rounds": 3},
    )
    training = Phase("training", "training", 1.0, 2.0, 0.25, 0.5, 5, 7, spare_rounds=3)
    assert plan == PrivacyPlan(True, False, "record", 90.0, 1e-4, (training,))
    assert plan.training.mechanism(2) == Mechanism(2.0, 0.25, 10)
    assert plan.training.last_round == 4


def test_a_plan_has_its_unit_and_the_most_records_of_it() -> None:
    scenario = parse_scenario({"name": "x", "privacy": {"noise_multiplier": 9.0, "records_per_patient": 3}})
    plan = make_plan(scenario, "patient")
    assert (plan.unit, plan.training.records_per_patient) == ("patient", 3)


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
    spent = plan.epsilon_after("training", 2)
    assert spent == epsilon([Mechanism(plan.training.noise_multiplier, 1.0, 6)], plan.delta)
    assert 4.9 < spent <= 5.0
    assert epsilon([replace(plan.training.mechanism(), steps=7)], plan.delta) > 5.0


def test_spare_rounds_are_paid_for_with_more_noise() -> None:
    without, spare = (planned(privacy={"epsilon": 5.0, "spare_rounds": spare}) for spare in (0, 2))
    assert (spare.training.rounds, spare.training.last_round) == (without.training.rounds + 2, 2)
    assert spare.training.noise_multiplier > without.training.noise_multiplier
    assert (spare.epsilon_after("training", 4) or 0) <= 5.0


def test_a_budget_too_small_for_one_round_is_refused() -> None:
    with pytest.raises(PrivacyRefusal) as caught:
        planned(privacy={"epsilon": 1.0, "noise_multiplier": 1.0})
    assert caught.value.exit_code == 5
    assert caught.value.thing == "privacy.epsilon"
    assert "1 does not pay for one round" in caught.value.problem
    assert "noise_multiplier = 1)" in caught.value.problem


def test_a_budget_for_one_round_but_not_for_all_is_a_plan() -> None:
    """The run is interrupted by the ledger when the budget is spent; the rounds before it are worth having."""
    one_round = epsilon([Mechanism(2.0, 1.0, 3)], PLAN.delta)
    plan = planned(privacy={"epsilon": one_round + 0.1, "noise_multiplier": 2.0})
    assert (plan.epsilon_after("training", 1) or 0) <= plan.epsilon < (plan.epsilon_after() or 0)


def test_without_privacy_there_is_neither_noise_nor_a_cost() -> None:
    plan = planned(privacy={"enabled": False, "noise_multiplier": 1.0, "epsilon": 1e-9})
    assert not plan.private
    assert plan.training.noise_multiplier == 0.0
    assert plan.epsilon_after() is None


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
    release, training = plan.phases
    assert (release.name, release.noise_multiplier) == ("statistics", 3.0)
    assert training.noise_multiplier > without.training.noise_multiplier
    assert plan.mechanisms() == [Mechanism(3.0, 1.0, 1), Mechanism(training.noise_multiplier, 1.0, 6)]
    assert plan.mechanisms("training", 1) == [Mechanism(3.0, 1.0, 1), Mechanism(training.noise_multiplier, 1.0, 3)]
    spent = plan.epsilon_after()
    assert spent is not None
    assert epsilon([training.mechanism()], 1e-5) < spent <= 5.0
    assert spent == epsilon(plan.mechanisms(), 1e-5)


def test_a_warm_start_that_takes_the_whole_budget_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"1 does not pay for the phases before training \(ε = "):
        planned(privacy={"epsilon": 1.0, "delta": 1e-5}, training={"warm_start": {"noise_multiplier": 1.0}})


def test_noise_of_a_warm_start_is_found_from_its_share_of_the_information() -> None:
    """Without sampling, σ follows from the share by hand: μ² of the budget is shared out, and ε is not."""
    plan = planned(privacy={"epsilon": 4.0, "delta": 1e-5}, training={"warm_start": {"share": 0.5}})
    release, training = plan.phases
    mu_squared = information(4.0, 1e-5)
    assert release.noise_multiplier == pytest.approx(math.sqrt(1 / (0.5 * mu_squared)), rel=5e-3)
    assert training.noise_multiplier == pytest.approx(math.sqrt(6 / (0.5 * mu_squared)), rel=5e-3)
    assert epsilon([release.mechanism()], 1e-5) == pytest.approx(epsilon([training.mechanism()], 1e-5), rel=5e-3)
    assert epsilon([release.mechanism()], 1e-5) > 2.6  # half of the information is two thirds of ε


def test_mnist_has_the_noise_that_half_of_its_epsilon_gave_the_release() -> None:
    release, training = make_plan(load_scenario(SCENARIOS / "mnist-basic.yaml")).phases
    assert (release.noise_multiplier, training.noise_multiplier) == (0.8935, 0.585)
    assert release.noise_multiplier == find_noise_multiplier(5.0, 1e-5, 1.0, 1)


@st.composite
def wanted_phases(draw: st.DrawFn) -> list[Phase]:
    """Up to four phases, of which the last takes what the others leave."""
    parts = draw(st.lists(st.integers(1, 9), min_size=1, max_size=4))
    shares = [round(part / (sum(parts) + 1), 3) for part in parts[:-1]]
    rates = st.sampled_from([1.0, 1.0, 0.05])
    return [
        Phase(f"phase-{index}", "training" if rate < 1 else "statistics", share, 0.0, rate, 1.0, 1, rounds)
        for index, (share, rate, rounds) in enumerate(
            zip([*shares, 0.0], (draw(rates) for _ in parts), (draw(st.integers(1, 40)) for _ in parts), strict=True)
        )
    ]


@given(wanted_phases(), st.sampled_from([0.5, 2.0, 10.0]))
@settings(max_examples=25, deadline=None)
def test_the_shares_add_up_to_the_budget_and_the_phases_cost_no_more(wanted: list[Phase], budget: float) -> None:
    phases, mu_squared = with_noise(wanted, budget, 1e-5), information(budget, 1e-5)
    assert sum(phase.share for phase in phases) == pytest.approx(1)
    spent = epsilon([phase.mechanism() for phase in phases], 1e-5)
    assert spent <= budget
    assert spent > 0.9 * budget
    exact = [phase for phase in phases if phase.sample_rate == 1]
    if len(exact) == len(phases):  # μ² of Gaussian sums is their noise's, and adds up
        parts = [phase.steps / phase.noise_multiplier**2 for phase in phases]
        assert sum(parts) == pytest.approx(mu_squared, rel=0.12)
        assert sum(parts) <= mu_squared


def test_more_than_the_budget_is_not_shared_out() -> None:
    wanted = [Phase(name, "statistics", 0.6, 0.0, 1.0, 1.0, 1, 1) for name in ("one", "two")]
    with pytest.raises(ConfigError, match=r"leaves 0\.4 of the budget for two, not 0\.6"):
        with_noise(wanted, 4.0, 1e-5)
    with pytest.raises(ValueError, match="more than the budget"):
        replace(PLAN, phases=tuple(replace(phase, noise_multiplier=9.0) for phase in wanted))


def test_a_release_alone_takes_the_whole_budget_unless_it_is_told_its_share() -> None:
    (release,) = planned(privacy={"epsilon": 4.0}, training={"rounds": 0, "warm_start": {}}).phases
    assert (release.name, release.share) == ("statistics", 1.0)
    assert 3.9 < epsilon([release.mechanism()], 1e-5) <= 4.0
    (part,) = planned(privacy={"epsilon": 4.0}, training={"rounds": 0, "warm_start": {"share": 0.25}}).phases
    assert part.noise_multiplier == pytest.approx(2 * release.noise_multiplier, rel=0.01)


@pytest.mark.parametrize("wrong", [{"training": {"rounds": 0}}, {"privacy": {"spare_rounds": 1}}])
def test_a_study_that_asks_for_nothing_is_no_scenario(wrong: dict[str, Any]) -> None:
    training = {"rounds": 0, **({"warm_start": {}} if "privacy" in wrong else {}), **wrong.get("training", {})}
    with pytest.raises(ConfigError, match=r"rounds=0 needs (training\.warm_start|privacy\.spare_rounds=0)"):
        parse_scenario({"name": "x", **wrong, "training": training})


def test_no_two_rounds_of_a_plan_have_one_number() -> None:
    plan = with_statistics(with_statistics(with_phase(PLAN, rounds=5), 9.0), 9.0, "labels")
    numbers = [plan.number(phase.name, number) for phase in plan.phases for number in range(1, phase.rounds + 1)]
    assert numbers == [-1, 0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    "change",
    [
        *({"private": "no"}, {"private": 1}, {"seeded": 0}, {"unit": "image"}, {"epsilon": "8"}, {"epsilon": -1.0}),
        *({"epsilon": math.inf}, {"delta": 0.0}, {"delta": 1.0}, {"delta": math.nan}, {"noise_multiplier": 0.0}),
        *({"noise_multiplier": -1.0}, {"noise_multiplier": True}, {"sample_rate": 0.0}, {"sample_rate": 1.5}),
        *({"clip_norm": 0.0}, {"clip_norm": math.inf}, {"steps_per_round": -100}, {"steps_per_round": 0}),
        *({"steps_per_round": 2.0}, {"steps_per_round": True}, {"rounds": 0}, {"rounds": 10**9}),
        *(
            {"records_per_patient": 0},
            {"records_per_patient": 1.5},
            {"spare_rounds": 3},
            {"share": 1.1},
            {"phases": ()},
        ),
    ],
    ids=str,
)
def test_a_plan_that_cannot_be_is_not_even_made(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="validation error"):
        with_phase(PLAN, **change)


def test_only_a_plan_without_privacy_has_no_noise() -> None:
    assert with_phase(PLAN, private=False, noise_multiplier=0.0).training.noise_multiplier == 0.0


@pytest.mark.parametrize("name", [*CHANGES, *sorted(PHASE_CHANGES.keys() - {"name", "kind"})])
def test_a_plan_is_the_scenario_s_in_every_field(name: str) -> None:
    scenario = parse_scenario({"name": "x", "privacy": {"noise_multiplier": 3.0, "epsilon": 8.0, "unit": "record"}})
    plan = make_plan(scenario)
    assert plan_problem(scenario, plan) is None
    changed = with_phase(plan, **{name: {**CHANGES, **PHASE_CHANGES}[name]})
    where = "plan" if name in CHANGES else "plan.training"
    assert (plan_problem(scenario, changed) or "").startswith(f"{where}.{name} is ")


def test_a_plan_has_the_scenario_s_phases() -> None:
    scenario = parse_scenario({"name": "x", "privacy": {"noise_multiplier": 3.0}})
    more = with_statistics(make_plan(scenario), 9.0)
    assert plan_problem(scenario, more) == "plan.phases is statistics, training, but the scenario gives training"


def test_a_plan_for_patients_needs_a_scenario_that_may_know_them() -> None:
    open_scenario = parse_scenario({"name": "x", "privacy": {"noise_multiplier": 3.0}})
    for unit in ("record", "patient"):
        assert plan_problem(open_scenario, make_plan(open_scenario, unit)) is None
    several = parse_scenario({"name": "x", "privacy": {"noise_multiplier": 3.0, "records_per_patient": 2}})
    with pytest.raises(ConfigError, match="each record is its own unit"):
        plan_problem(several, replace(make_plan(several, "patient"), unit="record"))


@pytest.mark.parametrize("path", sorted(SCENARIOS.glob("*.yaml")), ids=lambda path: path.stem)
def test_the_plan_of_every_scenario_is_quickly_derived(path: Path) -> None:
    scenario = load_scenario(path)
    find_noise_multiplier.cache_clear()
    began = time.process_time()
    plan = make_plan(scenario)
    assert time.process_time() - began < 2
    assert (plan.epsilon_after() or 0) <= plan.epsilon
