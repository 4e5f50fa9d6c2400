"""Audits that real hospitals give: a hospital's ledger never leaves it, so each audits its own.

A hospital runs `silogan audit NODE --json` and hands over what that prints; the coordinator lays it into the run folder
as audits/SITE.json. It is the hospital's word, and is not signed: a release says so.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from silogan.common.bounds import Delta, Text
from silogan.common.wire.run_folder import AUDITS_FOLDER
from silogan.common.wire.study import Study

GIVEN = "each hospital audited its own ledger, and what it found is not signed"

_MOST_BYTES = 2**24
_Epsilon = Annotated[float, Field(ge=0, le=1e9)]


class _Read(BaseModel):
    """What is read of such a file; whatever else there is may be anything."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False)


class _Finding(_Read):
    entry: Annotated[int, Field(ge=0)]
    problem: Annotated[str, Field(max_length=4000)]


class _Run(_Read):
    study_id: str


class _Cohort(_Read):
    unit: Text
    delta: Delta
    epsilon_budget: _Epsilon
    epsilon_prv: _Epsilon
    epsilon_filter: _Epsilon | None
    runs: list[_Run]


class _Audit(_Read):
    ok: bool
    findings: list[_Finding]
    cohorts: list[_Cohort]


def given_audits(run_dir: Path, study: Study) -> dict[str, Any]:
    """What `silogan audit --json` would print of all hospitals together, by the names in the roster.

    Of each hospital only the cohort counts that took part; other studies are not named. One whose file is missing,
    damaged or of another study has a finding.
    """
    cohorts: list[dict[str, Any]] = []
    findings: list[dict[str, Any]] = []
    for site in study.sites:
        found = _read(run_dir, site.name)
        own = [cohort for cohort in found.cohorts if _took_part(cohort, study)] if found else []
        if found is not None and own:
            cohorts += [{"name": site.name, **cohort.model_dump(exclude={"runs"})} for cohort in own]
            findings += [{"cohort": site.name, **finding.model_dump()} for finding in _findings(found)]
            continue
        file = f"{AUDITS_FOLDER}/{site.name}.json"
        problem = f"has no audit: {file} is missing or not what `silogan audit --json` prints"
        if found is not None:
            problem = f"has no audit of this study: {file} is of others"
        findings.append({"cohort": site.name, "entry": 0, "problem": problem})
    return {"ok": not findings, "findings": findings, "cohorts": cohorts}


def _findings(found: _Audit) -> Iterator[_Finding]:
    yield from found.findings
    if not found.ok and not found.findings:
        yield _Finding(entry=0, problem="did not pass its audit")


def _took_part(cohort: _Cohort, study: Study) -> bool:
    return any(run.study_id == study.study_id for run in cohort.runs)


def _read(run_dir: Path, site: str) -> _Audit | None:
    path = run_dir / AUDITS_FOLDER / f"{site}.json"
    if Path(site).name != site or not path.is_file():  # a name leads nowhere else; a pipe would be waited for
        return None
    try:
        with path.open("rb") as file:
            return _Audit.model_validate_json(file.read(_MOST_BYTES))
    except (OSError, ValidationError):
        return None
