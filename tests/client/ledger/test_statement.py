"""The statement of a ledger: two runs, an open reservation and refusals, in figures that the accountant gives."""

import json
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from silogan.client.ledger.chain import Entry
from silogan.client.ledger.keys import SiteKey
from silogan.client.ledger.ledger import Approval, Charge, Cohort, Ledger
from silogan.client.ledger.policy import Policy
from silogan.client.ledger.statement import PhaseCharges, Refusal, Statement, state
from silogan.common.errors import PrivacyRefusal
from silogan.common.privacy.accounting import PRV_EPSILON_ERROR, Mechanism, epsilon, epsilon_filtered, filter_order
from silogan.common.privacy.plan import canonical_json
from silogan.common.wire.study import versions
from tests.plans import training_plan, with_phase, with_statistics

DELTA, BUDGET, SIGMA = 1e-4, 4.0, 10.0
COHORT = Cohort("patient", DELTA, rehearsal=True)
KEY = SiteKey(Ed25519PrivateKey.generate())
# q = 1 is what the accountants are quickest with
PLAN = training_plan(True, True, "patient", BUDGET, DELTA, SIGMA, 1.0, 1.0, 5, 9)
QUIET = with_phase(PLAN, noise_multiplier=20.0, steps_per_round=2)
POLICY = Policy.of_plan(PLAN, "dcgan", "north").model_copy(update={"servers": ("north", "south")})


def cost(*steps: tuple[float, int]) -> float:
    """ε of (σ, steps) at q = 1."""
    return epsilon([Mechanism(sigma, 1.0, count) for sigma, count in steps], DELTA)


def together(*steps: tuple[float, int]) -> float:
    """The same where it is of several runs."""
    mechanisms = [Mechanism(sigma, 1.0, count) for sigma, count in steps]
    return epsilon_filtered(mechanisms, DELTA, filter_order(BUDGET, DELTA))


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    """Two approved runs that have charged nothing."""
    ledger = Ledger.create(tmp_path / "bergen.sqlite", COHORT, POLICY, KEY)
    ledger.approve(Approval("first", PLAN, "dcgan", "north"))
    ledger.approve(Approval("second", QUIET, "dcgan", "south"))
    return ledger


@pytest.fixture
def spent(ledger: Ledger) -> Statement:
    """`first` takes 3 of 5 steps and leaves 5 open; `second` takes 2; `first` and a stranger are refused."""
    ledger.settle(ledger.reserve(Charge.of(PLAN, "training", 1, "first")), 3)
    ledger.settle(ledger.reserve(Charge.of(QUIET, "training", 1, "second", "release 1")), 2)
    ledger.reserve(Charge.of(PLAN, "training", 2, "first"))
    for charge in (Charge.of(PLAN, "training", 99, "first"), Charge.of(PLAN, "training", 1, "stranger")):
        with pytest.raises(PrivacyRefusal):
            ledger.reserve(charge)
    return state(ledger.entries())


def test_what_is_open_is_charged_and_what_was_settled_stands_beside_it(spent: Statement) -> None:
    assert (spent.unit, spent.delta, spent.epsilon_budget) == ("patient", DELTA, BUDGET)
    assert spent.epsilon_settled == together((SIGMA, 3), (20.0, 2))
    assert spent.epsilon_charged == together((SIGMA, 3 + 5), (20.0, 2)) > spent.epsilon_settled
    assert spent.epsilon_left == BUDGET - spent.epsilon_charged


def test_each_run_has_its_own_terms_steps_and_epsilon(spent: Statement) -> None:
    first, second = spent.runs
    assert (first.study_id, first.plan_id, first.asked_by, first.phases) == (
        "first", PLAN.plan_id, "north", (PhaseCharges("training", SIGMA, 1, 1, 1, 3, 5),),
    )  # fmt: skip
    assert (first.steps_settled, first.steps_reserved, first.refusals, first.seeded) == (3, 5, 1, False)
    assert first.epsilon == cost((SIGMA, 8))
    assert (second.study_id, second.asked_by, second.phases[0].noise_multiplier) == ("second", "south", 20.0)
    assert (second.steps_settled, second.steps_reserved, second.refusals, second.seeded) == (2, 0, 0, True)
    assert second.epsilon == cost((20.0, 2))


def test_each_phase_has_its_own_terms(tmp_path: Path) -> None:
    ledger, plan = Ledger.create(tmp_path / "two.sqlite", COHORT, POLICY, KEY), with_statistics(PLAN, 40.0)
    ledger.approve(Approval("first", plan, "dcgan", "north"))
    ledger.settle(ledger.reserve(Charge.of(plan, "statistics", 1, "first")), 1)
    ledger.reserve(Charge.of(plan, "training", 1, "first"))
    (run,) = state(ledger.entries()).runs
    told = [(one.name, one.noise_multiplier, one.steps_settled, one.steps_reserved) for one in run.phases]
    assert told == [("statistics", 40.0, 1, 0), ("training", SIGMA, 0, 5)]
    assert run.epsilon == cost((SIGMA, 5), (40.0, 1))


