"""Faults of the machine: a charge is on the disk or was never made, and nobody trains without one.

fault                                               test
--------------------------------------------------- --------------------------------------------------------------------
killed before or after any statement of reserve     test_kill_within_reserve_charges_the_whole_round_or_nothing
killed between reserve and settle                   test_kill_between_reserve_and_settle_leaves_the_whole_charge
killed before or after any statement of settle      test_kill_within_settle_never_charges_less_than_was_taken
two runs at once on one cohort                      test_two_runs_at_once_never_pass_the_budget
disk full when the round reserves, or settles       test_disk_that_fills_up_in_a_round_lets_nobody_train_uncharged
no file may grow at all (a limit of the system)     test_files_that_cannot_grow_never_cost_a_charge
clock set back                                      test_clock_set_back_is_on_record_and_the_entries_stay_in_order

Faults of the ledger's content are in `test_tampering.py`, those of the data in `test_cohorts.py`, and what a server or
a study may not ask in `test_requests.py`. Each test is on a real node.
"""

import functools
import os
import resource
import signal
import sqlite3
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from typing import Any

import pytest

import silogan.client.ledger.ledger
import silogan.client.round
from silogan.client.ledger.ledger import Ledger, spent
from silogan.client.round import Site, run_round
from silogan.client.training.trainer import SiteTrainer
from silogan.common.errors import DataError, PrivacyRefusal, SiloganError
from silogan.common.models.networks import GAN
from silogan.common.models.weights import weights_of
from silogan.common.privacy.accounting import epsilon
from silogan.common.wire.messages import Instruction
from silogan.common.wire.study import Study
from tests.ledger_faults.hospital import (
    DELTA,
    ROUNDS,
    STEPS,
    Hospital,
    ask,
    assert_clean,
    assert_one_line,
    budget_for,
    cost,
    forks,
    in_processes,
    make_weights,
    watched,
)

STATEMENTS = ["journal_mode", "synchronous", "BEGIN", "sqlite_master", "SELECT", "INSERT", "COMMIT", "close"]
"""What a transaction of the ledger does, in order."""

MOMENTS = [f"{when} {statement}" for statement in STATEMENTS for when in ("before", "after")]


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class Connection(sqlite3.Connection):
    """Notes each moment of its work, and at the fatal one kills its process."""

    fatal: str | None = None
    seen: list[str]

    def around(self, name: str, work: Callable[[], Any]) -> Any:
        self._at(f"before {name}")
        result = work()
        self._at(f"after {name}")
        return result

    def _at(self, moment: str) -> None:
        self.seen.append(moment)
        if moment == self.fatal:
            die()

    def execute(self, sql: str, *values: Any) -> Any:
        name = next(word for word in STATEMENTS if word in sql)
        return self.around(name, functools.partial(super().execute, sql, *values))

    def close(self) -> None:
        self.around("close", super().close)


def armed(patch: pytest.MonkeyPatch, method: str, fatal: str | None = None) -> list[str]:
    """Lets the fatal moment come within one method of the ledger; the moments that were seen in it."""
    work, seen = getattr(Ledger, method), list[str]()
    factory = type("Fatal", (Connection,), {"fatal": fatal, "seen": seen})

    def wrapped(ledger: Ledger, *values: Any) -> Any:
        with pytest.MonkeyPatch.context() as inner:
            inner.setattr(sqlite3, "connect", functools.partial(sqlite3.connect, factory=factory))
            return work(ledger, *values)

    patch.setattr(Ledger, method, wrapped)
    return seen


def fewer_steps(_site: Site, _instruction: Instruction, gan: GAN, *_: Any) -> silogan.client.round._Outcome:
    """Training that stops after the first step, so that settling gives something back."""
    return silogan.client.round._Outcome(1, weights_of(gan), {})


def killed_in(hospital: Hospital, study: Study, method: str, moment: str) -> None:
    """A process of its own does round 1, and is killed at a moment of the ledger's method."""

    def work() -> int:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(silogan.client.round, "_train", fewer_steps)
            armed(patch, method, moment)
            hospital.round(study)
        return 0

    assert in_processes(work) == [-signal.SIGKILL]


