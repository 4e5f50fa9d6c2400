"""Audits a ledger without trusting anybody: finds invalid entries, and computes ε by three accountants.

Works on a copy of the file alone. What a file cannot reveal by itself (that its end was cut off, that somebody wrote it
again with another key) is checked against what others know: the site's public key, and heads that a server has seen.
"""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from pydantic import ValidationError

from silogan.client.ledger import entries as kinds
from silogan.client.ledger.chain import Entry, broken_links, read_entries
from silogan.client.ledger.entries import Cohort, Content, of_kind, parse
from silogan.client.ledger.ledger import approval_of, approvers_missing, order_of, policy_in_force
from silogan.client.ledger.statement import Statement, state
from silogan.common.errors import DataError, one_line
from silogan.common.pages.words import epsilon as in_words
from silogan.common.privacy import accounting
from silogan.common.privacy.accounting import Mechanism
from silogan.common.privacy.plan import PrivacyPlan, canonical_json
from silogan.common.privacy.strength import OVERRIDE_ABOVE

PLD_RELATIVE_ERROR = 0.01
"""How far above the true ε Google's accountant may lie on its grid of 1e-4."""

USED_UP = 0.99
"""Share of a budget from which on it counts as used up."""

THE_LEDGER = 0
"""Number under which a finding stands that is of no single entry."""


@dataclass(frozen=True)
class Finding:
    """One problem that an audit found.

    Attributes:
        entry: number of the entry, or `THE_LEDGER`.
        problem: what is wrong with it.
    """

    entry: int
    problem: str


@dataclass(frozen=True)
class Audit:
    """What an audit found, and what the ledger's charges amount to.

    The unit of `epsilon_*` is `unit`, neighbouring is to add or remove one, and they hold at `delta`; they compose all
    charges of the ledger. `epsilon_filter` is what counts where several studies were charged, of which the later ones
    may have been chosen after the earlier ones had answered; None where there is one, and `epsilon_prv` counts. All are
    None where the entries cannot be trusted to say.
    """

    name: str
    findings: tuple[Finding, ...]
    unit: str | None = None
    delta: float | None = None
    epsilon_budget: float | None = None
    epsilon_prv: float | None = None
    epsilon_pld: float | None = None
    epsilon_rdp: float | None = None
    epsilon_filter: float | None = None
    statement: Statement | None = None

    @property
    def used_up(self) -> bool:
        """Whether its charges are all but the whole budget, `USED_UP` of it or more."""
        found = self.statement
        return found is not None and found.epsilon_charged >= USED_UP * found.epsilon_budget


def audit(path: Path, *, public_key: str | None = None, known_heads: Collection[str] = ()) -> Audit:
    """Audits one ledger.

    Args:
        path: the ledger's file or a copy of it; nothing is written.
        public_key: the site's, where it is known from elsewhere; else the one that the ledger names is believed.
        known_heads: heads of this ledger that somebody else has seen earlier.
    """
    name = path.stem
    try:
        entries = read_entries(path)
    except DataError as error:
        return Audit(name, _sorted([Finding(THE_LEDGER, error.problem)]))
    broken = [Finding(seq, problem) for seq, problem in broken_links(entries)]
    contents, malformed = _contents(entries)
    if broken or malformed or not entries:
        nothing = () if entries else (Finding(THE_LEDGER, "holds no entry"),)
        return Audit(name, _sorted([*broken, *malformed, *nothing, *_missing(entries, known_heads)]))
    opening = contents[0]
    if not isinstance(opening, kinds.Open):
        return Audit(name, (Finding(1, "does not open the ledger"),))
    findings = [
        *_signature_findings(entries, opening.key, public_key),
        *_order_findings(contents),
        *_charge_findings(contents),
        *_compliance_findings(contents, entries),
        *_plan_findings(contents),
        *_seed_findings(contents, opening.cohort),
        *_missing(entries, known_heads),
    ]
    return _with_epsilon(name, findings, opening.cohort, contents, entries)


