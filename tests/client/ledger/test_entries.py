"""Entries are read as what they say, those of older software too: whole ledgers of it are audited to the same figures.

`old/*.jsonl` hold the rows of ledgers that the software wrote before there were phases: one of training alone, one with
a warm start. In each two people approve a study, one round is interrupted and repeated, some requests are refused, and
a second study finds no room.
"""

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from silogan.client.ledger.audit import audit
from silogan.client.ledger.chain import Entry, read_entries
from silogan.client.ledger.entries import Approve, Endorse, Open, Refuse, Reserve, Settle, of_kind, read
from silogan.client.ledger.statement import state
from silogan.common.errors import VerificationError
from silogan.common.privacy.accounting import information
from silogan.common.privacy.plan import canonical_json

OLD = Path(__file__).parent / "old"
# what the older software found in its own ledgers: PRV, PLD, RDP, and ε of what was settled
FIGURES = {
    "training": (9.635945663706758, 9.625184046110565, 12.356812362519053, 8.640908813243607),
    "warm-start": (9.71588557301109, 9.705208466184162, 12.883158992153962, 8.944405117384392),
}


def rebuilt(name: str, path: Path, change: Callable[[dict[str, Any]], None] | None = None) -> Path:
    """The ledger file of those rows; with a change, in bodies that nobody signed."""
    rows = [json.loads(line) for line in (OLD / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]
    if change is not None:
        for row in rows:
            body = json.loads(row[1])
            change(body)
            row[1] = canonical_json(body)
    db = sqlite3.connect(path)
    db.execute("CREATE TABLE entries (seq INTEGER PRIMARY KEY, body TEXT, previous TEXT, hash TEXT, signature TEXT)")
    db.executemany("INSERT INTO entries VALUES (?, ?, ?, ?, ?)", rows)
    db.commit()
    db.close()
    return path


@pytest.mark.parametrize("name", FIGURES)
def test_a_ledger_of_older_software_is_audited_to_the_same_figures(tmp_path: Path, name: str) -> None:
    path = rebuilt(name, tmp_path / "old.sqlite")
    opening = read(read_entries(path)[0])
    assert isinstance(opening, Open)
    found = audit(path, public_key=opening.key)
    assert found.findings == ()
    assert found.statement is not None
    figures = (found.epsilon_prv, found.epsilon_pld, found.epsilon_rdp, found.statement.epsilon_settled)
    assert figures == pytest.approx(FIGURES[name], rel=1e-9)  # another processor sums in another order
    (run,) = found.statement.runs
    told = [(phase.name, phase.steps_settled, phase.steps_reserved) for phase in run.phases]
    release = [("statistics", 1, 0)] if name == "warm-start" else []
    assert told == [*release, ("training", 13, 5)]
    assert [said.decision for said in found.statement.decisions][:2] == ["endorse", "approve"]


def test_what_was_round_0_is_the_first_of_its_phase(tmp_path: Path) -> None:
    entries = read_entries(rebuilt("warm-start", tmp_path / "old.sqlite"))
    charges = [(charge.phase, charge.round) for _, charge in of_kind(entries, Reserve)]
    assert charges == [("statistics", 1), ("training", 1), ("training", 2), ("training", 2), ("training", 3)]
    ((_, endorsed),), ((_, approved),) = of_kind(entries, Endorse), of_kind(entries, Approve)
    assert endorsed.like(approved)
    assert {charge.plan_id for _, charge in of_kind(entries, Reserve)} == {approved.plan_id} != {approved.plan.plan_id}
    release, training = approved.plan.phases
    assert release.share == pytest.approx(1 / release.noise_multiplier**2 / information(10.0, 1e-5))
    assert release.share + training.share == pytest.approx(1)
    assert (training.records_per_patient, training.rounds, training.spare_rounds) == (4, 4, 0)
    assert [approved.forbids(charge.charge) for _, charge in of_kind(entries, Reserve)] == [None] * 5


def less_noise(body: dict[str, Any]) -> None:
    if body["kind"] == "reserve" and body["purpose"] == "warm_start":
        body["noise_multiplier"] /= 2


def other_plan(body: dict[str, Any]) -> None:
    if body["kind"] == "approve":
        body["plan"]["warm_start_noise_multiplier"] *= 2


def second_release(body: dict[str, Any]) -> None:
    if body["kind"] == "reserve" and body["round"] == 1:
        body.update(round=0, purpose="warm_start")


@pytest.mark.parametrize("change", [less_noise, other_plan, second_release])
def test_what_is_changed_in_an_older_ledger_is_found(tmp_path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """The bodies alone are looked at here: that they were changed shows in their hashes anyway."""
    bodies = [entry.body for entry in read_entries(rebuilt("warm-start", tmp_path / "old.sqlite", change))]
    entries = [Entry(seq, body, "", "", "") for seq, body in enumerate(bodies, start=1)]
    ((_, approved),) = of_kind(entries, Approve)
    assert any(approved.forbids(charge.charge) for _, charge in of_kind(entries, Reserve))


def entry(**values: Any) -> Entry:
    common = {"created": "2026-01-01T00:00:00+00:00", "versions": {}}
    return Entry(7, json.dumps({**common, **values}), "", "", "")


RESERVE = {
    "kind": "reserve", "study_id": "s", "plan_id": "p", "phase": "training", "round": 1, "steps": 1,
    "noise_multiplier": 1.0, "sample_rate": 0.5, "clip_norm": 1.0, "records_per_patient": 1, "replay_key": "",
}  # fmt: skip
OLD_PLAN = {
    "private": True, "seeded": False, "unit": "record", "epsilon": 8.0, "delta": 1e-5, "noise_multiplier": 1.0,
    "sample_rate": 0.5, "clip_norm": 1.0, "steps_per_round": 1, "rounds": 1,
}  # fmt: skip
APPROVE = {"kind": "approve", "study_id": "s", "family": "f", "server": "s", "override": ""}


def test_each_kind_is_read_as_what_it_is() -> None:
    assert isinstance(read(entry(**RESERVE)), Reserve)
    assert isinstance(read(entry(**APPROVE, plan=OLD_PLAN)), Approve)
    assert isinstance(read(entry(kind="settle", reservation=3, steps=0)), Settle)
    refusal = read(entry(kind="refuse", study_id="s", plan_id="p", round=3, reason="r"))
    assert isinstance(refusal, Refuse)
    assert (refusal.phase, refusal.times) == ("", 1)


@pytest.mark.parametrize(
    "body",
    [
        *({**RESERVE, "steps": -1}, {**RESERVE, "round": "1"}, {**RESERVE, "comment": "free"}, {**RESERVE, "phase": 3}),
        *({**RESERVE, "purpose": "warm_start", "round": None}, {**RESERVE, "purpose": [1]}, {"kind": "gift"}, {}),
        *({**APPROVE, "plan": {**OLD_PLAN, "epsilon": value}} for value in ("8", 0.0, 1e300, None, [8.0])),
        *({**APPROVE, "plan": {**OLD_PLAN, "warm_start_noise_multiplier": value}} for value in (0.0, 1e-300, True)),
        *({**APPROVE, "plan": value} for value in (None, [], 3, {}, {"phases": []}, {**OLD_PLAN, "gift": 1})),
        {**APPROVE, "plan": OLD_PLAN, "former_id": "0" * 64},
        *({"kind": "policy", "policy": value} for value in (None, [], {})),
    ],
    ids=str,
)
def test_what_no_entry_may_say_is_named_in_one_line(body: dict[str, Any]) -> None:
    with pytest.raises(
        VerificationError, match="ledger entry 7: has a field of the wrong type or with an invalid value"
    ) as caught:
        read(entry(**body))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("body", ["", "[]", "3", "null", "[" * 10_000, '{"kind": NaN}'])
def test_what_is_no_entry_at_all(body: str) -> None:
    with pytest.raises(VerificationError, match="ledger entry 7"):
        read(Entry(7, body, "", "", ""))


def test_the_statement_of_an_older_ledger_says_when_things_were(tmp_path: Path) -> None:
    entries = read_entries(rebuilt("training", tmp_path / "old.sqlite"))
    stated = state(entries)
    assert stated.runs[0].first == entries[4].content["created"]
    assert [refusal.round for refusal in stated.refused] == [3, 0]
