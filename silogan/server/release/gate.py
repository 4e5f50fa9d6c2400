"""The release gate: what must hold before a generator leaves its coordinator.

Each requirement is a function from the evidence to what it finds, and one line in `REQUIREMENTS`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from silogan.common.errors import PrivacyRefusal, SiloganError, VerificationError, one_line
from silogan.common.pages import words
from silogan.common.pages.words import counted
from silogan.common.privacy.plan import NO_PRIVACY
from silogan.common.wire.study import Study
from silogan.server.release.datasheet import Datasheet
from silogan.server.release.sealed import Accepted
from silogan.server.report.verdict import Verdict, Word


@dataclass(frozen=True)
class Evidence:
    """What is known of a run that is to be released.

    Attributes:
        study: what was run.
        simulation: whether its hospitals were simulated.
        report: the content of `report.json`; None if there is none, as of real hospitals.
        missing: artefacts that the run lacks or that are not its own, in words.
        audit: what `silogan audit --json` prints of the hospitals' ledgers.
        datasheet: what a person wrote, or what is wrong with it.
        accepted: who accepted a verdict that is not `usable`.
    """

    study: Study
    simulation: bool
    report: Mapping[str, Any] | None
    missing: tuple[str, ...]
    audit: Mapping[str, Any]
    datasheet: Datasheet | SiloganError
    accepted: Accepted | None

    @property
    def verdict(self) -> Verdict:
        """That of the report's figures, computed again."""
        if self.report is None:
            return Verdict(Word.unmeasured, (self._nothing_measured,))
        return Verdict.of(self.report)

    @property
    def memorisation(self) -> str:
        """In words, whether copies were looked for and found."""
        if self.report is None:
            return f"not measured: {self._nothing_measured}"
        found = self.report.get("memorisation") or {}
        if not found.get("measured"):
            return f"not measured: {found.get('reason') or 'the report is of an older version'}"
        return "; ".join(found["findings"]) or "measured beside held-out records: no figure is above its threshold"

    @property
    def _nothing_measured(self) -> str:
        if self.simulation:
            return "there is no report"
        return "real hospitals' records cannot be compared with; the guarantee is ε"


@dataclass(frozen=True)
class Requirement:
    """What was found of one requirement.

    Attributes:
        name: of it.
        reasons: why it is not met; empty if it is.
        told: what holds, if it is.
    """

    name: str
    reasons: tuple[str, ...]
    told: str

    @property
    def met(self) -> bool:
        """Whether there is no reason against it."""
        return not self.reasons


Found = tuple[list[str], str]
"""Reasons why a requirement is not met, and what holds if there is none."""


def _complete(evidence: Evidence) -> Found:
    return list(evidence.missing), "generator and report are there, and of one study"


def _private(evidence: Evidence) -> Found:
    plan = evidence.study.plan
    if not plan.private:
        return [f"the run is {NO_PRIVACY}: nothing limits what its generator reveals"], ""
    return [], "; ".join(("trained under differential privacy", *plan.marks()))


def _ledgers(evidence: Evidence) -> Found:
    if not evidence.study.plan.private:
        return [], "none: nothing was charged"
    cohorts = {cohort["name"] for cohort in evidence.audit["cohorts"] if cohort["epsilon_prv"] is not None}
    lacking = [site.name for site in evidence.study.sites if site.name not in cohorts]
    reasons = [
        f"{found['cohort']}: {'entry ' + str(found['entry']) if found['entry'] else 'the ledger'} {found['problem']}"
        for found in evidence.audit["findings"]
    ]
    named = {found["cohort"] for found in evidence.audit["findings"]}
    reasons += [f"{name}: no audited ledger" for name in lacking if name not in named]
    return reasons, f"{counted(len(cohorts), 'ledger')} audited, nothing found"


def _budgets(evidence: Evidence) -> Found:
    """Of each hospital's own policy; ε of several studies on the same patients is counted by the ledger's filter."""
    spent = [(cohort, charged(cohort)) for cohort in evidence.audit["cohorts"]]
    over = [
        f"{cohort['name']}: ε = {words.epsilon(epsilon)} was spent of a budget of "
        f"{words.budget(cohort['epsilon_budget'])}"
        for cohort, epsilon in spent
        if epsilon is not None and epsilon > cohort["epsilon_budget"]
    ]
    most = max((epsilon for _, epsilon in spent if epsilon is not None), default=None)
    return over, f"no hospital is above its budget; the most spent is ε = {words.epsilon(most)}"


def _verdict(evidence: Evidence) -> Found:
    verdict, accepted = evidence.verdict, evidence.accepted
    if verdict.word is Word.usable:
        return [], str(verdict)
    if accepted is None:
        return [f"{verdict} (accept it by name: --accept-verdict 'NAME: reason')"], ""
    return [], f"{verdict.word}, accepted by {accepted.name}: {accepted.reason}"


def _memorisation(evidence: Evidence) -> Found:
    found = {} if evidence.report is None else evidence.report.get("memorisation") or {}
    possible = evidence.simulation or evidence.report is not None
    refused = possible and found.get("passed") is not True
    return [evidence.memorisation] if refused else [], evidence.memorisation


def _datasheet(evidence: Evidence) -> Found:
    sheet = evidence.datasheet
    return ([str(sheet)], "") if isinstance(sheet, SiloganError) else ([], "complete")


REQUIREMENTS: dict[str, Callable[[Evidence], Found]] = {
    "artefacts": _complete,
    "privacy": _private,
    "ledgers": _ledgers,
    "budget": _budgets,
    "verdict": _verdict,
    "memorisation": _memorisation,
    "data sheet": _datasheet,
}

_OF_PRIVACY = ("privacy", "budget", "memorisation")
"""Requirements whose refusal is one for privacy."""


def charged(cohort: Mapping[str, Any]) -> float | None:
    """ε that counts of an audited cohort; None if its entries cannot be trusted to say."""
    return cohort["epsilon_prv"] if cohort.get("epsilon_filter") is None else cohort["epsilon_filter"]


def examine(evidence: Evidence) -> list[Requirement]:
    """Every requirement, met or not."""
    return [
        Requirement(name, tuple(map(one_line, reasons)), one_line(told))
        for name, look in REQUIREMENTS.items()
        for reasons, told in [look(evidence)]
    ]


def require(found: list[Requirement], thing: str) -> None:
    """Refuses a release of which a requirement is not met.

    Raises:
        PrivacyRefusal: one of privacy is not.
        VerificationError: only others are not.
    """
    unmet = [one for one in found if not one.met]
    if not unmet:
        return
    count = sum(len(one.reasons) for one in unmet)
    kind = PrivacyRefusal if any(one.name in _OF_PRIVACY for one in unmet) else VerificationError
    first = next((one for one in unmet if one.name in _OF_PRIVACY), unmet[0])
    problem = f"is refused for {counted(count, 'reason')}, first of {first.name}: {first.reasons[0]}"
    raise kind(thing, problem, "see every reason with `silogan release check`")
