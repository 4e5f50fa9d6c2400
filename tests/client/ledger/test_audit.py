"""A clean ledger is found clean, and whatever is done to one is found and named."""

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

import silogan.client.ledger.audit
from silogan.client.ledger.audit import THE_LEDGER, audit
from silogan.client.ledger.chain import Entry, Transaction, read_entries
from silogan.client.ledger.keys import SiteKey
from silogan.client.ledger.ledger import Approval, Charge, Cohort, Ledger
from silogan.client.ledger.policy import Policy
from silogan.common.errors import PrivacyRefusal
from silogan.common.privacy.accounting import Mechanism, epsilon, epsilon_filtered, filter_order
from silogan.common.privacy.plan import canonical_json
from tests.plans import training_plan, with_phase

COHORT = Cohort("record", 1e-4, rehearsal=True)
KEY, OTHER_KEY = (SiteKey(Ed25519PrivateKey.generate()) for _ in range(2))
# q = 1 is what the accountants are quickest with
PLAN = training_plan(True, True, "record", 2.0, 1e-4, 10.0, 1.0, 1.0, 5, 9)
POLICY = Policy.of_plan(PLAN, "dcgan", "coordinator")
APPROVAL = Approval("study", PLAN, "dcgan", "coordinator")
CHARGE = Charge.of(PLAN, "training", 1, "study", "release 1")
# 1 opens, 2 approves; 3 reserves 5 and 4 settles 5; 5 reserves 5 and 6 settles 2; 7 refuses; 8 reserves 5
Bodies = list[dict[str, Any]]
REJECTED = {
    "kind": "reject",
    "study_id": "study",
    "plan_id": PLAN.plan_id,
    "reason": "too much",
    "created": "2026-01-01T00:00:00+00:00",
    "versions": {},
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "bergen.sqlite"
    ledger = Ledger.create(path, COHORT, POLICY, KEY)
    ledger.approve(APPROVAL)
    ledger.settle(ledger.reserve(CHARGE), 5)
    ledger.settle(ledger.reserve(replace(CHARGE, round=2, replay_key="")), 2)
    ledger.refuse("study", "plan", 3, PrivacyRefusal("plan", "is unknown", "approve it"))
    ledger.reserve(replace(CHARGE, round=3, replay_key="release 3"))
    return path


def sql(*statements: str) -> Callable[[Path], None]:
    """Somebody with the file and without the key: first the triggers go."""

    def change(path: Path) -> None:
        db = sqlite3.connect(path)
        for (trigger,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            db.execute(f"DROP TRIGGER {trigger}")
        for statement in statements:
            db.execute(statement)
        db.commit()
        db.close()

    return change


def written_anew(
    change: Callable[[Bodies], object] = list, key: SiteKey = KEY, text: Callable[[Any], str] = canonical_json
) -> Callable[[Path], None]:
    """Somebody with a key, who mends every hash and signs every entry."""

    def rewrite(path: Path) -> None:
        bodies: Bodies = [json.loads(entry.body) for entry in read_entries(path)]
        change(bodies)
        sql("DELETE FROM entries")(path)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(silogan.client.ledger.chain, "canonical_json", text)
            db = sqlite3.connect(path)
            chain = Transaction(db, key)
            for body in bodies:
                chain.append(body)
            db.commit()
            db.close()

    return rewrite


def body(seq: int, **values: Any) -> Callable[[Bodies], None]:
    return lambda bodies: bodies[seq - 1].update(values)


def policy(**values: Any) -> Callable[[Bodies], None]:
    return lambda bodies: bodies[0]["policy"].update(values)


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:5000])


