"""Protocol violations of sites, and the quarantine of sites with too many of them.

The file is JSON that a person can read. It outlives the server; a site comes out of quarantine only by `readmit`.
"""

from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock
from pydantic import BaseModel, ConfigDict, RootModel, ValidationError

from silogan.common.errors import FederationError, UsageError, VerificationError
from silogan.common.files import write_bytes_atomically
from silogan.common.wire.run_folder import QUARANTINE_LOCK


class ProtocolViolation(FederationError):  # noqa: N818  (it is a deed, not a fault)
    """A reply that no honest site sends. A refusal for privacy, an error or silence of a site is not a violation."""


class _Entry(BaseModel):
    """A violation as it is kept: the round (from 1), what it was, when (UTC, ISO 8601), and whether it still counts."""

    model_config = ConfigDict(extra="forbid", strict=True)
    round: int
    what: str
    when: str
    pardoned: bool = False


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    quarantined: bool = False
    violations: list[_Entry] = []


class _Records(RootModel[dict[str, _Record]]):
    pass


class Quarantine:
    """The violations of all sites of a run, in a file.

    Args:
        path: the file; it need not exist, its folder must.
        after: violations that put a site in quarantine.

    Every method reads the file afresh, so that a site can be readmitted while the server runs; two processes that
    write wait for each other.

    Raises:
        VerificationError: the file is damaged. It is never taken for an empty one.
    """

    def __init__(self, path: Path, after: int) -> None:
        self._path, self._after = path, after
        self._read()

    @property
    def sites(self) -> frozenset[str]:
        """Names of the sites in quarantine."""
        return frozenset(site for site, record in self._read().items() if record.quarantined)

    def violations(self) -> dict[str, int]:
        """How many violations of each site still count; sites without any are left out."""
        every = self._read().items()
        return Counter(site for site, record in every for entry in record.violations if not entry.pardoned)

    def record(self, site: str, number: int, what: str) -> None:
        """Writes a violation down durably, and with the last that is borne the quarantine.

        Args:
            site: whose it is; the caller knows it from the node, not from the reply.
            number: the round, from 1.
            what: one line without private content.

        Raises:
            OSError: the file cannot be written; it is as it was.
        """
        with self._lock():
            records = self._read()
            record = records.setdefault(site, _Record())
            when = datetime.now(UTC).isoformat(timespec="seconds")
            record.violations.append(_Entry(round=number, what=what, when=when))
            counting = sum(not entry.pardoned for entry in record.violations)
            record.quarantined = record.quarantined or counting >= self._after
            self._write(records)

    def readmit(self, site: str) -> None:
        """Lets a site take part again; its violations stay recorded, but no longer count.

        Raises:
            UsageError: it is not in quarantine.
            OSError: the file cannot be written; it is as it was.
        """
        with self._lock():
            records = self._read()
            record = records.get(site)
            if record is None or not record.quarantined:
                known = ", ".join(sorted(self.sites)) or "none"
                raise UsageError(f"site '{site}'", "is not in quarantine", f"choose one that is: {known}")
            record.quarantined = False
            for entry in record.violations:
                entry.pardoned = True
            self._write(records)

    def _lock(self) -> FileLock:
        return FileLock(self._path.with_name(QUARANTINE_LOCK))

    def _read(self) -> dict[str, _Record]:
        try:
            return _Records.model_validate_json(self._path.read_bytes()).root
        except FileNotFoundError:
            return {}
        except (OSError, ValidationError):
            hint = "restore it; deleting it forgets every violation"
            raise VerificationError(f"quarantine file '{self._path.name}'", "is damaged", hint) from None

    def _write(self, records: dict[str, _Record]) -> None:
        content = _Records(dict(sorted(records.items()))).model_dump_json(indent=2)
        write_bytes_atomically(self._path, content.encode() + b"\n")
