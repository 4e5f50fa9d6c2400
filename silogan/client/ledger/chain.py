"""An append-only list: entries in one SQLite file, each with the hash of the previous one and the site's signature.

A change of any entry breaks the hashes after it; whoever recomputes the hashes cannot sign them. Cutting off the end is
the only change that the file itself cannot reveal; someone who knows a later head can detect it.
"""

import hashlib
import json
import sqlite3
import time
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast

from silogan.client.ledger.keys import SiteKey, is_signed
from silogan.common.errors import DataError, VerificationError
from silogan.common.privacy.plan import canonical_json

GENESIS = "0" * 64
"""What the first entry follows."""

_PATIENCE = 60.0  # seconds to wait for other processes to finish with the file
_APPLICATION = 0x53494C4F  # "SILO": marks the file as a ledger
_LONGEST_ROW = 2**27  # bytes: the fingerprints of four million patients
_FAULTS = (sqlite3.Error, UnicodeDecodeError)  # the latter where SQLite quotes a damaged file in its own message
_SCHEMA = (
    f"PRAGMA application_id = {_APPLICATION}",
    """
    CREATE TABLE IF NOT EXISTS entries (
        seq INTEGER PRIMARY KEY, body TEXT NOT NULL, previous TEXT NOT NULL, hash TEXT NOT NULL UNIQUE,
        signature TEXT NOT NULL
    )
    """,
    # Not part of the chain: what is counted and not written down each time.
    "CREATE TABLE IF NOT EXISTS tallies (kind TEXT PRIMARY KEY, times INTEGER NOT NULL)",
    """
    CREATE TRIGGER IF NOT EXISTS entries_are_final BEFORE UPDATE ON entries
        BEGIN SELECT RAISE(ABORT, 'ledger entries are never changed'); END
    """,
    """
    CREATE TRIGGER IF NOT EXISTS entries_stay BEFORE DELETE ON entries
        BEGIN SELECT RAISE(ABORT, 'ledger entries are never deleted'); END
    """,
)


@dataclass(frozen=True)
class Entry:
    """One entry as stored in the file.

    Attributes:
        seq: 1 for the first.
        body: canonical JSON.
        previous: hash of the entry before.
        hash: SHA-256 over the three above.
        signature: the site's, of the hash.
    """

    seq: int
    body: str
    previous: str
    hash: str
    signature: str

    @cached_property
    def content(self) -> dict[str, Any]:
        """The body's values.

        Raises:
            VerificationError: it is not a mapping; the holder of the key can sign anything.
        """
        with suppress(ValueError, RecursionError):
            values: object = json.loads(self.body)
            if isinstance(values, dict):
                return cast(dict[str, Any], values)
        raise VerificationError(f"ledger entry {self.seq}", "is not a set of keys", "audit the ledger")

    def is_signed_by(self, public: str) -> bool:
        """Whether the holder of the public key signed this entry."""
        return is_signed(_message(self.hash), self.signature, public)


class Chain:
    """The entries of one file. Safe for several processes and threads at once.

    Args:
        path: the SQLite file; created if missing, its folder must exist.
        key: signs new entries, and must have signed the last one.

    Raises:
        DataError: the file is not such a list, or cannot be written.
    """

    def __init__(self, path: Path, key: SiteKey) -> None:
        self.path, self.key = path, key
        with _connection(path) as db:
            (owner,) = db.execute("PRAGMA application_id").fetchone()
            (tables,) = db.execute("SELECT count(*) FROM sqlite_master").fetchone()
            if tables and owner != _APPLICATION:
                raise DataError(f"ledger '{path.name}'", "belongs to another program", "give the ledger's own file")
            for statement in _SCHEMA:
                db.execute(statement)

    @contextmanager
    def transaction(self) -> Generator["Transaction"]:
        """One atomic, exclusive transaction, durable when it ends.

        Raises:
            DataError: the file cannot be read or written; nothing of the transaction remains.
            VerificationError: an entry is not what it was, or the last one is not signed by the key.
        """
        with _connection(self.path) as db:
            yield Transaction(db, self.key)