CORRUPTIONS: dict[str, tuple[Callable[[Path], object], int, str]] = {
    # by somebody with the file alone
    "steps lowered": (sql("""UPDATE entries SET body = replace(body, '"steps":5', '"steps":1')"""), 3, "was changed"),
    "space added": (sql("UPDATE entries SET body = body || ' ' WHERE seq = 8"), 8, "was changed"),
    "body of bytes": (sql("UPDATE entries SET body = x'00' WHERE seq = 4"), 4, "was changed"),
    "hash replaced": (sql("UPDATE entries SET hash = 'ff' WHERE seq = 8"), 8, "was changed"),
    "predecessor replaced": (sql("UPDATE entries SET previous = zeroblob(32) WHERE seq = 5"), 5, "does not follow"),
    "signature of another": (
        sql("UPDATE entries SET signature = (SELECT signature FROM entries WHERE seq = 3) WHERE seq = 5"),
        5,
        "not signed",
    ),
    "first deleted": (sql("DELETE FROM entries WHERE seq = 1"), 1, "does not follow"),
    "middle deleted": (sql("DELETE FROM entries WHERE seq = 5"), 5, "does not follow"),
    "renumbered": (
        sql("DELETE FROM entries WHERE seq = 3", "UPDATE entries SET seq = seq - 1 WHERE seq > 3"),
        3,
        "does not follow",
    ),
    "two swapped": (
        sql(
            "UPDATE entries SET seq = 99 WHERE seq = 3",
            "UPDATE entries SET seq = 3 WHERE seq = 4",
            "UPDATE entries SET seq = 4 WHERE seq = 99",
        ),
        3,
        "does not follow",
    ),
    "entry copied to the end": (
        sql("INSERT INTO entries SELECT 9, body, hash, hash || 'x', signature FROM entries WHERE seq = 8"),
        9,
        "was changed",
    ),
    "last deleted": (sql("DELETE FROM entries WHERE seq = 8"), THE_LEDGER, "others have seen"),
    "all deleted": (sql("DELETE FROM entries"), THE_LEDGER, "holds no entry"),
    "table dropped": (sql("DROP TABLE entries"), THE_LEDGER, "cannot be used"),
    "file truncated": (truncated, THE_LEDGER, "cannot be used"),
    "another file": (lambda path: path.write_bytes(b"date,patient\n" * 999), THE_LEDGER, "cannot be used"),
    # by somebody with another key
    "written anew with another key": (
        written_anew(lambda bodies: bodies[0].update(key=OTHER_KEY.public), OTHER_KEY),
        1,
        "not the site's",
    ),
    "written anew under the site's name": (written_anew(key=OTHER_KEY), 1, "not signed"),
    # by software of the site, with its own key
    "settled twice": (written_anew(lambda bodies: bodies.append(bodies[3])), 9, "already settled"),
    "settled too much": (written_anew(body(6, steps=6)), 6, "more steps"),
    "settled what never was": (written_anew(body(6, reservation=7)), 6, "settles a reservation that does not exist"),
    "released twice": (written_anew(body(8, replay_key="release 1")), 8, "already reserved"),
    "budget passed": (written_anew(body(8, steps=200)), 8, "above the budget"),
    "above 20 without an override": (
        written_anew(lambda bodies: (policy(epsilon=90.0)(bodies), body(8, noise_multiplier=0.2)(bodies))),
        8,
        "without an override",
    ),
    "budget raised": (
        written_anew(lambda bodies: bodies.append({**bodies[0], "policy": {**bodies[0]["policy"], "epsilon": 9.0}})),
        9,
        "opens the ledger a second time",
    ),
    "clock set back": (written_anew(body(5, created="1999-12-31T00:00:00+00:00")), 5, "older"),
    "not opened": (written_anew(lambda bodies: bodies.pop(0)), 1, "does not open"),
    # by software of the site that asks nobody
    "not approved": (written_anew(lambda bodies: bodies.pop(1)), 2, "not approved"),
    "approval withdrawn": (written_anew(lambda bodies: bodies.insert(2, REJECTED)), 4, "not approved"),
    "less noise than approved": (written_anew(body(3, noise_multiplier=5.0)), 3, "noise_multiplier"),
    "more steps than approved": (written_anew(body(3, steps=6)), 3, "6 steps where 5 were approved"),
    "more rounds than approved": (written_anew(body(3, round=10)), 3, "round 10 of training where 9 were approved"),
    "fewer steps than approved": (written_anew(body(3, steps=4)), 3, "4 steps where 5 were approved"),
    "answered round again": (
        written_anew(body(8, round=1)),
        8,
        "reserves round 1 of training again, which was already settled",
    ),
    "no spare round left": (
        written_anew(lambda bodies: bodies[1]["plan"]["phases"][0].update(rounds=2)),
        8,
        "is reservation 3 for training, which was approved for 2",
    ),
    "phase that was not approved": (written_anew(body(8, phase="statistics")), 8, "has no phase 'statistics'"),
    "hash of another plan": (written_anew(body(2, former_id="0" * 64)), 2, "has invalid content"),
    "more ε than approved": (
        written_anew(lambda bodies: bodies[1]["plan"].update(epsilon=0.1)),
        3,
        "above the 0.1 that was approved",
    ),
    "noise from a seed for patients": (
        written_anew(lambda bodies: bodies[0]["cohort"].update(rehearsal=False, fingerprint="ff")),
        2,
        "approves noise from a seed for registered patients",
    ),
    "round with a seed for patients": (
        written_anew(lambda bodies: bodies[0]["cohort"].update(rehearsal=False, fingerprint="ff")),
        3,
        "noise from a seed, with registered patients",
    ),
    "second study after a long one": (
        written_anew(lambda bodies: bodies.append({**bodies[7], "study_id": "another"})),
        9,
        "is for a second study, but the first plan alone",
    ),
    "approval of what cannot be": (
        written_anew(lambda bodies: bodies[1]["plan"]["phases"][0].update(steps_per_round=-100)),
        2,
        "steps_per_round",
    ),
    "another plan than approved": (written_anew(body(8, plan_id="0" * 64)), 8, "plan_id"),
    "violates the policy": (written_anew(policy(min_noise_multiplier=11.0)), 3, "below 11"),
    "approved violates the policy": (written_anew(policy(servers=["another"])), 2, "server 'coordinator'"),
    "more steps than the policy allows": (written_anew(policy(max_steps=45, max_steps_per_round=4)), 2, "above 4"),
    "policy with an unknown key": (written_anew(policy(comment="free")), 1, "comment"),
    "no noise": (written_anew(body(3, noise_multiplier=0.0)), 3, "noise_multiplier"),
    "negative steps": (written_anew(body(4, steps=-5)), 4, "steps"),
    "more than every patient": (written_anew(body(3, sample_rate=1.5)), 3, "sample_rate"),
    "unknown field": (written_anew(body(3, comment="free")), 3, "comment"),
    "unknown kind": (written_anew(body(3, kind="gift")), 3, "has invalid content"),
    "text for a number": (written_anew(body(3, steps="5")), 3, "steps"),
    "another spelling": (written_anew(text=lambda value: json.dumps(value, indent=1)), 1, "canonical"),
}


