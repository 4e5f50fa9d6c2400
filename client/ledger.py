"""The site's privacy ledger: what has been spent on its patients, durably, before it is spent.

One SQLite file a site. The protocol is reserve → train → settle: a reservation for the most that the coming steps can
cost is on the disk (fsync) before the first gradient; settling lowers it to the steps that were taken. A crash in
between leaves the whole reservation charged. Entries are only ever appended, and each holds the hash of the one before
it.

Privacy:
    Unit and δ are fixed when the ledger is created. ε composes over everything the file holds, whatever run it came
    from. A reservation that would pass the budget is refused before any data is read, also when two processes ask at
    once.
"""

import hashlib
import json
import sqlite3
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

from common.accounting import Mechanism, epsilon
from common.errors import DataError, PrivacyRefusal, VerificationError
from common.plan import PrivacyPlan, canonical_json

_SCHEMA = (
    """
    CREATE TABLE IF NOT EXISTS cohort (
        id INTEGER PRIMARY KEY CHECK (id = 1), unit TEXT NOT NULL, delta REAL NOT NULL, epsilon_budget REAL NOT NULL
    )
    """,
    """
    CREATE TABLE IF NOT EXISTS entries (
        seq INTEGER PRIMARY KEY, body TEXT NOT NULL, previous TEXT NOT NULL, hash TEXT NOT NULL UNIQUE
    )
    """,
    """
    CREATE TRIGGER IF NOT EXISTS entries_are_final BEFORE UPDATE ON entries
        BEGIN SELECT RAISE(ABORT, 'ledger entries are never changed'); END
    """,
    """
    CREATE TRIGGER IF NOT EXISTS entries_stay BEFORE DELETE ON entries
        BEGIN SELECT RAISE(ABORT, 'ledger entries are never deleted'); END
    """,
    """
    CREATE TRIGGER IF NOT EXISTS cohort_is_final BEFORE UPDATE ON cohort
        BEGIN SELECT RAISE(ABORT, 'a cohort is never changed'); END
    """,
    """
    CREATE TRIGGER IF NOT EXISTS cohort_stays BEFORE DELETE ON cohort
        BEGIN SELECT RAISE(ABORT, 'a cohort is never deleted'); END
    """,
)
_GENESIS = "0" * 64
_PATIENCE = 60.0  # seconds to wait for other processes to finish with the file


@dataclass(frozen=True)
class Cohort:
    """Whom the ledger protects, and how much may be spent on them in all."""

    unit: str
    delta: float
    epsilon_budget: float


@dataclass(frozen=True)
class Charge:
    """What a reservation pays for.

    Attributes:
        study_id: the run.
        plan_id: the privacy plan.
        round: the round of the run.
        steps: the most private steps that the round can take.
        noise_multiplier, sample_rate, clip_norm: the mechanism of each step.
        replay_key: where randomness is seeded, a hash of everything the round depends on, so that an interrupted round
            can be repeated bit for bit, which releases nothing new. Empty for real randomness: a repetition is then
            paid again.
    """

    study_id: str
    plan_id: str
    round: int
    steps: int
    noise_multiplier: float
    sample_rate: float
    clip_norm: float
    replay_key: str = ""

    @staticmethod
    def for_round(plan: PrivacyPlan, study_id: str, round_number: int, replay_key: str = "") -> "Charge":
        """The charge for one round of `plan`."""
        return Charge(
            study_id=study_id,
            plan_id=plan.plan_id,
            round=round_number,
            steps=plan.steps_per_round,
            noise_multiplier=plan.noise_multiplier,
            sample_rate=plan.sample_rate,
            clip_norm=plan.clip_norm,
            replay_key=replay_key,
        )


@dataclass(frozen=True)
class Entry:
    """One line of the ledger: a reservation, or the settlement of an earlier one."""

    seq: int
    body: dict[str, Any]
    previous: str
    hash: str


