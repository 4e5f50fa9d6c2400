"""The site's privacy ledger: records durably what is spent on its patients, before it is spent.

The protocol is reserve → train → settle: a reservation for the most that the coming steps can cost is on the disk
(fsync) before the first gradient; settling lowers it to the steps that were taken. A crash in between leaves the whole
reservation charged. The ledger also records what the hospital decided: its policy and every change of it, the plans
that it approved and rejected, and its refusals. The file is a `Chain`: append-only and signed.

Privacy:
    Unit and δ are fixed when the ledger is opened. ε composes over everything the file holds, whatever run, server or
    purpose it came from, by the rule of `charged_epsilon`. Whatever the policy in force forbids, was not approved,
    or would exceed the approved plan or the budget is refused before any data is read, even if two processes ask at
    once.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from silogan.client.ledger import entries as kinds
from silogan.client.ledger.chain import Chain, Entry, Transaction
from silogan.client.ledger.entries import Approval, Charge, Cohort, of_kind, read
from silogan.client.ledger.keys import SiteKey
from silogan.client.ledger.policy import Policy
from silogan.common.bounds import MOST_ROUNDS
from silogan.common.errors import Code, DataError, PrivacyRefusal, SiloganError, VerificationError
from silogan.common.pages.words import epsilon as in_words
from silogan.common.privacy.accounting import Mechanism, epsilon, epsilon_filtered, filter_order
from silogan.common.privacy.plan import PrivacyPlan
from silogan.common.privacy.strength import OVERRIDE_ABOVE
from silogan.common.wire.study import versions

MALFORMED = "malformed"
"""Replaces a value from somebody else in the ledger that is neither a valid hash nor one line of text."""

SOMEBODY = "?"
"""Whoever may approve, where it is only asked whether that could be."""

_LONGEST_ID, _LONGEST_REASON = 64, 500
_EACH = 64
"""Refusals of one kind that have an entry each; a power of two."""


class Ledger:
    """The ledger in one file. Safe for several processes and threads at once.

    Args:
        path: the file, which `create` has made.
        key: the site's.

    Attributes:
        cohort: whom it was opened for.

    Raises:
        DataError: the file is missing, is not a ledger, or cannot be written.
        VerificationError: an entry was changed, or signed by another key.
    """

    def __init__(self, path: Path, key: SiteKey) -> None:
        if not path.is_file():
            # A new ledger would have forgotten what was spent.
            raise DataError(f"ledger '{path.name}'", "is missing", "restore its newest copy")
        self._chain = Chain(path, key)
        with self._chain.transaction() as ledger:
            if not ledger.entries:
                raise VerificationError(f"ledger '{path.name}'", "holds no entry", "restore its newest copy")
            self.cohort = opening(ledger.entries).cohort

    @staticmethod
    def create(path: Path, cohort: Cohort, policy: Policy, key: SiteKey) -> "Ledger":
        """Opens a new ledger for a cohort; one that was opened for the same cohort stays as it is.

        Raises:
            PrivacyRefusal: the file was opened for another cohort, unit or δ.
        """
        with Chain(path, key).transaction() as ledger:
            if not ledger.entries:
                body = {"key": key.public, "cohort": asdict(cohort), "policy": policy.model_dump(mode="json")}
                _append(ledger, "open", body)
        opened = Ledger(path, key)
        if opened.cohort != cohort:
            problem = f"is for {opened.cohort}, not {cohort}"
            raise PrivacyRefusal(f"ledger '{path.name}'", problem, "use the cohort's own terms")
        return opened

    def enforce(self, policy: Policy) -> None:
        """Puts a policy in force: all that follows must comply. Each change of it stays on record."""
        with self._chain.transaction() as ledger:
            _put_in_force(ledger, policy)

    def approve(self, approval: Approval) -> bool:
        """Signs a plan, which is from then on the most that its study may take; approving it twice changes nothing.

        Where the policy asks for two approvers, the first one's word is an entry of kind `endorse`, and only the
        second one's approves. Any decision about the study in between (a rejection) makes them start again.

        Returns:
            Whether it is approved now; False if another person must approve it too.

        Raises:
            PrivacyRefusal: the policy in force forbids it, its first round would pass the budget, or ε could come above
                20 and no override was signed. The refusal is written.
        """
        with self._chain.transaction() as ledger:
            refusal = self._objection_to(approval, ledger.entries, policy_in_force(ledger.entries))
            if refusal is None and _is_approved(approval, ledger.entries):
                return True
            if refusal is None:
                enough = not approvers_missing(approval, ledger.entries)
                _append(ledger, "approve" if enough else "endorse", asdict(approval))
                return enough
            _append_refusal(ledger, approval.study_id, approval.plan.plan_id, "", 0, refusal)
        raise refusal

    def objection(self, approval: Approval, policy: Policy) -> PrivacyRefusal | None:
        """The error that `approve` would raise under a policy, or None; nothing is written."""
        return self._objection_to(approval, self.entries(), policy)

    def reject(self, study_id: str, plan_id: str, reason: str) -> None:
        """Records that the hospital rejects a study, or withdraws its approval; charges stay."""
        with self._chain.transaction() as ledger:
            _append(ledger, "reject", {"study_id": study_id, "plan_id": plan_id, "reason": reason})

    def reserve(self, charge: Charge, policy: Policy | None = None, check: Callable[[], None] = lambda: None) -> int:
        """Durably charges the most that the coming steps can cost; returns the reservation's number.

        A charge with a `replay_key` that is already reserved is the same release again, and returns its reservation.
        Otherwise each round of each phase is reserved once, unless it was interrupted, which takes one of the phase's
        spare rounds.

        Args:
            charge: what is to be paid for.
            policy: the hospital's as it is now, which is put in force first; the one in force if None.
            check: called once nothing stands against the charge, and before it is written; raises where the round
                could not be done, and then nothing is written.

        Raises:
            PrivacyRefusal: the plan was not approved, the charge is not what was approved or more of it than was, the
                policy in force forbids it, or ε would pass the budget. Nothing is charged, and the refusal is written.
        """
        with self._chain.transaction() as ledger:
            if policy is not None:
                _put_in_force(ledger, policy)
            for seq, earlier in of_kind(ledger.entries, kinds.Reserve):
                if charge.replay_key != "" and charge == earlier.charge:
                    return seq
            refusal = self._objection(charge, ledger.entries)
            if refusal is None:
                check()
                return _append(ledger, "reserve", asdict(charge)).seq
            _append_refusal(ledger, charge.study_id, charge.plan_id, charge.phase, charge.round, refusal)
        raise refusal

    def settle(self, reservation: int, steps: int) -> str:
        """Records that `steps` steps were taken on a reservation; settling twice with the same steps changes nothing.

        Returns:
            The hash of the entry that settles it: the ledger's head at that time.

        Raises:
            VerificationError: there is no such reservation, or it did not cover so many steps.
        """
        with self._chain.transaction() as ledger:
            reserved = {seq: charge.steps for seq, charge in of_kind(ledger.entries, kinds.Reserve)}
            settlements = of_kind(ledger.entries, kinds.Settle)
            settled = {settle.reservation: settle.steps for _, settle in settlements}
            if settled.get(reservation) == steps:
                seq = next(seq for seq, settle in settlements if settle.reservation == reservation)
                return ledger.entries[seq - 1].hash
            if reservation in settled or not 0 <= steps <= reserved.get(reservation, -1):
                thing = f"reservation {reservation}"
                raise VerificationError(thing, f"does not cover {steps} steps", "audit the ledger")
            return _append(ledger, "settle", {"reservation": reservation, "steps": steps}).hash

    def refuse(self, study_id: str, plan_id: str, round_number: int, reason: SiloganError, phase: str = "") -> None:
        """Records that a request was refused before any data was read."""
        with self._chain.transaction() as ledger:
            _append_refusal(ledger, study_id, plan_id, phase, round_number, reason)

    def epsilon(self) -> float:
        """ε spent on the cohort so far, open reservations included, by the rule of `charged_epsilon`."""
        return charged_epsilon(self.entries())

    def mechanisms(self) -> list[Mechanism]:
        """All charges: settled steps, and reserved steps that were not settled."""
        return spent(self.entries())

    def head(self) -> str:
        """Hash of the last entry, which identifies the whole history."""
        return self.entries()[-1].hash

    def entries(self) -> list[Entry]:
        """All entries, oldest first, verified."""
        with self._chain.transaction() as ledger:
            return ledger.entries

    def _objection(self, charge: Charge, entries: Sequence[Entry]) -> PrivacyRefusal | None:
        """Why a charge is refused: approval, then policy, then budget."""
        approval, policy = approval_of(entries, charge.study_id), policy_in_force(entries)
        if approval is None:
            problem, hint = "is not approved by this hospital", "have it review the plan"
            return PrivacyRefusal("privacy plan", problem, hint, code=Code.NOT_APPROVED)
        problem = approval.forbids(charge)
        if problem:
            return PrivacyRefusal("privacy plan", problem, "have the hospital review the new plan")
        return (
            self._forbidden(approval, policy)
            or _above_the_plan(charge, approval.plan, entries)
            or self._over_limit(charge, approval, entries, policy)
        )

    def _objection_to(self, approval: Approval, entries: Sequence[Entry], policy: Policy) -> PrivacyRefusal | None:
        """Why a plan cannot be approved; of one that is, only what the policy forbids: its budget may be used up."""
        plan = approval.plan
        refusal = self._forbidden(approval, policy)
        if _is_approved(approval, entries):
            return refusal
        if refusal is None and policy.approvers > 1 and not approval.approver.strip():
            problem = f"names no approver, but the policy requires {policy.approvers}"
            refusal = PrivacyRefusal("approval", problem, "say who approves with --by")
        if refusal is None:
            first_round = Charge.of(plan, plan.phases[0].name, 1, approval.study_id)
            refusal = self._over_limit(first_round, approval, entries, policy)
        if refusal is None and not approval.override.strip():
            most = min(policy.epsilon, charged_epsilon(entries, approval.study_id, plan.mechanisms()))
            if most > OVERRIDE_ABOVE:
                problem = f"could bring ε to {in_words(most)}, above {OVERRIDE_ABOVE:g}"
                refusal = PrivacyRefusal("privacy plan", problem, "approve it with --override and the reason")
        return refusal

    def _forbidden(self, approval: Approval, policy: Policy) -> PrivacyRefusal | None:
        problems = list(policy.objections(approval.plan, approval.family, approval.server))
        if self.cohort.unit != policy.unit or self.cohort.delta != policy.delta:
            problems.append(
                f"the ledger counts for the {self.cohort.unit} at δ = {self.cohort.delta:g}, and the policy says "
                f"{policy.unit} and {policy.delta:g}"
            )
        if approval.plan.seeded != self.cohort.rehearsal:
            problems.append(RANDOMNESS[self.cohort.rehearsal])
        if not problems:
            return None
        problem = f"forbids the plan: {'; '.join(problems)}"
        return PrivacyRefusal("site policy", problem, "propose what it allows", code=Code.POLICY)

    def _over_limit(
        self, charge: Charge, approval: Approval, entries: Sequence[Entry], policy: Policy
    ) -> PrivacyRefusal | None:
        if charge.noise_multiplier < policy.min_noise_multiplier:
            problem = f"noise_multiplier {charge.noise_multiplier:g} is below {policy.min_noise_multiplier:g}"
            return PrivacyRefusal("site policy", problem, "propose what it allows", code=Code.POLICY)
        steps = sum(mechanism.steps for mechanism in spent(entries)) + charge.steps
        if steps > policy.max_steps:
            problem = f"{_named(charge)} would bring the steps to {steps}, above {policy.max_steps}"
            hint = "stop here, or have the hospital allow more"
            return PrivacyRefusal("site policy", problem, hint, code=Code.POLICY)
        problem = second_study_problem(entries, charge.study_id, policy.epsilon)
        if problem is not None:
            hint = "have the hospital approve a larger budget"
            return PrivacyRefusal("privacy budget", problem, hint, code=Code.BUDGET)
        after = charged_epsilon(entries, charge.study_id, [charge.mechanism()])
        problem = f"{_named(charge)} would bring ε to {in_words(after)}, above"
        if not after <= policy.epsilon:
            hint = "stop here, or have the hospital approve a larger budget"
            return PrivacyRefusal("privacy budget", f"{problem} {policy.epsilon:g}", hint, code=Code.BUDGET)
        if after > OVERRIDE_ABOVE and not approval.override.strip():  # other studies, or a larger budget, came since
            hint = "approve it with --override and the reason"
            return PrivacyRefusal("privacy plan", f"{problem} {OVERRIDE_ABOVE:g}", hint, code=Code.BUDGET)
        return None


RANDOMNESS = {
    False: "it is seeded: its noise could be known beforehand",
    True: "it is not seeded, but this is a rehearsal without patients' data",
}
"""Why a study's randomness does not fit a ledger, by whether that is a rehearsal's."""


def charged_epsilon(entries: Sequence[Entry], study_id: str = "", more: Iterable[Mechanism] = ()) -> float:
    """ε of all that a ledger's entries charge, and of what a study takes `more`.

    One study's parameters are all fixed when it is approved, before any of it is answered: only what is asked with them
    is chosen as it goes, and where it stops. There the exact composition holds (PRV). A second study may have been
    proposed because of what the first one answered, its noise and its length included. From then on the ledger counts
    by a Rényi filter (Feldman and Zrnic, 2021, theorem 3.1): the RDP of all charges at one order, a public function of
    the budget and δ that the ledger was opened with.

    Privacy:
        Which of the two holds is settled by the first study's plan, before anything was answered. If the whole of it
        is above the filter's budget, no second study is let in, however early the first one ends
        (`second_study_problem`): all there will ever be is the first study, and PRV holds for it. Else every charge
        that is ever made is within the filter's budget. Without that condition an answer could choose between the two
        bounds, and δ would count twice.
        Assumed: the budget, δ and order are set beforehand. A hospital that raises its budget after it has seen what
        was answered starts a new promise.
        Costs: two or more equal studies need about 7% more noise than if they were one (measured at δ = 1e-5, q = 0.1,
        500 steps each: 7.4% at ε = 1, 7.3% at 3, 6.1 to 6.7% at 10), or are charged 9% more ε for the same noise.
    """
    added = list(more)
    studies = studies_charged(entries) | ({study_id} if added else set())
    return composed(entries, [*spent(entries), *added], len(studies))


def composed(entries: Sequence[Entry], mechanisms: Sequence[Mechanism], studies: int) -> float:
    """ε of mechanisms of so many studies, on the terms of a ledger: see `charged_epsilon`."""
    delta = opening(entries).cohort.delta
    return epsilon(mechanisms, delta) if studies <= 1 else epsilon_filtered(mechanisms, delta, order_of(entries))


def studies_charged(entries: Sequence[Entry]) -> set[str]:
    """The studies that anything was ever reserved for."""
    return {charge.study_id for _, charge in of_kind(entries, kinds.Reserve)}


def opening(entries: Sequence[Entry]) -> kinds.Open:
    """What the first entry says.

    Raises:
        VerificationError: it does not open a ledger.
    """
    said = read(entries[0])
    if not isinstance(said, kinds.Open):
        raise VerificationError(f"ledger entry {entries[0].seq}", "does not open the ledger", "audit the ledger")
    return said


def order_of(entries: Sequence[Entry]) -> int:
    """The order of a ledger's Rényi filter, fixed by the entry that opens it."""
    first = opening(entries)
    return filter_order(first.policy.epsilon, first.cohort.delta)


