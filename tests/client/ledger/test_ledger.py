import hashlib
import multiprocessing
import os
import signal
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

import silogan.client.ledger.chain
import silogan.client.ledger.ledger
from silogan.client.ledger.chain import Chain
from silogan.client.ledger.keys import SiteKey
from silogan.client.ledger.ledger import Approval, Charge, Cohort, Ledger
from silogan.client.ledger.policy import Policy
from silogan.common.errors import DataError, PrivacyRefusal, SiloganError, VerificationError
from silogan.common.privacy.accounting import Mechanism, epsilon, epsilon_filtered, filter_order
from silogan.common.privacy.plan import PrivacyPlan, canonical_json
from silogan.common.wire.study import versions
from tests.plans import training_plan, with_phase, with_statistics

DELTA, BUDGET, SIGMA, RATE = 1e-4, 1.0, 10.0, 1.0  # rate 1 is what the accountant is quickest with
COHORT = Cohort("record", DELTA)
KEY = SiteKey(Ed25519PrivateKey.generate())


def cost(steps: int) -> float:
    """ε of so many steps at σ = 10 and q = 1."""
    return epsilon([Mechanism(SIGMA, RATE, steps)], DELTA)


def affordable_steps() -> int:
    steps = 0
    while cost(steps + 1) <= BUDGET:
        steps += 1
    return steps


MOST = affordable_steps()
FIVE = 5
# one step a round, and more rounds than the policy's budget pays for
PLAN = training_plan(True, False, "record", 4.0, DELTA, SIGMA, RATE, 1.0, 1, 40)
POLICY = Policy.of_plan(PLAN, "dcgan", "coordinator").model_copy(update={"epsilon": BUDGET, "max_steps_per_round": 99})
APPROVAL = Approval("study", PLAN, "dcgan", "coordinator")


def of_steps(steps: int) -> PrivacyPlan:
    """The plan with so many steps a round."""
    return with_phase(PLAN, steps_per_round=steps)


def created(path: Path, cohort: Cohort = COHORT, *, steps: int = 1) -> Ledger:
    """A ledger whose hospital has approved the plan."""
    ledger = Ledger.create(path, cohort, POLICY, KEY)
    ledger.approve(replace(APPROVAL, plan=replace(of_steps(steps), seeded=cohort.rehearsal)))
    return ledger


def opened(path: Path) -> Ledger:
    return Ledger(path, KEY)


def kinds(ledger: Ledger) -> list[str]:
    return [entry.content["kind"] for entry in ledger.entries()]


def charge(steps: int = 1, **changes: Any) -> Charge:
    return replace(Charge.of(of_steps(steps), "training", 1, "study"), **changes)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.sqlite"


@pytest.fixture
def ledger(path: Path) -> Ledger:
    return created(path)


@pytest.fixture
def fives(path: Path) -> Ledger:
    """A ledger with rounds of five steps."""
    return created(path, steps=FIVE)


def reserve_rounds(ledger: Ledger, count: int) -> None:
    """Reserves the first rounds, of one step each."""
    for number in range(1, count + 1):
        ledger.reserve(charge(round=number))


