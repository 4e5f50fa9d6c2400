"""`silogan release export`: a run that passes the gate, as one signed file.

Privacy:
    What gets into a release is made anew from the released generator, the report's figures and the ledgers' audit: the
    sheet of samples is drawn again, and no other file of the run folder is copied.
"""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from silogan.client.ledger.page import render_page
from silogan.common.errors import ConfigError, SiloganError, UsageError
from silogan.common.operations.release_key import RELEASE_KEY, create_release_key, load_release_key
from silogan.common.wire.run_folder import GENERATOR_FILE
from silogan.server.release.cards import datasheet_text, model_card_text
from silogan.server.release.datasheet import Datasheet
from silogan.server.release.gate import Evidence, charged
from silogan.server.release.generator import load_generator
from silogan.server.release.given_audit import GIVEN
from silogan.server.release.samples import sample_grid
from silogan.server.release.sealed import Manifest, Spent, Statement, seal
from silogan.server.report.report import render_html
from silogan.server.rounds.events import read_events
from silogan.simulations.release.check import Examined, check

SIMULATED = "SIMULATION: the hospitals were simulated on one machine"


def export(
    run_dir: Path, out: Path, *, datasheet: Path | None = None, accept: str | None = None, key: Path | None = None
) -> Manifest:
    """Writes a run as one signed file, if every requirement is met.

    Args:
        run_dir: see `check`.
        out: a new file.
        datasheet: see `check`.
        accept: see `check`.
        key: the private key that signs. If None that of the coordinator in whose folder the run is, or for a simulation
            one in the run folder, which is made if there is none.

    Raises:
        UsageError: the file exists; or see `check`.
        PrivacyRefusal, VerificationError: a requirement is not met, or the key is open to others.
        ConfigError: the key is missing, or a file cannot be read or written.
    """
    if out.exists():
        raise UsageError(f"--out {out}", "exists already", "choose a new name: releases are never overwritten")
    examined = check(run_dir, datasheet=datasheet, accept=accept)
    examined.require()
    sheet = examined.evidence.datasheet
    if isinstance(sheet, SiloganError):
        raise sheet  # which the gate has refused
    private = _key(run_dir, key, simulation=examined.evidence.simulation)
    statement = _statement(examined.evidence, sheet)
    return seal(out, statement, _files(examined, statement, sheet), private)


def _files(examined: Examined, statement: Statement, sheet: Datasheet) -> Mapping[str, bytes]:
    """What a release holds, in its order; see the module for what never is."""
    run_dir, evidence = examined.run_dir, examined.evidence
    generator = load_generator(run_dir / GENERATOR_FILE)
    samples = sample_grid(generator) if generator.network.draws else None
    files = {
        "datasheet.md": datasheet_text(statement, evidence, sheet).encode(),
        "model_card.md": model_card_text(statement, evidence, sheet).encode(),
        GENERATOR_FILE: (run_dir / GENERATOR_FILE).read_bytes(),
    }
    if samples is not None:
        files["samples.png"] = samples
    if evidence.report is not None:
        files["report.json"] = _json(evidence.report)
        files["report.html"] = render_html(evidence.report, read_events(run_dir), samples).encode()
    files["audit.json"] = _json(evidence.audit)
    if evidence.simulation:
        files["audit.html"] = render_page(examined.audits, datetime.now(UTC)).encode()
    return files


def _json(content: Mapping[str, Any]) -> bytes:
    return f"{json.dumps(content, indent=1)}\n".encode()


def _statement(evidence: Evidence, sheet: Datasheet) -> Statement:
    study = evidence.study
    credit = study.scenario.model.credit()
    return Statement(
        study=study.scenario.name,
        title=study.scenario.title or "",
        study_id=study.study_id,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        simulation=evidence.simulation,
        sites=tuple(
            Spent(cohort["name"], epsilon, cohort["epsilon_budget"], cohort["delta"], cohort["unit"])
            for cohort in evidence.audit["cohorts"]
            if (epsilon := charged(cohort)) is not None
        ),
        verdict=str(evidence.verdict),
        accepted=evidence.accepted,
        memorisation=evidence.memorisation,
        marks=(SIMULATED if evidence.simulation else GIVEN, *study.plan.marks(), *((credit,) if credit else ())),
        licence=" ".join(sheet.licence.split()),
        contact=" ".join(sheet.contact.split()),
    )


def _key(run_dir: Path, given: Path | None, *, simulation: bool) -> Ed25519PrivateKey:
    """The key that signs; see `export`."""
    if given is not None:
        return load_release_key(given)
    if simulation:
        return create_release_key(run_dir)
    path = run_dir.absolute().parent.parent / RELEASE_KEY  # the run is SERVER/runs/NAME
    if not path.is_file():
        hint = "run `silogan server init` again, which makes it and keeps all else, or name a key with --key"
        raise ConfigError(f"release key '{path}'", "is missing", hint)
    return load_release_key(path)