def assert_goes_on(hospital: Hospital, study: Study, charged: int) -> None:
    """What was charged is charged, an auditor finds nothing, and the round can be done again, at its own cost."""
    assert hospital.ledger.epsilon() == cost(charged)
    assert_clean(hospital)
    assert hospital.round(study).ledger_head == hospital.ledger.head()
    assert hospital.ledger.epsilon() == cost(charged + STEPS)
    assert_clean(hospital)


def assert_answered(hospital: Hospital, study: Study, charged: int, taken: int) -> None:
    """So much is charged; the round is over, and whoever asks again gets its reply, which is settled by then."""
    assert hospital.ledger.epsilon() == cost(charged)
    assert_clean(hospital)
    with watched() as seen:
        replies = [hospital.round_of(seen.site(hospital.site(study))) for _ in range(2)]
    assert seen.events == []
    assert replies[0] == replies[1]
    assert [entry.hash for entry in hospital.ledger.entries() if entry.content["kind"] == "settle"] == [
        replies[0].ledger_head
    ]
    assert hospital.ledger.epsilon() == cost(taken)
    hospital.round(study, 2)
    assert hospital.ledger.epsilon() == cost(taken + STEPS)
    assert_clean(hospital)


@pytest.mark.parametrize("method", ["reserve", "settle"])
def test_moments_are_all_that_there_are(
    hospital: Hospital, study: Study, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = armed(monkeypatch, method)
    hospital.round(study)
    assert seen == MOMENTS


@forks
@pytest.mark.parametrize("moment", MOMENTS)
def test_kill_within_reserve_charges_the_whole_round_or_nothing(hospital: Hospital, study: Study, moment: str) -> None:
    killed_in(hospital, study, "reserve", moment)
    committed = MOMENTS.index(moment) >= MOMENTS.index("after COMMIT")
    assert hospital.kinds() == ["approve", "reserve"][: 1 + committed]
    assert_goes_on(hospital, study, STEPS * committed)


@forks
@pytest.mark.parametrize("moment", MOMENTS)
def test_kill_within_settle_never_charges_less_than_was_taken(hospital: Hospital, study: Study, moment: str) -> None:
    killed_in(hospital, study, "settle", moment)
    committed = MOMENTS.index(moment) >= MOMENTS.index("after COMMIT")
    assert hospital.kinds() == ["approve", "reserve", "settle"][: 2 + committed]
    assert_answered(hospital, study, 1 if committed else STEPS, 1)


@forks
def test_kill_between_reserve_and_settle_leaves_the_whole_charge(hospital: Hospital, study: Study) -> None:
    def work() -> int:
        step = SiteTrainer._discriminator_step

        def last(trainer: SiteTrainer) -> None:
            step(trainer)
            die()

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(SiteTrainer, "_discriminator_step", last)
            hospital.round(study)
        return 0

    assert in_processes(work) == [-signal.SIGKILL]
    assert hospital.kinds() == ["approve", "reserve"]
    assert_goes_on(hospital, study, STEPS)


# --- two at once -----------------------------------------------------------------------------------------------------


@forks
def test_two_runs_at_once_never_pass_the_budget(hospital: Hospital) -> None:
    paid = ROUNDS - 1  # fewer than one of the runs wants
    budget = budget_for(paid)
    hospital.write_policy(epsilon=budget)
    studies = [hospital.study(name) for name in ("first", "second")]
    for study in studies:
        hospital.approve(study)

    def rounds_until_refused(study: Study) -> int:
        for number in range(1, ROUNDS + 1):
            try:
                hospital.round(study, number)
            except PrivacyRefusal:
                return 100 + number - 1
        return 255

    codes = in_processes(*(functools.partial(rounds_until_refused, study) for study in studies))
    assert all(100 <= code < 255 for code in codes), codes
    assert sum(code - 100 for code in codes) == paid
    entries = hospital.ledger.entries()
    assert hospital.kinds().count("reserve") == paid
    assert epsilon(spent(entries), DELTA) <= budget < cost((paid + 1) * STEPS)
    refused = [entry.content["study_id"] for entry in entries if entry.content["kind"] == "refuse"]
    assert sorted(refused) == sorted(study.study_id for study in studies)
    assert_clean(hospital)


# --- the disk --------------------------------------------------------------------------------------------------------


def full_disk_in(patch: pytest.MonkeyPatch, method: str) -> None:
    """From now on the ledger's file cannot grow while the method works, and what is free in it is taken before."""
    work, connect = getattr(Ledger, method), sqlite3.connect

    def capped(*values: Any, **options: Any) -> sqlite3.Connection:
        db = connect(*values, **options)
        db.execute("PRAGMA max_page_count = 1")  # cannot go below the present size
        return db

    def wrapped(ledger: Ledger, *values: Any) -> Any:
        with pytest.MonkeyPatch.context() as inner:
            inner.setattr(sqlite3, "connect", capped)
            with suppress(DataError):
                while True:
                    ledger.reject("", "", "-")
            return work(ledger, *values)

    patch.setattr(Ledger, method, wrapped)


@pytest.mark.parametrize(
    ("method", "events", "charges"),
    [("reserve", [], []), ("settle", ["read", "trained"], ["reserve"])],
    ids=["while reserving", "while settling"],
)
def test_disk_that_fills_up_in_a_round_lets_nobody_train_uncharged(
    hospital: Hospital,
    study: Study,
    monkeypatch: pytest.MonkeyPatch,
    method: str,
    events: list[str],
    charges: list[str],
) -> None:
    site = hospital.site(study)
    with monkeypatch.context() as patch, watched() as seen:
        full_disk_in(patch, method)
        with pytest.raises(DataError, match="full") as caught:
            run_round(seen.site(site), ask(study), make_weights(study))
    assert_one_line(caught.value)
    assert seen.events == events
    assert [kind for kind in hospital.kinds() if kind != "reject"] == ["approve", *charges]
    if method == "settle":
        assert_answered(hospital, study, STEPS, STEPS)
    else:
        assert_goes_on(hospital, study, 0)


DONE, REFUSED, TRAINED, CRASHED = 10, 11, 12, 13


@forks
@pytest.mark.parametrize("bytes_at_most", [0, 4096, 16_384, 40_000, 10_000_000])
def test_files_that_cannot_grow_never_cost_a_charge(hospital: Hospital, study: Study, bytes_at_most: int) -> None:
    site = hospital.site(study)

    def work() -> int:
        resource.setrlimit(resource.RLIMIT_FSIZE, (bytes_at_most, bytes_at_most))
        with watched() as seen:
            try:
                run_round(seen.site(site), ask(study), make_weights(study))
            except (SiloganError, OSError) as error:
                if seen.events:
                    return TRAINED
                return REFUSED if isinstance(error, DataError) and "\n" not in str(error) else CRASHED
        return DONE

    (ended,) = in_processes(work)
    if bytes_at_most < 32_768:  # the shared memory of SQLite's log alone is as large
        assert ended == REFUSED
        assert hospital.kinds() == ["approve"]
    else:
        assert ended in ((DONE,) if bytes_at_most > 1_000_000 else (TRAINED, DONE))
        assert hospital.ledger.epsilon() == cost(STEPS)
    assert_clean(hospital)


# --- the clock -------------------------------------------------------------------------------------------------------


def test_clock_set_back_is_on_record_and_the_entries_stay_in_order(
    hospital: Hospital, study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Earlier(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> "Earlier":
            return cls(1999, 12, 31, tzinfo=tz)

    with monkeypatch.context() as patch:
        patch.setattr(silogan.client.ledger.ledger, "datetime", Earlier)
        hospital.round(study)
    hospital.round(study, 2)
    contents = [entry.content for entry in hospital.ledger.entries()]
    times = [datetime.fromisoformat(content["created"]) for content in contents]
    assert times == sorted(times)
    set_back = [content.get("clock_set_back_to") for content in contents]
    assert set_back == [None, None, *["1999-12-31T00:00:00+00:00"] * 2, None, None]
    assert hospital.ledger.epsilon() == cost(2 * STEPS)
    assert_clean(hospital)
