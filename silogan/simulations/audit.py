"""`silogan audit`: audits ledger files, the ledgers of a node, or those of a run against its coordinator's state."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from silogan.client.ledger.audit import THE_LEDGER, Audit, Finding, audit
from silogan.client.ledger.chain import Entry, read_entries
from silogan.client.ledger.keys import SiteKey
from silogan.client.ledger.ledger import approval_of, spent
from silogan.client.node.node import Node
from silogan.common.errors import PrivacyRefusal, SiloganError, UsageError
from silogan.common.privacy.plan import NO_PRIVACY
from silogan.common.wire.run_folder import holds_run, key_path, ledger_path
from silogan.common.wire.study import Study

ADJACENCY = "add or remove one unit"
"""Which data sets are neighbours, of whatever unit."""

_MISSING = Finding(THE_LEDGER, "is missing")


def audit_all(paths: Sequence[Path]) -> list[Audit]:
    """Audits ledgers, nodes and run folders.

    Raises:
        UsageError: there is nothing at a path.
        PrivacyRefusal: a run was without privacy: there is nothing to audit.
        ConfigError, VerificationError: a run folder's own files are damaged.
    """
    return [found for path in paths for found in _audit(path)]


def as_plain(audits: Sequence[Audit]) -> dict[str, Any]:
    """The result as printed by `silogan audit --json`."""
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
    listed = [{**asdict(run), "phases": [asdict(phase) for phase in run.phases]} for run in runs]
    return {**figures, "used_up": found.used_up, "adjacency": ADJACENCY, "runs": listed}


def _audit(path: Path) -> Iterable[Audit]:
    hint = "give a ledger file, a node folder or a run folder"
    if path.is_file():
        return [audit(path)]
    if not path.is_dir():
        raise UsageError(f"'{path}'", "is not a file" if path.exists() else "does not exist", hint)
    if Node.is_at(path):
        return _audit_node(Node(path))
    if not holds_run(path):
        runs = sorted(str(child) for child in path.iterdir() if holds_run(child))
        hint = f"name the runs in it: {', '.join(runs)}" if runs else hint
        raise UsageError(f"'{path}'", "holds neither a node nor a run", hint)
    return _audit_run(path)


def _audit_node(node: Node) -> Iterator[Audit]:
    """The ledger of every cohort that the hospital has registered."""
    for path in node.ledger_paths():
        yield audit(path, public_key=node.key.public) if path.exists() else Audit(path.stem, (_MISSING,))


def _audit_run(run_dir: Path) -> Iterator[Audit]:
    """Audits every site's ledger against the run's plan and the heads and rounds of its last checkpoint."""
    from silogan.server.rounds.checkpoint import Checkpoint  # noqa: PLC0415  (torch, which auditing ledgers does without)

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
            yield Audit(site.name, (_MISSING,) if known else ())
            continue
        try:
            public_key = SiteKey.load(key_path(run_dir, site.name)).public
        except SiloganError as error:
            yield Audit(site.name, (Finding(THE_LEDGER, f"cannot be checked against the site's key: {error}"),))
            continue
        found = audit(path, public_key=public_key, known_heads=known)
        if not found.findings:  # else it may not even be readable
            found = replace(found, findings=tuple(_run_findings(study, read_entries(path), rounds)))
        yield found


def _run_findings(study: Study, entries: Sequence[Entry], rounds: int) -> Iterator[Finding]:
    """An approval of another plan than the run's, and charges that do not cover the rounds the coordinator has."""
    approval = approval_of(entries, study.study_id)
    if approval is None or approval.plan != study.plan:
        yield Finding(THE_LEDGER, "contains no approval of the run's plan")
    steps = sum(mechanism.steps for mechanism in spent(entries))
    training = [phase for phase in study.plan.phases if phase.takes_batches]
    taken = sum(rounds * phase.steps_per_round for phase in training)
    if steps < taken:
        yield Finding(THE_LEDGER, f"charges {steps} steps, but the run took {taken}")