class Ledger:
    """The ledger in one file. Safe for several processes and threads at once.

    Args:
        path: the SQLite file; created if missing, its folder must exist.
        cohort: must equal what the file was created with.

    Raises:
        DataError: the file is not a ledger, or cannot be written.
        PrivacyRefusal: the file was created for another unit, δ or budget.
        VerificationError: the chain of hashes does not hold.
    """

    def __init__(self, path: Path, cohort: Cohort) -> None:
        self.path = path
        with self._transaction() as db:
            for statement in _SCHEMA:
                db.execute(statement)
            db.execute("INSERT OR IGNORE INTO cohort VALUES (1, ?, ?, ?)", tuple(asdict(cohort).values()))
            registered = Cohort(*db.execute("SELECT unit, delta, epsilon_budget FROM cohort").fetchone())
        if registered != cohort:
            raise PrivacyRefusal(
                f"ledger '{path.name}'", f"is for {registered}, not {cohort}", "use the cohort's own terms"
            )
        self.cohort = cohort

    def reserve(self, charge: Charge) -> int:
        """Durably charges the most that the coming steps can cost; returns the reservation's number.

        A charge with a `replay_key` that is already reserved is the same release again, and returns its reservation.

        Raises:
            PrivacyRefusal: with this charge ε would pass the budget; nothing is charged.
        """
        with self._transaction() as db:
            entries = _read(db)
            for entry in entries:
                if charge.replay_key and entry.body.get("replay_key") == charge.replay_key:
                    return entry.seq
            wanted = Mechanism(charge.noise_multiplier, charge.sample_rate, charge.steps)
            after = epsilon([*_spent(entries), wanted], self.cohort.delta)
            if not after <= self.cohort.epsilon_budget:
                raise PrivacyRefusal(
                    "privacy budget",
                    f"round {charge.round} would bring ε to {after:.4g}, above {self.cohort.epsilon_budget:g}",
                    "stop here, or have the hospital approve a larger budget",
                )
            return _append(db, entries, {"kind": "reserve", **asdict(charge)})

    def settle(self, reservation: int, steps: int) -> None:
        """Records that `steps` steps were taken on a reservation; settling twice with the same steps changes nothing.

        Raises:
            VerificationError: there is no such reservation, or it did not cover so many steps.
        """
        with self._transaction() as db:
            entries = _read(db)
            reserved = {entry.seq: entry.body["steps"] for entry in entries if entry.body["kind"] == "reserve"}
            settled = {
                entry.body["reservation"]: entry.body["steps"] for entry in entries if entry.body["kind"] == "settle"
            }
            if settled.get(reservation) == steps:
                return
            if reservation in settled or not 0 <= steps <= reserved.get(reservation, -1):
                raise VerificationError(
                    f"reservation {reservation}", f"does not cover {steps} steps", "audit the ledger"
                )
            _append(db, entries, {"kind": "settle", "reservation": reservation, "steps": steps})

    def epsilon(self) -> float:
        """ε spent on the cohort so far, open reservations included."""
        return epsilon(self.mechanisms(), self.cohort.delta)

    def mechanisms(self) -> list[Mechanism]:
        """Everything that has been charged: settled steps, and reserved steps where nothing was settled."""
        return _spent(self.entries())

    def head(self) -> str:
        """Hash of the last entry: it names the whole history."""
        entries = self.entries()
        return entries[-1].hash if entries else _GENESIS

    def entries(self) -> list[Entry]:
        """All entries, oldest first, with the chain verified."""
        with self._transaction() as db:
            return _read(db)

    @contextmanager
    def _transaction(self) -> Generator[sqlite3.Connection]:
        """One immediate (exclusive for writers), fully synchronised transaction."""
        try:
            db = sqlite3.connect(self.path, timeout=_PATIENCE, isolation_level=None)
        except sqlite3.Error as error:
            raise self._unusable(error) from None
        try:
            _use_write_ahead_log(db)
            db.execute("PRAGMA synchronous = FULL")
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
                db.execute("COMMIT")
            except BaseException:
                if db.in_transaction:
                    db.execute("ROLLBACK")
                raise
        except sqlite3.Error as error:
            raise self._unusable(error) from None
        finally:
            db.close()

    def _unusable(self, error: sqlite3.Error) -> DataError:
        return DataError(f"ledger '{self.path.name}'", f"cannot be used ({error})", "restore the file or free the disk")


def _use_write_ahead_log(db: sqlite3.Connection) -> None:
    """Sets WAL mode, waiting as long as another connection is doing the same.

    SQLite's own timeout does not cover this: while one connection turns a new file to WAL, the others are told
    "locked" at once.
    """
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            db.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            primary_code = error.sqlite_errorcode & 0xFF
            if primary_code != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.005)


def _spent(entries: list[Entry]) -> list[Mechanism]:
    settled = {entry.body["reservation"]: entry.body["steps"] for entry in entries if entry.body["kind"] == "settle"}
    return [
        Mechanism(
            noise_multiplier=entry.body["noise_multiplier"],
            sample_rate=entry.body["sample_rate"],
            steps=settled.get(entry.seq, entry.body["steps"]),
        )
        for entry in entries
        if entry.body["kind"] == "reserve"
    ]


def _read(db: sqlite3.Connection) -> list[Entry]:
    selected = db.execute("SELECT seq, body, previous, hash FROM entries ORDER BY seq")
    rows = cast(list[tuple[int, str, str, str]], selected.fetchall())
    previous = _GENESIS
    for number, (seq, body, before, digest) in enumerate(rows, start=1):
        if (seq, before, digest) != (number, previous, _hash(seq, body, before)):
            raise VerificationError(
                f"ledger entry {seq}", "does not follow from the one before it", "restore the ledger"
            )
        previous = digest
    return [Entry(seq, json.loads(body), before, digest) for seq, body, before, digest in rows]


def _append(db: sqlite3.Connection, entries: list[Entry], body: dict[str, Any]) -> int:
    seq = len(entries) + 1
    previous = entries[-1].hash if entries else _GENESIS
    text = canonical_json({**body, "created": datetime.now(UTC).isoformat(timespec="seconds")})
    db.execute("INSERT INTO entries VALUES (?, ?, ?, ?)", (seq, text, previous, _hash(seq, text, previous)))
    return seq


def _hash(seq: int, body: str, previous: str) -> str:
    return hashlib.sha256(f"{seq}\n{previous}\n{body}".encode()).hexdigest()