def tamper(path: Path, *statements: str) -> None:
    """What somebody with the file can do: first the triggers go."""
    with sqlite3.connect(path) as db:
        for (trigger,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            db.execute(f"DROP TRIGGER {trigger}")
        for statement in statements:
            db.execute(statement)
    db.close()


def assert_one_line(error: SiloganError) -> None:
    assert "\n" not in str(error)
    assert error.thing
    assert error.problem
    assert error.hint


# --- reserve, settle -------------------------------------------------------------------------------------------------


def test_new_ledger_has_spent_nothing(ledger: Ledger) -> None:
    assert kinds(ledger) == ["open", "approve"]
    assert ledger.epsilon() == 0.0


def test_first_entry_says_whose_ledger_it_is(ledger: Ledger) -> None:
    content = dict(ledger.entries()[0].content)
    assert content.pop("created").endswith("+00:00")
    assert content.pop("versions") == versions()
    policy = POLICY.model_dump(mode="json")
    assert content == {"kind": "open", "key": KEY.public, "cohort": vars(COHORT), "policy": policy}


def test_reservation_is_charged_in_full_until_it_is_settled(fives: Ledger, path: Path) -> None:
    number = fives.reserve(charge(FIVE))
    assert opened(path).epsilon() == cost(5)  # as after a crash: only the file remains
    fives.settle(number, 2)
    assert opened(path).epsilon() == cost(2) < cost(5)


def test_entry_holds_the_charge_and_when_it_was_made(fives: Ledger) -> None:
    wanted = charge(FIVE)
    fives.settle(fives.reserve(wanted), 4)
    _, _, reserved, settled = (dict(entry.content) for entry in fives.entries())
    assert reserved.pop("versions") == settled.pop("versions") == versions()
    assert reserved.pop("created").endswith("+00:00")
    assert reserved == {"kind": "reserve", **vars(wanted)}
    assert settled.pop("created").endswith("+00:00")
    assert settled == {"kind": "settle", "reservation": 3, "steps": 4}


def test_charge_of_a_round_is_the_plan_s_own() -> None:
    plan = training_plan(True, True, "patient", 8.0, 1e-5, 1.5, 0.1, 0.7, 30, 9, 3)
    made = Charge.of(plan, "training", 4, "study", "key")
    assert made == Charge("study", plan.plan_id, "training", 4, 30, 1.5, 0.1, 0.7, 3, "key")


def test_settling_with_no_steps_gives_everything_back(fives: Ledger) -> None:
    fives.settle(fives.reserve(charge(FIVE)), 0)
    assert fives.epsilon() == 0.0


def test_settling_twice_with_the_same_steps_changes_nothing(fives: Ledger) -> None:
    number = fives.reserve(charge(FIVE))
    fives.settle(number, 3)
    head = fives.head()
    fives.settle(number, 3)
    assert fives.head() == head
    assert fives.epsilon() == cost(3)


@pytest.mark.parametrize("steps", [0, 2, 4, 5])
def test_settling_again_with_other_steps_is_refused(fives: Ledger, steps: int) -> None:
    number = fives.reserve(charge(FIVE))
    fives.settle(number, 3)
    with pytest.raises(VerificationError) as caught:
        fives.settle(number, steps)
    assert_one_line(caught.value)
    assert fives.epsilon() == cost(3)


@pytest.mark.parametrize("steps", [-1, 6, 1000])
def test_settling_more_than_reserved_or_less_than_nothing_is_refused(fives: Ledger, steps: int) -> None:
    number = fives.reserve(charge(FIVE))
    with pytest.raises(VerificationError):
        fives.settle(number, steps)
    assert fives.epsilon() == cost(5)
    assert kinds(fives) == ["open", "approve", "reserve"]


@pytest.mark.parametrize("number", [0, 1, 2, 4, 5, -1])
def test_settling_what_was_not_reserved_is_refused(fives: Ledger, number: int) -> None:
    fives.settle(fives.reserve(charge(FIVE)), 5)  # entries 1, 2 and 4 are no reservations
    with pytest.raises(VerificationError):
        fives.settle(number, 0)
    assert kinds(fives) == ["open", "approve", "reserve", "settle"]


# --- the budget ------------------------------------------------------------------------------------------------------


def test_over_budget_is_refused_and_nothing_is_charged(ledger: Ledger) -> None:
    reserve_rounds(ledger, MOST)
    with pytest.raises(PrivacyRefusal) as caught:
        ledger.reserve(charge(round=MOST + 1))
    assert_one_line(caught.value)
    assert f"round {MOST + 1} of training would bring ε to" in str(caught.value)
    assert ledger.epsilon() == cost(MOST)
    assert kinds(ledger) == ["open", "approve", *["reserve"] * MOST, "refuse"]
    refused = ledger.entries()[-1].content
    assert (refused["study_id"], refused["plan_id"], refused["round"]) == ("study", PLAN.plan_id, MOST + 1)
    assert refused["reason"] == str(caught.value)


def test_refusal_for_another_reason_is_written_and_costs_nothing(ledger: Ledger) -> None:
    ledger.refuse("study", "plan", 3, PrivacyRefusal("plan", "is unknown", "approve it"))
    assert kinds(ledger) == ["open", "approve", "refuse"]
    assert ledger.entries()[-1].content["reason"] == "plan: is unknown; approve it"
    assert ledger.epsilon() == 0.0


def test_what_settling_gives_back_can_be_reserved_again(path: Path) -> None:
    ledger = created(path, steps=MOST)
    number = ledger.reserve(charge(MOST))
    with pytest.raises(PrivacyRefusal, match="budget"):
        ledger.reserve(charge(MOST, round=2))
    ledger.settle(number, 0)
    ledger.reserve(charge(MOST, round=2))
    assert ledger.epsilon() == cost(MOST)
    with pytest.raises(PrivacyRefusal, match="budget"):
        ledger.reserve(charge(MOST, round=3))


@pytest.mark.parametrize("nonsense", [float("nan"), float("inf")])
def test_charge_whose_cost_is_not_a_number_is_refused(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, nonsense: float
) -> None:
    monkeypatch.setattr(silogan.client.ledger.ledger, "epsilon", lambda *_: nonsense)
    with pytest.raises(PrivacyRefusal):
        ledger.reserve(charge())
    assert kinds(ledger) == ["open", "approve", "refuse"]


def test_epsilon_composes_over_everything_in_the_file(path: Path) -> None:
    """By PRV as long as there is one study; by the filter as soon as there is another."""
    first = created(path, steps=2)
    quieter = with_phase(PLAN, noise_multiplier=20.0, rounds=2)
    first.approve(replace(APPROVAL, study_id="study B", plan=quieter))
    first.reserve(charge(2))
    first.settle(first.reserve(charge(2, round=2)), 1)
    assert first.epsilon() == cost(3)
    second = opened(path)
    with pytest.raises(PrivacyRefusal, match=r"leaves no room for a second study: .* the first plan alone"):
        second.reserve(Charge.of(quieter, "training", 1, "study B"))
    assert first.epsilon() == cost(3)


SHORT = with_phase(PLAN, rounds=3)
ORDER = filter_order(BUDGET, DELTA)


def test_several_studies_are_counted_by_the_filter(path: Path) -> None:
    """At the order that was fixed when the ledger was opened, whatever the policy says later."""
    ledger = Ledger.create(path, COHORT, POLICY, KEY)
    names = [f"study {number}" for number in range(MOST)]
    for name in names:
        ledger.approve(Approval(name, SHORT, "dcgan", "coordinator"))
    for number in (1, 2):
        ledger.reserve(Charge.of(SHORT, "training", number, names[0]))
    assert ledger.epsilon() == cost(2)
    ledger.enforce(POLICY.model_copy(update={"epsilon": 0.99 * BUDGET}))
    room = next(
        n for n in range(1, 99) if epsilon_filtered([Mechanism(SIGMA, RATE, n + 1)], DELTA, ORDER) > 0.99 * BUDGET
    )
    for name in names[1 : room - 1]:
        ledger.reserve(Charge.of(SHORT, "training", 1, name))
        assert ledger.epsilon() == epsilon_filtered(ledger.mechanisms(), DELTA, ORDER) > cost(len(ledger.mechanisms()))
    with pytest.raises(PrivacyRefusal, match="would bring ε to"):
        ledger.reserve(Charge.of(SHORT, "training", 1, names[-1]))
    assert 3 < len(ledger.mechanisms()) == room < MOST
    assert ledger.epsilon() <= 0.99 * BUDGET


def test_what_the_first_study_may_still_take_decides_whether_a_second_one_is_let_in(path: Path) -> None:
    """Not what it took: else an answer could choose between the two ways to count, and δ would count twice."""
    rounds = next(n for n in range(1, 99) if epsilon_filtered([Mechanism(SIGMA, RATE, n)], DELTA, ORDER) > BUDGET)
    assert cost(rounds) < BUDGET, "by itself it could have more"
    for more, let_in in ((0, False), (-1, True)):
        first = with_phase(PLAN, rounds=rounds + more)
        ledger = Ledger.create(path.with_name(f"{more}.sqlite"), COHORT, POLICY, KEY)
        ledger.approve(Approval("first", first, "dcgan", "coordinator"))
        ledger.settle(ledger.reserve(Charge.of(first, "training", 1, "first")), 1)
        wanted = Approval("second", SHORT, "dcgan", "coordinator")
        if let_in:
            ledger.approve(wanted)
            ledger.reserve(Charge.of(SHORT, "training", 1, "second"))
        else:
            with pytest.raises(PrivacyRefusal, match="no room for a second study"):
                ledger.approve(wanted)
            ledger.reserve(Charge.of(first, "training", 2, "first"))  # which goes on


# --- the plan is a ceiling -------------------------------------------------------------------------------------------

WARM = with_statistics(with_phase(PLAN, rounds=4), 30.0)


def test_a_round_that_was_settled_is_never_reserved_again(ledger: Ledger) -> None:
    ledger.settle(ledger.reserve(charge()), 1)
    with pytest.raises(PrivacyRefusal, match="round 1 of training: was already answered") as caught:
        ledger.reserve(charge())
    assert_one_line(caught.value)
    ledger.reserve(charge(round=2))
    assert ledger.epsilon() == cost(2)


def test_an_interrupted_round_takes_a_spare_one(path: Path) -> None:
    """Three rounds and two spare ones: five reservations, whichever rounds are interrupted."""
    plan = with_phase(PLAN, rounds=5)
    ledger = Ledger.create(path, COHORT, POLICY, KEY)
    ledger.approve(replace(APPROVAL, plan=plan))
    for number in (1, 1, 2, 2):
        ledger.reserve(Charge.of(plan, "training", number, "study"))
    ledger.settle(ledger.reserve(Charge.of(plan, "training", 3, "study")), 1)
    for number in (1, 2, 4):
        with pytest.raises(PrivacyRefusal, match=f"round {number} of training: has no spare round left: all 5 "):
            ledger.reserve(Charge.of(plan, "training", number, "study"))
    assert ledger.epsilon() == cost(5)


@pytest.mark.parametrize("settled", [False, True])
def test_the_warm_start_is_reserved_once(path: Path, settled: bool) -> None:
    ledger = Ledger.create(path, COHORT, POLICY, KEY)
    ledger.approve(Approval("study", WARM, "dcgan", "coordinator"))
    number = ledger.reserve(Charge.of(WARM, "statistics", 1, "study"))
    if settled:
        ledger.settle(number, 1)
    with pytest.raises(PrivacyRefusal, match="round 1 of statistics: "):
        ledger.reserve(Charge.of(WARM, "statistics", 1, "study"))
    ledger.reserve(Charge.of(WARM, "training", 1, "study"))
    assert ledger.mechanisms() == [Mechanism(30.0, 1.0, 1), Mechanism(SIGMA, RATE, 1)]


@pytest.mark.parametrize(
    "plan", [with_phase(WARM, "statistics", noise_multiplier=15.0), with_phase(WARM, clip_norm=2.0)], ids=str
)
def test_another_warm_start_than_the_approved_is_refused(path: Path, plan: PrivacyPlan) -> None:
    ledger = Ledger.create(path, COHORT, POLICY, KEY)
    ledger.approve(Approval("study", WARM, "dcgan", "coordinator"))
    with pytest.raises(PrivacyRefusal) as caught:
        ledger.reserve(Charge.of(plan, "statistics", 1, "study"))
    assert_one_line(caught.value)
    assert ledger.mechanisms() == []


def test_a_plan_without_a_warm_start_allows_none(ledger: Ledger) -> None:
    with pytest.raises(PrivacyRefusal) as caught:
        ledger.reserve(replace(Charge.of(WARM, "statistics", 1, "study"), plan_id=PLAN.plan_id))
    assert_one_line(caught.value)
    assert ledger.mechanisms() == []


def test_a_study_never_costs_more_than_was_approved(path: Path) -> None:
    """Also where its rounds and steps would allow more, and the hospital's budget too."""
    plan = replace(PLAN, epsilon=(cost(2) + cost(3)) / 2)
    ledger = Ledger.create(path, COHORT, POLICY, KEY)
    ledger.approve(Approval("study", plan, "dcgan", "coordinator"))
    for number in (1, 2):
        ledger.reserve(Charge.of(plan, "training", number, "study"))
    with pytest.raises(PrivacyRefusal, match="round 3 of training would bring this study's ε to") as caught:
        ledger.reserve(Charge.of(plan, "training", 3, "study"))
    assert_one_line(caught.value)
    assert ledger.epsilon() == cost(2)


@pytest.mark.parametrize("steps", [0, 4, 6])
def test_a_charge_is_of_the_steps_that_were_approved(fives: Ledger, steps: int) -> None:
    with pytest.raises(PrivacyRefusal, match=f"asks for {steps} steps where 5 were approved"):
        fives.reserve(replace(charge(FIVE), steps=steps))


@pytest.mark.parametrize(
    "change",
    [
        *({"steps": -1}, {"steps": 1.0}, {"steps": True}, {"steps": "1"}, {"steps": 10**9}, {"round": -1}),
        *({"noise_multiplier": 0.0}, {"noise_multiplier": float("nan")}, {"noise_multiplier": float("inf")}),
        *({"sample_rate": 0.0}, {"sample_rate": 1.1}, {"clip_norm": -1.0}, {"records_per_patient": 0}),
        *({"phase": 3}, {"study_id": None}, {"replay_key": 3}, {"comment": "free"}),
    ],
    ids=str,
)
def test_a_charge_that_cannot_be_is_not_even_made(change: dict[str, Any]) -> None:
    with pytest.raises((ValueError, TypeError)):
        replace(charge(), **change)


def test_an_entry_that_gives_budget_back_is_never_reckoned_with(ledger: Ledger, path: Path) -> None:
    """Written by older software, with the site's own key."""
    ledger.reserve(charge())
    with Chain(path, KEY).transaction() as book:
        book.append({**book.entries[-1].content, "steps": -1, "round": 2})
    for use in (ledger.epsilon, lambda: ledger.reserve(charge(round=3))):
        with pytest.raises(
            VerificationError, match="ledger entry 4: has a field of the wrong type or with an invalid value"
        ) as caught:
            use()
        assert_one_line(caught.value)


def test_an_older_ledger_with_the_key_seeded_in_its_policy_is_read(path: Path) -> None:
    with Chain(path, KEY).transaction() as book:
        cohort = {key: value for key, value in vars(COHORT).items() if key != "rehearsal"}
        policy = {**POLICY.model_dump(mode="json"), "seeded": True}
        body = {"kind": "open", "key": KEY.public, "cohort": cohort, "policy": policy}
        book.append({**body, "created": "2026-01-01T00:00:00+00:00", "versions": {}})
    ledger = opened(path)
    assert not ledger.cohort.rehearsal
    with pytest.raises(PrivacyRefusal, match="seeded"):
        ledger.approve(replace(APPROVAL, plan=replace(PLAN, seeded=True)))
    ledger.approve(APPROVAL)
    ledger.reserve(charge())


# --- repetitions -----------------------------------------------------------------------------------------------------

REHEARSAL = replace(COHORT, rehearsal=True)


def replayable(steps: int, key: str, number: int = 1) -> Charge:
    return Charge.of(replace(of_steps(steps), seeded=True), "training", number, "study", key)


def test_replay_key_is_charged_once(path: Path) -> None:
    ledger = created(path, REHEARSAL, steps=MOST)
    number = ledger.reserve(replayable(MOST, "same"))
    assert ledger.reserve(replayable(MOST, "same")) == number
    assert kinds(ledger) == ["open", "approve", "reserve"]
    ledger.settle(number, MOST)
    assert ledger.reserve(replayable(MOST, "same")) == number
    ledger.settle(number, MOST)
    assert ledger.epsilon() == cost(MOST)


def test_without_replay_key_every_repetition_is_charged(ledger: Ledger) -> None:
    assert ledger.reserve(charge()) != ledger.reserve(charge())
    assert ledger.epsilon() == cost(2)


def test_another_replay_key_is_another_charge(path: Path) -> None:
    ledger = created(path, REHEARSAL)
    ledger.reserve(replayable(1, "a"))
    ledger.reserve(replayable(1, "b"))
    assert ledger.epsilon() == cost(2)


def test_a_replay_key_is_no_way_around_another_round_s_charge(path: Path) -> None:
    ledger = created(path, REHEARSAL)
    first = ledger.reserve(replayable(1, "same"))
    assert ledger.reserve(replayable(1, "same", 2)) != first
    assert ledger.epsilon() == cost(2)


def test_nothing_is_repeated_for_nothing_where_no_seed_is(ledger: Ledger) -> None:
    with pytest.raises(PrivacyRefusal, match="is not seeded"):
        ledger.reserve(charge(replay_key="key"))
    assert ledger.epsilon() == 0.0


@pytest.mark.parametrize("rehearsal", [False, True])
def test_a_ledger_takes_studies_with_a_seed_or_without_one_and_never_both(path: Path, rehearsal: bool) -> None:
    ledger = Ledger.create(path, replace(COHORT, rehearsal=rehearsal), POLICY, KEY)
    ledger.approve(replace(APPROVAL, study_id="fits", plan=replace(PLAN, seeded=rehearsal)))
    with pytest.raises(PrivacyRefusal, match="seeded"):
        ledger.approve(replace(APPROVAL, plan=replace(PLAN, seeded=not rehearsal)))
    with pytest.raises(PrivacyRefusal, match="is for"):
        Ledger.create(path, replace(COHORT, rehearsal=not rehearsal), POLICY, KEY)


# --- the chain -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "statements",
    [
        ["""UPDATE entries SET body = replace(body, '"steps":1', '"steps":0') WHERE seq = 3"""],
        ["UPDATE entries SET body = body || ' ' WHERE seq = 6"],
        ["UPDATE entries SET hash = lower(hex(randomblob(32))) WHERE seq = 6"],
        ["UPDATE entries SET signature = (SELECT signature FROM entries WHERE seq = 5) WHERE seq = 6"],
        ["UPDATE entries SET signature = 'no hexadecimal digits' WHERE seq = 6"],
        ["UPDATE entries SET previous = hash WHERE seq = 1"],
        ["UPDATE entries SET body = x'00' WHERE seq = 4"],
        ["DELETE FROM entries WHERE seq = 1"],
        ["DELETE FROM entries WHERE seq = 3"],
        ["DELETE FROM entries WHERE seq = 3", "UPDATE entries SET seq = seq - 1 WHERE seq > 3"],
        [
            "UPDATE entries SET seq = 99 WHERE seq = 3",
            "UPDATE entries SET seq = 3 WHERE seq = 4",
            "UPDATE entries SET seq = 4 WHERE seq = 99",
        ],
        ["UPDATE entries SET seq = seq + 10"],
        ["INSERT INTO entries SELECT 7, body, previous, hash || 'x', signature FROM entries WHERE seq = 6"],
    ],
    ids=[
        "steps lowered",
        "space added",
        "hash replaced",
        "signature of another entry",
        "signature of nothing",
        "predecessor replaced",
        "body of bytes",
        "first deleted",
        "middle deleted",
        "middle deleted and renumbered",
        "two swapped",
        "all renumbered",
        "forged entry added",
    ],
)
def test_altered_history_is_seen(ledger: Ledger, path: Path, statements: list[str]) -> None:
    reserve_rounds(ledger, 4)
    tamper(path, *statements)
    for use in (ledger.entries, ledger.epsilon, ledger.head, lambda: ledger.reserve(charge())):
        with pytest.raises(VerificationError) as caught:
            use()
        assert_one_line(caught.value)
    with pytest.raises(VerificationError):
        ledger.settle(3, 1)