def test_clean_ledger_holds_and_the_accountants_agree(path: Path) -> None:
    head = read_entries(path)[-1].hash
    earlier = read_entries(path)[3].hash
    before = path.read_bytes()
    found = audit(path, public_key=KEY.public, known_heads=[earlier, head])
    assert found.findings == ()
    assert (found.name, found.unit, found.delta, found.epsilon_budget) == ("bergen", "record", 1e-4, 2.0)
    assert found.epsilon_prv == epsilon([Mechanism(10.0, 1.0, 5 + 2 + 5)], 1e-4)
    assert found.epsilon_pld is not None
    assert found.epsilon_rdp is not None
    assert found.epsilon_prv == pytest.approx(found.epsilon_pld, abs=0.02)
    assert found.epsilon_rdp > max(found.epsilon_prv, found.epsilon_pld)
    assert path.read_bytes() == before


def test_ledger_that_has_charged_nothing_holds(tmp_path: Path) -> None:
    Ledger.create(tmp_path / "new.sqlite", COHORT, POLICY, KEY)
    found = audit(tmp_path / "new.sqlite")
    assert (found.findings, found.epsilon_prv, found.epsilon_pld, found.epsilon_rdp) == ((), 0.0, 0.0, 0.0)


def test_an_older_ledger_holds_as_it_did(path: Path) -> None:
    """Written before ledgers said whether they are a rehearsal's, and while a policy could allow seeds."""

    def older(bodies: Bodies) -> None:
        bodies[0]["policy"]["seeded"] = True
        del bodies[0]["cohort"]["rehearsal"]

    written_anew(older)(path)
    found = audit(path, public_key=KEY.public)
    assert found.findings == ()
    assert found.epsilon_prv == epsilon([Mechanism(10.0, 1.0, 5 + 2 + 5)], 1e-4)