class Transaction:
    """The current entries, and the only way to add one."""

    def __init__(self, db: sqlite3.Connection, key: SiteKey) -> None:
        self._db, self._key = db, key
        self.entries = _rows(db)
        for seq, problem in broken_links(self.entries):
            raise VerificationError(f"ledger entry {seq}", problem, "restore the ledger")
        # By the hashes the last signature stands for all entries; an audit checks each.
        if self.entries and not self.entries[-1].is_signed_by(key.public):
            last = f"ledger entry {len(self.entries)}"
            raise VerificationError(last, "is not signed by this site's key", "restore the ledger and its key")

    def append(self, body: dict[str, Any]) -> Entry:
        """Adds an entry."""
        seq, text = len(self.entries) + 1, canonical_json(body)
        previous = self.entries[-1].hash if self.entries else GENESIS
        digest = _hash(seq, text, previous)
        entry = Entry(seq, text, previous, digest, self._key.sign(_message(digest)))
        self._db.execute("INSERT INTO entries VALUES (?, ?, ?, ?, ?)", (seq, text, previous, digest, entry.signature))
        self.entries.append(entry)
        return entry

    def tally(self, kind: str) -> int:
        """Counts one more of a kind, and returns how many there were by now. Nobody signs this."""
        add = "INSERT INTO tallies VALUES (?, 1) ON CONFLICT (kind) DO UPDATE SET times = times + 1 RETURNING times"
        (times,) = self._db.execute(add, (kind,)).fetchone()
        return times


def broken_links(entries: Iterable[Entry]) -> Iterator[tuple[int, str]]:
    """Number and problem of each entry whose hashes do not match; signatures are not checked."""
    previous = GENESIS
    for seq, entry in enumerate(entries, start=1):
        if (entry.seq, entry.previous) != (seq, previous):
            yield seq, "does not follow the entry before it"
        elif entry.hash != _hash(entry.seq, entry.body, entry.previous):
            yield seq, "was changed after it was written"
        previous = entry.hash


def read_entries(path: Path) -> list[Entry]:
    """The entries of a file, not verified; writes nothing, not even beside the file.

    Raises:
        DataError: the file is missing or not such a list.
    """
    try:
        # Without a write-ahead log nobody is writing, and a copy may be in a place where locks are impossible.
        mode = "mode=ro" if path.with_name(f"{path.name}-wal").exists() else "immutable=1"
        db = sqlite3.connect(f"{path.absolute().as_uri()}?{mode}", uri=True)
        try:
            return _rows(db)
        finally:
            db.close()
    except _FAULTS as error:
        raise _unusable(path, error) from None


@contextmanager
def _connection(path: Path) -> Generator[sqlite3.Connection]:
    """One immediate (exclusive for writers), fully synchronised transaction."""
    try:
        db = sqlite3.connect(path, timeout=_PATIENCE, isolation_level=None)
    except _FAULTS as error:
        raise _unusable(path, error) from None
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
    except _FAULTS as error:
        raise _unusable(path, error) from None
    finally:
        db.close()


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


def _rows(db: sqlite3.Connection) -> list[Entry]:
    """All entries, within bounds: a file that somebody else made may compute rows instead of holding them."""
    (tables,) = db.execute("SELECT count(*) FROM sqlite_master WHERE name = 'entries' AND type = 'table'").fetchone()
    if not tables:
        raise sqlite3.DatabaseError("has no table of entries")
    db.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _LONGEST_ROW)
    selected = db.execute("SELECT seq, body, previous, hash, signature FROM entries ORDER BY seq")
    return [_entry(row) for row in selected]


def _entry(row: tuple[object, ...]) -> Entry:
    """A row as an entry; values that are not text become a text that matches no hash."""
    seq, *values = row
    return Entry(cast(int, seq), *(value if isinstance(value, str) else type(value).__name__ for value in values))


def _unusable(path: Path, error: sqlite3.Error | UnicodeDecodeError) -> DataError:
    reason = str(error) if isinstance(error, sqlite3.Error) else "damaged"
    return DataError(f"ledger '{path.name}'", f"cannot be used ({reason})", "restore the file or free the disk")


def _hash(seq: int, body: str, previous: str) -> str:
    return hashlib.sha256(f"{seq}\n{previous}\n{body}".encode()).hexdigest()


def _message(digest: str) -> bytes:
    """The signed message: the hash, with a prefix so that no other signature of the key can be confused with it."""
    return f"silogan ledger entry {digest}".encode()