def second_study_problem(entries: Sequence[Entry], study_id: str, budget: float) -> str | None:
    """Why no study can follow the first one that a ledger was charged for; None if one can, or this is the first.

    See `charged_epsilon`.
    """
    first = next((charge.study_id for _, charge in of_kind(entries, kinds.Reserve)), study_id)
    plans = [approval.plan for _, approval in of_kind(entries, kinds.Approve) if approval.study_id == first]
    if first == study_id or not plans:
        return None
    whole = epsilon_filtered(plans[-1].mechanisms(), opening(entries).cohort.delta, order_of(entries))
    if whole <= budget:
        return None
    alone = f"the first plan alone comes to ε = {in_words(whole)}"
    return f"leaves no room for a second study: by the rule for several, {alone}"


def _above_the_plan(charge: Charge, plan: PrivacyPlan, entries: Sequence[Entry]) -> PrivacyRefusal | None:
    """Why a charge would be more than was approved: each phase and round once, and no more ε than the plan says."""
    new_study = "have the hospital approve another study"
    own = [(seq, one) for seq, one in of_kind(entries, kinds.Reserve) if one.study_id == charge.study_id]
    alike = [(seq, one.round) for seq, one in own if one.phase == charge.phase]
    settled, phase = settled_steps(entries), plan.find(charge.phase)
    if any(number == charge.round and seq in settled for seq, number in alike):
        hint = "continue with the next round"
        return PrivacyRefusal(_named(charge), "was already answered", hint, code=Code.ROUND_DONE)
    if phase is None or len(alike) >= phase.rounds:
        most = phase.rounds if phase else 0
        problem = f"has no spare round left: all {most} that were approved are charged"
        return PrivacyRefusal(_named(charge), problem, new_study, code=Code.BUDGET)
    if all(plan.find(one.phase) for _, one in own) and epsilon(plan.mechanisms(), plan.delta) <= plan.epsilon:
        return None
    after = epsilon([*paid_for(own, settled), charge.mechanism()], plan.delta)
    if after <= plan.epsilon:
        return None
    problem = (
        f"{_named(charge)} would bring this study's ε to {in_words(after)}, above {plan.epsilon:g}, which was approved"
    )
    hint = "stop here, or have the hospital approve another study"
    return PrivacyRefusal("privacy budget", problem, hint, code=Code.BUDGET)