def _contents(entries: Sequence[Entry]) -> tuple[list[Content], list[Finding]]:
    """The parsed entries, and findings for those that are invalid."""
    contents: list[Content] = []
    findings: list[Finding] = []
    for seq, entry in enumerate(entries, start=1):
        if not _is_canonical(entry.body):
            findings.append(Finding(seq, "is not canonical JSON"))
            continue
        try:
            contents.append(parse(entry.body))
        except ValidationError as error:
            where = ".".join(str(part) for part in error.errors()[0]["loc"][1:]) or "kind"
            findings.append(Finding(seq, f"has invalid content ({where})"))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            findings.append(Finding(seq, f"has invalid content ({error})"))
    return contents, findings


def _is_canonical(body: str) -> bool:
    try:
        return canonical_json(json.loads(body)) == body
    except (ValueError, TypeError, RecursionError):
        return False


def _signature_findings(entries: Sequence[Entry], named_key: str, public_key: str | None) -> Iterator[Finding]:
    if public_key is not None and public_key != named_key:
        yield Finding(1, "names a key that is not the site's")
    for entry in entries:
        if not entry.is_signed_by(public_key or named_key):
            yield Finding(entry.seq, "is not signed by the site's key")


def _order_findings(contents: Sequence[Content]) -> Iterator[Finding]:
    """Only the first entry opens the ledger, and times do not decrease."""
    latest: datetime | None = None
    for seq, content in enumerate(contents, start=1):
        if isinstance(content, kinds.Open) and seq > 1:
            yield Finding(seq, "opens the ledger a second time")
        if latest is not None and content.created < latest:
            yield Finding(seq, "is older than the entry before it")
        latest = content.created


def _charge_findings(contents: Sequence[Content]) -> Iterator[Finding]:
    """Each release is reserved once, and each reservation is settled at most once, for no more than it covers."""
    reserved: dict[int, kinds.Reserve] = {}
    settled: set[int] = set()
    releases: set[str] = set()
    for seq, content in enumerate(contents, start=1):
        if isinstance(content, kinds.Reserve):
            if content.replay_key and content.replay_key in releases:
                yield Finding(seq, "reserves a release that was already reserved")
            releases.add(content.replay_key)
            reserved[seq] = content
        if isinstance(content, kinds.Settle):
            if content.reservation not in reserved:
                yield Finding(seq, "settles a reservation that does not exist")
            elif content.reservation in settled:
                yield Finding(seq, "settles a reservation that was already settled")
            elif content.steps > reserved[content.reservation].steps:
                yield Finding(seq, "settles more steps than were reserved")
            settled.add(content.reservation)


def _compliance_findings(contents: Sequence[Content], entries: Sequence[Entry]) -> Iterator[Finding]:
    """Each reservation belongs to an approved plan; it and each approval comply with the policy of that day."""
    for seq, content in enumerate(contents, start=1):
        before = entries[: seq - 1]
        problems: list[str] = []
        if isinstance(content, kinds.Approve):
            problems += _against_policy(content, before)
            if approvers_missing(content, before):
                problems.append("approves a study with fewer approvers than the policy requires")
        elif isinstance(content, kinds.Reserve):
            problems += _reservation_problems(content, before)
        if problems:
            yield Finding(seq, "; ".join(problems))


def _reservation_problems(charge: kinds.Charge, before: Sequence[Entry]) -> Iterator[str]:
    approval, policy = approval_of(before, charge.study_id), policy_in_force(before)
    if approval is None:
        yield "reserves for a plan that was not approved"
        return
    problem = approval.forbids(charge)
    if problem:
        yield problem
    yield from _against_policy(approval, before)
    if charge.noise_multiplier < policy.min_noise_multiplier:
        yield f"noise_multiplier {charge.noise_multiplier:g} is below the policy's {policy.min_noise_multiplier:g}"
    steps = charge.steps + sum(mechanism.steps for mechanism in _charged(before))
    if steps > policy.max_steps:
        yield f"brought the steps to {steps}, above the policy's {policy.max_steps}"