def test_forged_entry_breaks_the_next_one_though_its_own_hash_is_right(ledger: Ledger, path: Path) -> None:
    reserve_rounds(ledger, 3)
    fourth = ledger.entries()[3]
    body = canonical_json({**fourth.content, "steps": 0})
    digest = hashlib.sha256(f"4\n{fourth.previous}\n{body}".encode()).hexdigest()
    tamper(path, f"UPDATE entries SET body = '{body}', hash = '{digest}' WHERE seq = 4")  # noqa: S608
    with pytest.raises(VerificationError, match="entry 5: does not follow"):
        ledger.entries()
    tamper(path, "DELETE FROM entries WHERE seq = 5")
    with pytest.raises(VerificationError, match="entry 4: is not signed by this site's key"):
        ledger.entries()


def test_another_key_cannot_go_on_with_the_ledger(ledger: Ledger, path: Path) -> None:
    ledger.reserve(charge())
    with pytest.raises(VerificationError, match="is not signed by this site's key"):
        Ledger(path, SiteKey(Ed25519PrivateKey.generate()))
    assert opened(path).epsilon() == cost(1)


def test_time_never_runs_backwards_in_a_ledger(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    class Earlier(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> "Earlier":
            return cls(1999, 12, 31, tzinfo=tz)

    monkeypatch.setattr(silogan.client.ledger.ledger, "datetime", Earlier)
    ledger.reserve(charge())
    _, first, second = (entry.content for entry in ledger.entries())
    assert second["created"] == first["created"]
    assert second["clock_set_back_to"] == "1999-12-31T00:00:00+00:00"
    assert "clock_set_back_to" not in first


def test_cutting_off_the_end_changes_the_head(ledger: Ledger, path: Path) -> None:
    """The chain alone cannot see it: whoever was told the head can."""
    heads = [ledger.head()]
    for number in (1, 2, 3):
        ledger.reserve(charge(round=number))
        heads.append(ledger.head())
    assert len(set(heads)) == 4
    tamper(path, "DELETE FROM entries WHERE seq = 5")
    assert ledger.head() == heads[2]


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE entries SET body = '{}'",
        "UPDATE entries SET seq = 7",
        "DELETE FROM entries",
    ],
)
def test_triggers_keep_entries_as_they_are(ledger: Ledger, path: Path, statement: str) -> None:
    ledger.reserve(charge())
    db = sqlite3.connect(path)
    with pytest.raises(sqlite3.IntegrityError, match="never"):
        db.execute(statement)
    db.close()
    assert opened(path).epsilon() == cost(1)