def _named(charge: Charge) -> str:
    """The name of the requested release in a refusal."""
    return f"round {charge.round} of {charge.phase}"


def _put_in_force(ledger: Transaction, policy: Policy) -> None:
    if policy_in_force(ledger.entries) != policy:
        _append(ledger, "policy", {"policy": policy.model_dump(mode="json")})


def policy_in_force(entries: Sequence[Entry]) -> Policy:
    """The last policy that the entries hold."""
    said = map(read, reversed(entries))
    return next(one.policy for one in said if isinstance(one, kinds.Open | kinds.PolicyChange))


def approval_of(entries: Sequence[Entry], study_id: str) -> kinds.Approve | None:
    """The hospital's last word on a study: its approval, or None where it was rejected or never approved."""
    for said in map(read, reversed(entries)):
        if isinstance(said, kinds.Approve | kinds.Reject) and said.study_id == study_id:
            return said if isinstance(said, kinds.Approve) else None
    return None


def _is_approved(approval: Approval, entries: Sequence[Entry]) -> bool:
    known = approval_of(entries, approval.study_id)
    return known is not None and known.like(approval) and approval.approver in ("", SOMEBODY, known.approver)


def approvers_missing(approval: Approval, entries: Sequence[Entry]) -> int:
    """How many more people must approve, after this approval, on the terms that the entries have put in force."""
    names = {_person(approval.approver)}
    for said in map(read, reversed(entries)):
        if isinstance(said, kinds.Approve | kinds.Reject) and said.study_id == approval.study_id:
            break
        if isinstance(said, kinds.Endorse) and said.like(approval):
            names.add(_person(said.approver))
    wanted = policy_in_force(entries).approvers
    return max(0, wanted - len(names - {""})) if wanted > 1 else 0