def _against_policy(approval: kinds.Approval, before: Sequence[Entry]) -> Iterator[str]:
    policy = policy_in_force(before)
    for objection in policy.objections(approval.plan, approval.family, approval.server):
        yield f"violates the policy: {objection}"


def _plan_findings(contents: Sequence[Content]) -> Iterator[Finding]:
    """What a study took beyond its plan: a phase or round twice, more rounds or steps, or more ε than was approved."""
    plans: dict[str, PrivacyPlan] = {}
    charges: dict[str, list[tuple[int, kinds.Reserve]]] = {}
    settled: dict[int, int] = {}
    for seq, content in enumerate(contents, start=1):
        if isinstance(content, kinds.Approve):
            plans[content.study_id] = content.plan
        elif isinstance(content, kinds.Settle):
            settled[content.reservation] = content.steps
        elif isinstance(content, kinds.Reserve) and content.study_id in plans:
            earlier = charges.setdefault(content.study_id, [])
            problems = _beyond_the_plan(content, earlier, plans[content.study_id], settled)
            yield from (Finding(seq, problem) for problem in problems)
            earlier.append((seq, content))


def _beyond_the_plan(
    charge: kinds.Reserve, earlier: Sequence[tuple[int, kinds.Reserve]], plan: PrivacyPlan, settled: Mapping[int, int]
) -> Iterator[str]:
    """What is wrong with a charge of a study, given its earlier charges."""
    alike, phase = [(seq, one) for seq, one in earlier if one.phase == charge.phase], plan.find(charge.phase)
    if any(one.round == charge.round and seq in settled for seq, one in alike):
        yield f"reserves round {charge.round} of {charge.phase} again, which was already settled"
    if phase is not None and len(alike) >= phase.rounds:
        yield f"is reservation {len(alike) + 1} for {charge.phase}, which was approved for {phase.rounds}"
    charged = [Mechanism(one.noise_multiplier, one.sample_rate, settled.get(seq, one.steps)) for seq, one in earlier]
    charged.append(Mechanism(charge.noise_multiplier, charge.sample_rate, charge.steps))
    if accounting.epsilon_rdp(charged, plan.delta) <= plan.epsilon:  # never below the truth, and quicker
        return
    after = accounting.epsilon(charged, plan.delta)
    if after > plan.epsilon:
        yield f"brought the study's ε to {in_words(after)}, above the {plan.epsilon:g} that was approved"


def _seed_findings(contents: Sequence[Content], terms: Cohort) -> Iterator[Finding]:
    """Noise from a seed is for rehearsals, and for simulations, whose ledgers name no patients."""
    if terms.rehearsal or not terms.fingerprint:
        return
    for seq, content in enumerate(contents, start=1):
        if isinstance(content, kinds.Approve) and content.plan.seeded:
            yield Finding(seq, "approves noise from a seed for registered patients")
        if isinstance(content, kinds.Reserve) and content.replay_key:
            yield Finding(seq, "reserves for noise from a seed, with registered patients")


def _missing(entries: Sequence[Entry], known_heads: Collection[str]) -> Iterator[Finding]:
    if not set(known_heads) <= {entry.hash for entry in entries}:
        yield Finding(THE_LEDGER, "lacks entries that others have seen: its end was cut off, or it was rewritten")


