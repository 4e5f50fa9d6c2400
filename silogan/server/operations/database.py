"""Flower's own database: checks it, and sets it aside if it is damaged.

Everything in it is replaceable: hospitals are registered again from `sites.json`, and runs continue from checkpoints.
"""

import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

DATABASE = "superlink.sqlite"
DAMAGED = ".damaged-"
_BESIDE = ("", "-wal", "-shm")


def is_damaged(folder: Path, *, thorough: bool = False) -> bool:
    """Whether there is a database that SQLite cannot read; `thorough` reads all of it.

    A database that is missing, or busy, is not damaged.
    """
    path = folder / DATABASE
    if not path.exists():
        return False
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=5)) as database:
            database.execute("SELECT count(*) FROM sqlite_master").fetchone()
            return thorough and database.execute("PRAGMA quick_check(1)").fetchone() != ("ok",)
    except sqlite3.OperationalError as error:
        return path.is_dir() or error.sqlite_errorcode not in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
    except sqlite3.DatabaseError:
        return True


def set_aside(folder: Path) -> str:
    """Renames a database, so that the SuperLink makes a new one; returns its new name."""
    suffix = f"{DAMAGED}{datetime.now(UTC):%Y%m%dT%H%M%S%f}"
    for part in _BESIDE:
        path = folder / f"{DATABASE}{part}"
        if path.exists():
            path.rename(folder / f"{DATABASE}{part}{suffix}")
    return f"{DATABASE}{suffix}"