def test_several_studies_are_counted_by_the_filter(tmp_path: Path) -> None:
    path, plan = tmp_path / "two.sqlite", with_phase(PLAN, rounds=2)
    ledger = Ledger.create(path, COHORT, POLICY, KEY)
    for study in ("first", "second"):
        ledger.approve(Approval(study, plan, "dcgan", "coordinator"))
        ledger.reserve(Charge.of(plan, "training", 1, study))
        found = audit(path)
        assert found.findings == ()
        assert found.epsilon_filter == (None if study == "first" else ledger.epsilon())
    charges = [Mechanism(10.0, 1.0, 10)]
    assert found.epsilon_filter == epsilon_filtered(charges, 1e-4, filter_order(POLICY.epsilon, 1e-4))
    assert found.epsilon_filter > (found.epsilon_prv or 0) == epsilon(charges, 1e-4)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_what_was_done_to_a_ledger_is_found_and_named(path: Path, name: str) -> None:
    corrupt, entry, problem = CORRUPTIONS[name]
    head = read_entries(path)[-1].hash
    corrupt(path)
    found = audit(path, public_key=KEY.public, known_heads=[head])
    assert any(finding.entry == entry and problem in finding.problem for finding in found.findings), found.findings


def test_rewriting_with_the_site_s_key_and_nothing_changed_is_no_finding(path: Path) -> None:
    """Otherwise the corruptions above could be found for how they are made."""
    written_anew()(path)
    assert audit(path, public_key=KEY.public).findings == ()


def test_accountants_that_disagree_are_found(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(silogan.client.ledger.audit.accounting, "epsilon_pld", lambda *_: 0.1)
    monkeypatch.setattr(silogan.client.ledger.audit.accounting, "epsilon_rdp", lambda *_: 0.2)
    assert ["disagree" in finding.problem for finding in audit(path).findings] == [True, False]
    assert "below" in audit(path).findings[1].problem


def test_copy_in_a_folder_that_cannot_be_written(path: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    folder.mkdir()
    copy = folder / path.name
    copy.write_bytes(path.read_bytes())
    folder.chmod(0o500)
    try:
        assert audit(copy).findings == ()
        assert [file.name for file in folder.iterdir()] == [path.name]
    finally:
        folder.chmod(0o700)


def test_entries_are_read_also_while_the_ledger_is_in_use(path: Path) -> None:
    db = sqlite3.connect(path)
    db.execute("SELECT * FROM entries").fetchone()  # keeps the write-ahead log
    Ledger(path, KEY).refuse("study", "plan", 4, PrivacyRefusal("plan", "is unknown", "approve it"))
    entries: list[Entry] = read_entries(path)
    db.close()
    assert len(entries) == 9


def test_what_a_finding_quotes_moves_no_terminal(path: Path) -> None:
    def more(bodies: Bodies) -> None:
        bodies[0]["versions"]["\x1b[2J"] = 7

    written_anew(more)(path)
    [finding] = audit(path).findings
    assert finding.problem == "has invalid content (versions.\\x1b[2J)"


def test_bytes_that_are_no_text_in_a_table_of_contents(path: Path) -> None:
    """SQLite quotes them in its own message, which Python cannot decode."""
    content = path.read_bytes()
    assert b"CREATE TABLE entries" in content
    path.write_bytes(content.replace(b"CREATE TABLE entries", b"CREATE TABLE \xff\xfftries", 1))
    [finding] = audit(path).findings
    assert finding.problem.startswith("cannot be used")
    assert finding.problem.isprintable()


def test_rows_that_are_computed_are_no_entries(path: Path) -> None:
    endless = "WITH RECURSIVE n(seq) AS (SELECT 1 UNION ALL SELECT seq + 1 FROM n) SELECT seq"
    with closing(sqlite3.connect(path)) as db:
        db.execute("DROP TABLE entries")
        db.execute(f"CREATE VIEW entries AS {endless}, 'a' body, 'b' previous, seq || 'h' hash, 'c' signature FROM n")
    [finding] = audit(path).findings
    assert finding.problem == "cannot be used (has no table of entries)"
