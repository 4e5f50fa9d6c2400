"""`silogan audit`: ledgers by themselves, or those of a simulated run beside what its coordinator knows."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from client.app import key_path, ledger_path
from client.audit import THE_LEDGER, Audit, Finding, audit
from client.chain import Entry, read_entries
from client.keys import SiteKey
from client.ledger import approval_of, spent
from common.errors import PrivacyRefusal, UsageError
from common.plan import NO_PRIVACY
from common.study import Study
from server.checkpoint import Checkpoint
from simulations.prepare import holds_run

ADJACENCY = "add or remove one unit"
"""Which data sets are neighbours, of whatever unit."""


def audit_all(paths: Sequence[Path]) -> list[Audit]:
    """Audits ledgers and run folders.

    Raises:
        UsageError: there is nothing at a path.
        PrivacyRefusal: a run was without privacy: there is nothing to audit.
        ConfigError, VerificationError: a run folder's own files are damaged.
    """
    return [found for path in paths for found in (_audit_run(path) if path.is_dir() else [_audit_file(path)])]


def as_plain(audits: Sequence[Audit]) -> dict[str, Any]:
    """What `silogan audit --json` prints."""
    return {
        "ok": not any(found.findings for found in audits),
        "findings": [
            {"cohort": found.name, "entry": finding.entry, "problem": finding.problem}
            for found in audits
            for finding in found.findings
        ],
        "cohorts": [_cohort(found) for found in audits],
    }


def _cohort(found: Audit) -> dict[str, Any]:
    figures = {key: value for key, value in asdict(found).items() if key not in ("findings", "statement")}
    runs = found.statement.runs if found.statement else ()
    listed = [{**asdict(run), "purposes": list(run.purposes)} for run in runs]
    return {**figures, "adjacency": ADJACENCY, "runs": listed}


def _audit_file(path: Path) -> Audit:
    if not path.is_file():
        raise UsageError(f"'{path}'", "does not exist", "give a ledger's file or a run's folder")
    return audit(path)


def _audit_run(run_dir: Path) -> Iterator[Audit]:
    """Every site's ledger, beside the plan of the run, and the heads and rounds of its last checkpoint."""
    if not holds_run(run_dir):
        raise UsageError(f"'{run_dir}'", "holds no run", "give a ledger's file or a run's folder")
    study = Study.load(run_dir)
    if not study.plan.private:
        raise PrivacyRefusal(f"run folder '{run_dir}'", f"is {NO_PRIVACY}: nothing was charged", "audit a private run")
    checkpoint = Checkpoint.latest(run_dir)
    heads = checkpoint.ledger_heads if checkpoint else {}
    rounds = checkpoint.round if checkpoint else 0
    for site in study.sites:
        path = ledger_path(run_dir, site.name)
        known = {heads[site.name]} if site.name in heads else set[str]()
        if not path.exists():
            missing = (Finding(THE_LEDGER, "is missing"),) if known else ()
            yield Audit(site.name, missing)
            continue
        key = key_path(run_dir, site.name)
        found = audit(path, public_key=SiteKey.load(key).public if key.exists() else None, known_heads=known)
        if not found.findings:  # else it may not even be readable
            found = replace(found, findings=tuple(_run_findings(study, read_entries(path), rounds)))
        yield found


def _run_findings(study: Study, entries: Sequence[Entry], rounds: int) -> Iterator[Finding]:
    """An approval of another plan than the run's, and charges that do not cover the rounds the coordinator has."""
    approval = approval_of(entries, study.study_id)
    if approval is None or approval.plan != study.plan:
        yield Finding(THE_LEDGER, "does not hold an approval of the run's plan")
    steps, taken = sum(mechanism.steps for mechanism in spent(entries)), rounds * study.plan.steps_per_round
    if steps < taken:
        yield Finding(THE_LEDGER, f"charges {steps} steps, but the run took {taken}")