def test_every_refusal_is_there_also_of_a_run_that_was_never_charged(spent: Statement) -> None:
    assert [(refusal.entry, refusal.study_id, refusal.round) for refusal in spent.refused] == [
        (9, "first", 99),
        (10, "stranger", 1),
    ]
    assert "round 99 of training where 9 were approved" in spent.refused[0].reason
    assert isinstance(spent.refused[1], Refusal)
    assert "not approved by this hospital" in spent.refused[1].reason


def test_entries_and_the_newest_versions_are_stated(spent: Statement) -> None:
    assert (spent.entries, spent.versions) == (10, versions())


def test_who_asked_is_said_also_after_the_hospital_withdrew(ledger: Ledger) -> None:
    ledger.reserve(Charge.of(PLAN, "training", 1, "first"))
    ledger.reject("first", PLAN.plan_id, "no longer")
    assert [run.asked_by for run in state(ledger.entries()).runs] == ["north"]


def test_nothing_charged_is_a_statement_of_nothing(ledger: Ledger) -> None:
    statement = state(ledger.entries())
    assert (statement.runs, statement.refused, statement.curve) == ((), (), ())
    assert (statement.epsilon_charged, statement.epsilon_left) == (0.0, BUDGET)


def test_epsilon_left_is_never_negative(spent: Statement) -> None:
    assert replace(spent, epsilon_budget=spent.epsilon_charged / 2).epsilon_left == 0.0


def test_the_curve_has_each_charge_and_ends_at_what_is_charged(spent: Statement) -> None:
    assert [epsilon for _, epsilon in spent.curve] == [
        cost((SIGMA, 5)),
        together((SIGMA, 3), (20.0, 2)),  # reserved: the same steps are settled next
        together((SIGMA, 3), (20.0, 2)),
        spent.epsilon_charged,
    ]


def entries(rounds: Sequence[tuple[int, int | None]]) -> list[Entry]:
    """An opened ledger that reserves and, unless None, settles; unsigned, which a statement does not look at."""
    opening = {"kind": "open", "key": KEY.public, "cohort": vars(COHORT), "policy": POLICY.model_dump(mode="json")}
    bodies: list[dict[str, Any]] = [opening]
    for number, (reserved, settled) in enumerate(rounds, start=1):
        charge = replace(Charge.of(PLAN, "training", number, "first"), steps=reserved)
        bodies.append({"kind": "reserve", **vars(charge)})
        if settled is not None:
            bodies.append({"kind": "settle", "reservation": len(bodies), "steps": settled})
    common = {"created": "2026-01-01T00:00:00+00:00", "versions": {}}
    return [
        Entry(seq, canonical_json({**body, **common}), "", "", "") for seq, body in enumerate(bodies, start=1)
    ]  # fmt: skip


reservations = st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=1, max_size=100)


@given(reservations)
@settings(max_examples=25, deadline=None)
def test_the_curve_never_falls_while_every_reserved_step_is_taken(rounds: list[tuple[int, bool]]) -> None:
    statement = state(entries([(steps, steps if taken else None) for steps, taken in rounds]))
    values = [epsilon for _, epsilon in statement.curve]
    assert 1 <= len(values) <= 40
    assert all(later >= earlier - PRV_EPSILON_ERROR for earlier, later in pairwise(values))
    assert values[-1] == statement.epsilon_charged


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5) | st.none()), min_size=1, max_size=12))
@settings(max_examples=25, deadline=None)
def test_steps_are_either_settled_or_reserved_and_all_are_charged(rounds: list[tuple[int, int | None]]) -> None:
    limited = [(steps, None if taken is None else min(steps, taken)) for steps, taken in rounds]
    statement = state(entries(limited))
    (run,) = statement.runs
    taken = sum(taken for _, taken in limited if taken is not None)
    still_open = sum(steps for steps, taken in limited if taken is None)
    assert (run.steps_settled, run.steps_reserved) == (taken, still_open)
    assert statement.epsilon_settled == cost((SIGMA, taken))
    assert statement.epsilon_charged == run.epsilon == cost((SIGMA, taken + still_open))


@pytest.mark.parametrize("rounds", [38, 39, 40, 41, 76, 80])
def test_a_long_curve_is_thinned_and_keeps_its_ends(rounds: int) -> None:
    curve = state(entries([(1, 1)] * rounds)).curve
    assert 20 <= len(curve) <= 40
    assert curve[0][1] == cost((SIGMA, 1))
    assert curve[-1][1] == cost((SIGMA, rounds))


def test_a_time_that_is_a_number_is_stated_as_text() -> None:
    opening, reserve = entries([(1, None)])
    changed = replace(reserve, body=canonical_json({**json.loads(reserve.body), "created": 1700000000}))
    assert state([opening, changed]).runs[0].first == "2023-11-14T22:13:20+00:00"