def _person(name: str) -> str:
    """A key for one person's name, whatever its spelling in case and spaces."""
    return " ".join(name.casefold().split())


def spent(entries: Sequence[Entry]) -> list[Mechanism]:
    """The charges of the entries: settled steps, and reserved steps that were not settled."""
    return paid_for(of_kind(entries, kinds.Reserve), settled_steps(entries))


def paid_for(charges: Iterable[tuple[int, kinds.Reserve]], settled: Mapping[int, int]) -> list[Mechanism]:
    """The mechanisms of numbered reservations, given the steps that were settled on some of them."""
    return [charge.mechanism(settled.get(seq)) for seq, charge in charges]


def settled_steps(entries: Sequence[Entry]) -> dict[int, int]:
    """The steps that were taken, by the number of the reservation."""
    return {settle.reservation: settle.steps for _, settle in of_kind(entries, kinds.Settle)}


def _append(ledger: Transaction, kind: str, body: dict[str, Any]) -> Entry:
    """Adds an entry with the time, which never runs backwards in a ledger, and what software wrote it."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    last = ledger.entries[-1].content["created"] if ledger.entries else now
    clock = {"clock_set_back_to": now} if now < last else {}
    return ledger.append({"kind": kind, **body, "created": max(now, last), **clock, "versions": versions()})


def _append_refusal(
    ledger: Transaction, study_id: str, plan_id: str, phase: str, round_number: int, reason: SiloganError
) -> None:
    """Writes a refusal down: each of the first ones of its kind, later ones together.

    Whoever may ask can ask without end, and the file only grows. Of one kind are refusals of one study for reasons of
    one code; all studies that the hospital never decided about count as one. After the first 64, an entry stands for as
    many refusals as there were since the last one: it is written at the 128th, 256th, 512th and so on.
    """
    decided = {said.study_id for said in map(read, ledger.entries) if isinstance(said, kinds.Approve | kinds.Reject)}
    times = ledger.tally(f"refuse {reason.code} {study_id if study_id in decided else ''}")
    if times > _EACH and times & (times - 1):
        return
    body = {
        "study_id": _bounded(study_id, _LONGEST_ID),
        "plan_id": _bounded(plan_id, _LONGEST_ID),
        "phase": phase,
        "round": min(max(round_number, 0), MOST_ROUNDS),
        "reason": _bounded(str(reason), _LONGEST_REASON),
    }
    _append(ledger, "refuse", body | ({"times": times // 2} if times > _EACH else {}))


def _bounded(text: str, most: int) -> str:
    """A text from somebody else for permanent storage: shortened, or replaced if it is malformed."""
    if len(text) > most:
        return MALFORMED if most == _LONGEST_ID else f"{_bounded(text[: most - 1], most)}…"
    return text if text.isprintable() else MALFORMED