# --- whose ledger it is ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("other", [Cohort("patient", DELTA), Cohort("record", 1e-5), Cohort("record", DELTA, "ff")])
def test_other_cohort_is_refused(ledger: Ledger, path: Path, other: Cohort) -> None:
    ledger.reserve(charge())
    with pytest.raises(PrivacyRefusal) as caught:
        created(path, other)
    assert_one_line(caught.value)
    assert opened(path).epsilon() == cost(1)


def test_creating_it_again_changes_nothing(ledger: Ledger, path: Path) -> None:
    ledger.reserve(charge())
    assert kinds(created(path)) == ["open", "approve", "reserve"]


def test_missing_ledger_is_not_made_anew(path: Path) -> None:
    with pytest.raises(DataError, match="is missing"):
        opened(path)
    assert not path.exists()


def test_folder_in_place_of_the_file(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        opened(tmp_path)
    assert_one_line(caught.value)


def test_folder_of_the_file_is_missing(tmp_path: Path) -> None:
    with pytest.raises(DataError):
        created(tmp_path / "missing" / "ledger.sqlite")


def test_file_that_is_no_database(path: Path) -> None:
    content = b"date,patient\n" * 1000
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        opened(path)
    assert_one_line(caught.value)
    assert path.read_bytes() == content


@pytest.mark.parametrize(
    "table", ["entries (a)", "entries (seq, body, previous, hash, signature, more)", "cohort (id)"]
)
def test_database_of_something_else(path: Path, table: str) -> None:
    db = sqlite3.connect(path)
    db.execute(f"CREATE TABLE {table}")
    db.close()
    with pytest.raises(DataError) as caught:
        opened(path).reserve(charge())
    assert_one_line(caught.value)


def test_truncated_database(ledger: Ledger, path: Path) -> None:
    for _ in range(3):
        ledger.reject("s" * 5000, "plan", "no")
    path.write_bytes(path.read_bytes()[:-6000])
    with pytest.raises(DataError) as caught:
        opened(path).epsilon()
    assert_one_line(caught.value)


# --- the disk --------------------------------------------------------------------------------------------------------


def connect_with(pragma: str) -> Callable[..., sqlite3.Connection]:
    """`sqlite3.connect`, followed by a pragma that makes the connection fail as a bad disk would."""
    connect = sqlite3.connect

    def wrapped(*args: Any, **options: Any) -> sqlite3.Connection:
        db = connect(*args, **options)
        db.execute(f"PRAGMA {pragma}")
        return db

    return wrapped


@pytest.mark.parametrize(
    ("pragma", "why"), [("max_page_count = 1", "full"), ("query_only = 1", "readonly")], ids=["full", "read-only"]
)
def test_disk_that_takes_nothing_more(
    ledger: Ledger, path: Path, pragma: str, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger.reserve(charge())
    before = ledger.head()
    with monkeypatch.context() as broken:
        broken.setattr(sqlite3, "connect", connect_with(pragma))  # the page limit cannot go below the present size
        with pytest.raises(DataError, match=why) as caught:
            ledger.reject("s" * 20_000, "plan", "no")
    assert_one_line(caught.value)
    assert ledger.head() == before
    ledger.reserve(charge(round=2))
    assert ledger.epsilon() == cost(2)


def test_every_commit_is_flushed_to_the_disk(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    settings: list[tuple[str, int]] = []
    connect = sqlite3.connect

    def recording(*args: Any, **options: Any) -> sqlite3.Connection:
        db = connect(*args, **options)

        def note(statement: str) -> None:
            if statement.startswith("INSERT"):
                db.set_trace_callback(None)
                (journal,), (synchronous,) = (
                    db.execute(f"PRAGMA {name}").fetchone() for name in ("journal_mode", "synchronous")
                )
                settings.append((journal, synchronous))

        db.set_trace_callback(note)
        return db

    monkeypatch.setattr(sqlite3, "connect", recording)
    number = ledger.reserve(charge())
    ledger.settle(number, 1)
    full = 2  # PRAGMA synchronous: 0 OFF, 1 NORMAL, 2 FULL, 3 EXTRA
    assert settings == [("wal", full)] * 2


# --- many at once ----------------------------------------------------------------------------------------------------


def try_to_reserve(path: Path, attempts: int) -> int:
    """Opens the ledger and reserves a round at a time, of one step; how often it was allowed."""
    ledger = created(path)
    allowed = 0
    for _ in range(attempts):
        try:
            ledger.reserve(charge())
            allowed += 1
        except PrivacyRefusal:
            pass
    return allowed


@pytest.mark.parametrize("attempt", range(3))
def test_threads_together_never_pass_the_budget(path: Path, attempt: int) -> None:
    most, threads = MOST, 12
    assert most < threads * 2
    start = threading.Barrier(threads)

    def work(_: int) -> int:
        start.wait()
        return try_to_reserve(path, 2)

    with ThreadPoolExecutor(threads) as pool:
        allowed = list(pool.map(work, range(threads)))
    assert sum(allowed) == most
    ledger = opened(path)
    assert ledger.epsilon() == cost(most) <= BUDGET
    assert kinds(ledger).count("reserve") == most


def test_opening_waits_while_another_connection_is_creating_the_file(path: Path) -> None:
    """SQLite itself answers "locked" at once here: its timeout does not cover the change to WAL mode."""
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    release = threading.Timer(0.2, other.close)
    release.start()
    assert kinds(created(path)) == ["open", "approve"]
    release.join()


def test_opening_gives_up_when_the_file_stays_locked(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(silogan.client.ledger.chain, "_PATIENCE", 0.05)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(DataError, match="database is locked"):
        opened(path)
    other.close()


def in_processes(work: Callable[[], int], count: int) -> list[int]:
    """Runs `work` in forked processes at once; their exit codes, negative for the signal that ended one."""
    context = multiprocessing.get_context("fork")
    start = context.Barrier(count)

    def run() -> None:
        start.wait()
        os._exit(work())

    processes = [context.Process(target=run) for _ in range(count)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    return [process.exitcode if process.exitcode is not None else 255 for process in processes]


forks = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")


@forks
@pytest.mark.parametrize("exists", [False, True])
def test_processes_together_never_pass_the_budget(path: Path, exists: bool) -> None:
    most, processes = MOST, 6
    assert most < processes * 4
    if exists:
        created(path)
    codes = in_processes(lambda: 100 + try_to_reserve(path, 4), processes)
    assert min(codes) >= 100, "a process failed"
    assert sum(code - 100 for code in codes) == most
    assert opened(path).epsilon() == cost(most) <= BUDGET


def die() -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("still alive")


@forks
def test_process_killed_after_reserving_leaves_the_charge(path: Path) -> None:
    def work() -> int:
        created(path, steps=3).reserve(charge(3))
        return die()

    assert in_processes(work, 1) == [-signal.SIGKILL]
    ledger = opened(path)
    assert ledger.epsilon() == cost(3)
    ledger.settle(3, 1)
    assert ledger.epsilon() == cost(1)


@forks
def test_process_killed_while_reserving_charges_nothing_and_blocks_nobody(path: Path, ledger: Ledger) -> None:
    def work() -> int:
        silogan.client.ledger.ledger.epsilon = lambda *_: float(die())  # within the transaction
        return len(opened(path).entries()) + opened(path).reserve(charge())

    assert in_processes(work, 1) == [-signal.SIGKILL]
    assert kinds(ledger) == ["open", "approve"]
    ledger.reserve(charge())
    assert ledger.epsilon() == cost(1)