def _with_epsilon(
    name: str, findings: list[Finding], cohort: Cohort, contents: Sequence[Content], entries: Sequence[Entry]
) -> Audit:
    charges, delta = _charged(entries), cohort.delta
    prv, rdp = (account(charges, delta) for account in (accounting.epsilon, accounting.epsilon_rdp))
    pld = accounting.epsilon_pld(charges, delta) if charges else 0.0
    error = 2 * accounting.prv_error(charges, delta) if charges else 2 * accounting.PRV_EPSILON_ERROR
    if abs(prv - pld) > error + PLD_RELATIVE_ERROR * pld:
        findings.append(Finding(THE_LEDGER, f"PRV finds ε = {in_words(prv)} and PLD {in_words(pld)}: they disagree"))
    if rdp < max(prv, pld) - error:
        findings.append(Finding(THE_LEDGER, f"RDP finds ε = {in_words(rdp)}, below the tighter accountants"))
    findings += [*_over_budget(contents, entries, delta), *_second_study(entries, delta)]
    several = len(_studies(entries)) > 1
    filtered = accounting.epsilon_filtered(charges, delta, order_of(entries)) if several else None
    budget = policy_in_force(entries).epsilon
    return Audit(name, _sorted(findings), cohort.unit, delta, budget, prv, pld, rdp, filtered, state(entries))


def _studies(entries: Sequence[Entry]) -> set[str]:
    return {charge.study_id for _, charge in of_kind(entries, kinds.Reserve)}


def _charged(entries: Sequence[Entry]) -> list[Mechanism]:
    """What was settled, and what was reserved and not settled."""
    settled = {settle.reservation: settle.steps for _, settle in of_kind(entries, kinds.Settle)}
    return [
        Mechanism(charge.noise_multiplier, charge.sample_rate, settled.get(seq, charge.steps))
        for seq, charge in of_kind(entries, kinds.Reserve)
    ]


def _counted(entries: Sequence[Entry], delta: float) -> float:
    """ε of what the entries charge: exact for one study, by the ledger's Rényi filter for several."""
    if len(_studies(entries)) <= 1:
        return accounting.epsilon(_charged(entries), delta)
    return accounting.epsilon_filtered(_charged(entries), delta, order_of(entries))


def _over_budget(contents: Sequence[Content], entries: Sequence[Entry], delta: float) -> Iterator[Finding]:
    """Reservations that passed the budget, or 20 without an override; settlements that came later do not count."""
    budgets = [said.policy.epsilon for said in contents if isinstance(said, kinds.Open | kinds.PolicyChange)]
    both = zip(entries, contents, strict=True)
    every_reservation = [entry for entry, said in both if not isinstance(said, kinds.Settle)]
    if _counted(every_reservation, delta) <= min(OVERRIDE_ABOVE, *budgets):
        return  # ε grows with every step, so no part of them passed it either
    for seq, charge in of_kind(entries, kinds.Reserve):
        after, budget = _counted(entries[:seq], delta), policy_in_force(entries[:seq]).epsilon
        approval = approval_of(entries[:seq], charge.study_id)
        if after > budget:
            yield Finding(seq, f"brought ε to {in_words(after)}, above the budget of {budget:g}")
        if after > OVERRIDE_ABOVE and approval is not None and not approval.override.strip():
            yield Finding(seq, f"brought ε to {in_words(after)}, above {OVERRIDE_ABOVE:g} without an override")


def _second_study(entries: Sequence[Entry], delta: float) -> Iterator[Finding]:
    """Reservations for another study than the first, though the first one's plan alone was above the budget."""
    reservations = of_kind(entries, kinds.Reserve)
    others = [seq for seq, charge in reservations if charge.study_id != reservations[0][1].study_id]
    if not others:
        return
    first, charge = reservations[0]
    approval = approval_of(entries[: first - 1], charge.study_id)
    if approval is None:
        return  # which is a finding of its own
    whole = accounting.epsilon_filtered(approval.plan.mechanisms(), delta, order_of(entries))
    for seq in others:
        if whole > policy_in_force(entries[:seq]).epsilon:
            yield Finding(seq, f"is for a second study, but the first plan alone comes to ε = {in_words(whole)}")


def _sorted(findings: list[Finding]) -> tuple[Finding, ...]:
    """In the order of entries; a finding may quote arbitrary text from an entry."""
    found = (Finding(finding.entry, one_line(finding.problem)) for finding in findings)
    return tuple(sorted(found, key=lambda finding: finding.entry))
