"""`silogan release check`: what is known of a run, beside what a release requires."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from silogan.client.ledger.audit import Audit
from silogan.common.errors import ConfigError, UsageError
from silogan.common.files import write_bytes_atomically, writing
from silogan.common.wire.run_folder import DATASHEET_FILE, GENERATOR_FILE, REPORT_FILE, SUBMISSION_FILE, holds_run
from silogan.common.wire.study import Study
from silogan.server.release.datasheet import datasheet_template, read_datasheet
from silogan.server.release.gate import Evidence, Requirement, examine, require
from silogan.server.release.given_audit import given_audits
from silogan.server.release.header import generator_header
from silogan.server.release.sealed import Accepted
from silogan.server.report.verdict import Verdict
from silogan.simulations.audit import as_plain, audit_all


@dataclass(frozen=True)
class Examined:
    """A run beside the release gate.

    Attributes:
        run_dir: its folder.
        evidence: what is known of it.
        audits: of the ledgers of simulated hospitals.
        found: every requirement.
    """

    run_dir: Path
    evidence: Evidence
    audits: list[Audit]
    found: list[Requirement]

    def require(self) -> None:
        """Refuses it if a requirement is not met.

        Raises:
            PrivacyRefusal, VerificationError: see `silogan.server.release.gate.require`.
        """
        require(self.found, f"release of '{self.run_dir}'")

    def to_json(self) -> dict[str, Any]:
        """The same as plain values."""
        listed = [
            {"name": one.name, "met": one.met, "reasons": list(one.reasons), "told": one.told} for one in self.found
        ]
        ok = all(one.met for one in self.found)
        return {"ok": ok, "study_id": self.evidence.study.study_id, "requirements": listed}


def begin(run_dir: Path) -> Path:
    """Writes an empty data sheet into a run folder, and returns its place.

    Raises:
        UsageError: there is no run, or a data sheet already.
        ConfigError: it cannot be written.
    """
    _require_run(run_dir)
    path = run_dir / DATASHEET_FILE
    if path.exists():
        raise UsageError(f"data sheet '{path}'", "exists already", "fill it in")
    with writing(f"data sheet '{path}'", "choose another place"):
        write_bytes_atomically(path, datasheet_template().encode())
    return path


def check(run_dir: Path, *, datasheet: Path | None = None, accept: str | None = None) -> Examined:
    """Looks at everything that a release requires.

    Args:
        run_dir: folder of a finished run, of a simulation or of a coordinator.
        datasheet: the file that a person filled in; `release.yaml` in the run folder if None.
        accept: "NAME: reason" of who accepts a verdict that is not `usable`.

    Raises:
        UsageError: there is no run, or `accept` has another form.
        ConfigError: the run's own `run.yaml` is damaged.
    """
    accepted = None if accept is None else _accepted(accept)
    _require_run(run_dir)
    study, simulation = Study.load(run_dir), not (run_dir / SUBMISSION_FILE).is_file()
    report = _report(run_dir)
    audits = audit_all([run_dir]) if study.plan.private and simulation else []
    audit = as_plain(audits) if simulation else given_audits(run_dir, study)
    try:
        sheet = read_datasheet(datasheet or run_dir / DATASHEET_FILE)
    except ConfigError as error:
        sheet = error
    missing = tuple(_missing(run_dir, study, report, simulation=simulation))
    evidence = Evidence(study, simulation, report, missing, audit, sheet, accepted)
    return Examined(run_dir, evidence, audits, examine(evidence))


def _accepted(text: str) -> Accepted:
    name, _, reason = (part.strip() for part in text.partition(":"))
    hint = "write --accept-verdict 'NAME: reason', each part in one line of up to 200 characters"
    if not name or not reason:
        raise UsageError(f"--accept-verdict {text!r}", "does not say who accepts it, and why", hint)
    try:
        return Accepted(name, reason)
    except ValidationError:
        raise UsageError("--accept-verdict", "is too long, or cannot be printed", hint) from None


def _require_run(run_dir: Path) -> None:
    if not holds_run(run_dir):
        raise UsageError(f"'{run_dir}'", "holds no run", "give the folder of a finished run")


def _report(run_dir: Path) -> Mapping[str, Any] | None:
    """The content of `report.json`; None if it is missing, or not what a verdict can be made of."""
    try:
        report: Mapping[str, Any] = json.loads((run_dir / REPORT_FILE).read_bytes())
        Verdict.of(report)
        found = report.get("memorisation") or {"findings": []}
        return report if all(isinstance(finding, str) for finding in found["findings"]) else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def _missing(run_dir: Path, study: Study, report: Mapping[str, Any] | None, *, simulation: bool) -> Iterator[str]:
    """Artefacts that a run lacks, or that are of another study."""
    header = generator_header(run_dir / GENERATOR_FILE)
    if header is None:
        yield f"{GENERATOR_FILE} is missing or damaged: the run has not finished"
    elif header.get("study_id") != study.study_id:
        yield f"{GENERATOR_FILE} is of another study"
    if report is None:
        if simulation:
            yield f"{REPORT_FILE} is missing or damaged: the run has not finished"
        return
    if report.get("configuration") != study.scenario.model_dump(mode="json"):
        yield f"{REPORT_FILE} is of another study"
