"""The site's privacy ledger: what has been spent on its patients, durably, before it is spent.

The protocol is reserve → train → settle: a reservation for the most that the coming steps can cost is on the disk
(fsync) before the first gradient; settling lowers it to the steps that were taken. A crash in between leaves the whole
reservation charged. The book also holds what the hospital decided: its policy and every change of it, the plans that it
approved and rejected, and what it refused. The file is a `Chain`: it only grows, and is signed.

Privacy:
    Unit and δ are fixed when the ledger is opened. ε composes over everything the file holds, whatever run, server or
    purpose it came from. What the policy in force forbids, what was not approved and what would pass the budget is
    refused before any data is read, also when two processes ask at once.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from client.chain import Chain, Entry, Transaction
from client.keys import SiteKey
from client.policy import OVERRIDE_ABOVE, Policy
from common.accounting import Mechanism, epsilon
from common.errors import Code, DataError, PrivacyRefusal, SiloganError, VerificationError
from common.plan import PrivacyPlan
from common.study import versions

Purpose = Literal["training", "warm_start", "statistic", "evaluation", "image"]
"""What a charge pays for: all of them compose."""


@dataclass(frozen=True)
class Cohort:
    """Whom the ledger protects.

    Attributes:
        unit: the patient, or the record.
        delta: at which ε is counted.
        fingerprint: of the patients, as the site registered them (`client/cohort.py`); empty in a simulation.
    """

    unit: str
    delta: float
    fingerprint: str = ""


@dataclass(frozen=True)
class Charge:
    """What a reservation pays for.

    Attributes:
        study_id: the run.
        plan_id: the privacy plan, which must have been approved.
        round: the round of the run.
        steps: the most private steps that the round can take.
        noise_multiplier, sample_rate, clip_norm, records_per_patient: the mechanism of each step.
        replay_key: where randomness is seeded, a hash of everything the round depends on, so that an interrupted round
            can be repeated bit for bit, which releases nothing new. Empty for real randomness: a repetition is then
            paid again.
        purpose: what it is for.
    """

    study_id: str
    plan_id: str
    round: int
    steps: int
    noise_multiplier: float
    sample_rate: float
    clip_norm: float
    records_per_patient: int = 1
    replay_key: str = ""
    purpose: Purpose = "training"

    @staticmethod
    def for_round(plan: PrivacyPlan, study_id: str, round_number: int, replay_key: str = "") -> "Charge":
        """The charge for one round of `plan`."""
        return Charge(
            study_id=study_id,
            plan_id=plan.plan_id,
            round=round_number,
            steps=plan.steps_per_round,
            noise_multiplier=plan.noise_multiplier,
            sample_rate=plan.sample_rate,
            clip_norm=plan.clip_norm,
            records_per_patient=plan.records_per_patient,
            replay_key=replay_key,
        )

    @staticmethod
    def for_warm_start(plan: PrivacyPlan, study_id: str, replay_key: str = "") -> "Charge":
        """The charge for the statistics that `plan` releases once, before its first round.

        Raises:
            PrivacyRefusal: it releases none.
        """
        if plan.warm_start_noise_multiplier is None:
            raise PrivacyRefusal("privacy plan", "has no warm start", "have the hospital review the new plan")
        return Charge(
            study_id=study_id,
            plan_id=plan.plan_id,
            round=0,
            steps=1,
            noise_multiplier=plan.warm_start_noise_multiplier,
            sample_rate=1.0,
            clip_norm=1.0,
            replay_key=replay_key,
            purpose="warm_start",
        )

    @property
    def mechanism(self) -> Mechanism:
        """What the accountant sees of it."""
        return Mechanism(self.noise_multiplier, self.sample_rate, self.steps)


@dataclass(frozen=True)
class Approval:
    """A plan that the hospital has agreed to, as the ledger holds it.

    Attributes:
        study_id: the study, data schema, model and roster included, whose hash was signed.
        plan: its privacy plan.
        family: the model family.
        server: the coordinator who asked for it.
        override: why ε above 20 is accepted; empty where it is not above.
    """

    study_id: str
    plan: PrivacyPlan
    family: str
    server: str
    override: str = ""

    @staticmethod
    def of_entry(entry: Entry) -> "Approval":
        """The approval that an entry of kind `approve` holds."""
        content = entry.content
        plan = PrivacyPlan(**content["plan"])
        return Approval(content["study_id"], plan, content["family"], content["server"], content["override"])

    def forbids(self, charge: Charge) -> str | None:
        """Why a charge is not what was approved; None if it is, or is for what a plan does not say."""
        if charge.purpose == "warm_start":
            return self._forbids_warm_start(charge)
        if charge.purpose != "training":
            return None
        allowed = Charge.for_round(self.plan, self.study_id, charge.round)
        different = [
            name
            for name in ("study_id", "plan_id", "noise_multiplier", "sample_rate", "clip_norm", "records_per_patient")
            if getattr(charge, name) != getattr(allowed, name)
        ]
        if different:
            return f"differs from what was approved in {', '.join(different)}"
        if charge.steps > allowed.steps:
            return f"asks for {charge.steps} steps where {allowed.steps} were approved"
        if not 1 <= charge.round <= self.plan.rounds:
            return f"asks for round {charge.round} where {self.plan.rounds} were approved"
        return None

    def _forbids_warm_start(self, charge: Charge) -> str | None:
        if self.plan.warm_start_noise_multiplier is None:
            return "has no warm start"
        allowed = Charge.for_warm_start(self.plan, self.study_id, charge.replay_key)
        return None if charge == allowed else "differs from the warm start that was approved"


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
            # One that was made anew would have forgotten what was spent.
            raise DataError(f"ledger '{path.name}'", "is missing", "restore its newest copy")
        self._chain = Chain(path, key)
        with self._chain.transaction() as ledger:
            if not ledger.entries:
                raise VerificationError(f"ledger '{path.name}'", "holds no entry", "restore its newest copy")
            self.cohort = Cohort(**ledger.entries[0].content["cohort"])

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
            raise PrivacyRefusal(
                f"ledger '{path.name}'", f"is for {opened.cohort}, not {cohort}", "use the cohort's own terms"
            )
        return opened

    def enforce(self, policy: Policy) -> None:
        """Puts a policy in force: all that follows must comply. Each change of it stays on record."""
        with self._chain.transaction() as ledger:
            _put_in_force(ledger, policy)

    def approve(self, approval: Approval) -> None:
        """Signs a plan; approving it twice changes nothing.

        Raises:
            PrivacyRefusal: the policy in force forbids it, its first round would pass the budget, or ε could come above
                20 and no override was signed. The refusal is written.
        """
        with self._chain.transaction() as ledger:
            if approval_of(ledger.entries, approval.study_id) == approval:
                return
            refusal = self._objection_to(approval, ledger.entries)
            if refusal is None:
                _append(ledger, "approve", asdict(approval))
                return
            _append_refusal(ledger, approval.study_id, approval.plan.plan_id, 0, refusal)
        raise refusal

    def reject(self, study_id: str, plan_id: str, reason: str) -> None:
        """Records that the hospital does not agree, or no longer; what was charged stays charged."""
        with self._chain.transaction() as ledger:
            _append(ledger, "reject", {"study_id": study_id, "plan_id": plan_id, "reason": reason})

    def reserve(self, charge: Charge, policy: Policy | None = None) -> int:
        """Durably charges the most that the coming steps can cost; returns the reservation's number.

        A charge with a `replay_key` that is already reserved is the same release again, and returns its reservation.

        Args:
            charge: what is to be paid for.
            policy: the hospital's as it is now, which is put in force first; the one in force if None.

        Raises:
            PrivacyRefusal: the plan was not approved, the charge is not what was approved, the policy in force forbids
                it, or ε would pass the budget. Nothing is charged, and the refusal is written.
        """
        with self._chain.transaction() as ledger:
            if policy is not None:
                _put_in_force(ledger, policy)
            for entry in ledger.entries:
                if charge.replay_key and entry.content.get("replay_key") == charge.replay_key:
                    return entry.seq
            refusal = self._objection(charge, ledger.entries)
            if refusal is None:
                return _append(ledger, "reserve", asdict(charge)).seq
            _append_refusal(ledger, charge.study_id, charge.plan_id, charge.round, refusal)
        raise refusal

    def settle(self, reservation: int, steps: int) -> str:
        """Records that `steps` steps were taken on a reservation; settling twice with the same steps changes nothing.

        Returns:
            The ledger's head.

        Raises:
            VerificationError: there is no such reservation, or it did not cover so many steps.
        """
        with self._chain.transaction() as ledger:
            reserved = {entry.seq: entry.content["steps"] for entry in of_kind(ledger.entries, "reserve")}
            settled = settled_steps(ledger.entries)
            if settled.get(reservation) == steps:
                return ledger.entries[-1].hash
            if reservation in settled or not 0 <= steps <= reserved.get(reservation, -1):
                raise VerificationError(
                    f"reservation {reservation}", f"does not cover {steps} steps", "audit the ledger"
                )
            return _append(ledger, "settle", {"reservation": reservation, "steps": steps}).hash

    def refuse(self, study_id: str, plan_id: str, round_number: int, reason: SiloganError) -> None:
        """Records that a request was refused before any data was read."""
        with self._chain.transaction() as ledger:
            _append_refusal(ledger, study_id, plan_id, round_number, reason)

    def epsilon(self) -> float:
        """ε spent on the cohort so far, open reservations included."""
        return epsilon(self.mechanisms(), self.cohort.delta)

    def mechanisms(self) -> list[Mechanism]:
        """Everything that has been charged: settled steps, and reserved steps where nothing was settled."""
        return spent(self.entries())

    def head(self) -> str:
        """Hash of the last entry: it names the whole history."""
        return self.entries()[-1].hash

    def entries(self) -> list[Entry]:
        """All entries, oldest first, verified."""
        with self._chain.transaction() as ledger:
            return ledger.entries

    def _objection(self, charge: Charge, entries: Sequence[Entry]) -> PrivacyRefusal | None:
        """Why a charge is refused: approval, then policy, then budget."""
        approval, policy = approval_of(entries, charge.study_id), policy_in_force(entries)
        if approval is None:
            problem, mend = "is not approved by this hospital", "have it review the plan"
            return PrivacyRefusal("privacy plan", problem, mend, code=Code.NOT_APPROVED)
        problem = approval.forbids(charge)
        if problem:
            return PrivacyRefusal("privacy plan", problem, "have the hospital review the new plan")
        return self._forbidden(approval, policy) or self._over_limit(charge, approval, entries)

    def _objection_to(self, approval: Approval, entries: Sequence[Entry]) -> PrivacyRefusal | None:
        """Why a plan cannot be approved."""
        policy, plan = policy_in_force(entries), approval.plan
        refusal = self._forbidden(approval, policy)
        if refusal is None:
            first_round = Charge.for_round(plan, approval.study_id, 1)
            refusal = self._over_limit(first_round, approval, entries)
        if refusal is None and not approval.override.strip():
            all_of_it = plan.mechanisms(plan.rounds * plan.steps_per_round)
            most = min(policy.epsilon, epsilon([*spent(entries), *all_of_it], self.cohort.delta))
            if most > OVERRIDE_ABOVE:
                problem = f"could bring ε to {most:.4g}, above {OVERRIDE_ABOVE:g}"
                refusal = PrivacyRefusal("privacy plan", problem, "approve it with --override and the reason")
        return refusal

    def _forbidden(self, approval: Approval, policy: Policy) -> PrivacyRefusal | None:
        problems = list(policy.objections(approval.plan, approval.family, approval.server))
        if self.cohort.unit != policy.unit or self.cohort.delta != policy.delta:
            problems.append(f"the ledger counts for the {self.cohort.unit} at δ = {self.cohort.delta:g}")
        if not problems:
            return None
        problem = f"forbids the plan: {'; '.join(problems)}"
        return PrivacyRefusal("site policy", problem, "ask for what it allows", code=Code.POLICY)

    def _over_limit(self, charge: Charge, approval: Approval, entries: Sequence[Entry]) -> PrivacyRefusal | None:
        policy = policy_in_force(entries)
        if charge.noise_multiplier < policy.min_noise_multiplier:
            problem = f"noise_multiplier {charge.noise_multiplier:g} is below {policy.min_noise_multiplier:g}"
            return PrivacyRefusal("site policy", problem, "ask for what it allows", code=Code.POLICY)
        charged = spent(entries)
        steps = sum(mechanism.steps for mechanism in charged) + charge.steps
        if steps > policy.max_steps:
            problem = f"round {charge.round} would bring the steps to {steps}, above {policy.max_steps}"
            mend = "stop here, or have the hospital allow more"
            return PrivacyRefusal("site policy", problem, mend, code=Code.POLICY)
        after = epsilon([*charged, charge.mechanism], self.cohort.delta)
        problem = f"round {charge.round} would bring ε to {after:.4g}, above"
        if not after <= policy.epsilon:
            mend = "stop here, or have the hospital approve a larger budget"
            return PrivacyRefusal("privacy budget", f"{problem} {policy.epsilon:g}", mend, code=Code.BUDGET)
        if after > OVERRIDE_ABOVE and not approval.override.strip():  # other studies, or a larger budget, came since
            mend = "approve it with --override and the reason"
            return PrivacyRefusal("privacy plan", f"{problem} {OVERRIDE_ABOVE:g}", mend, code=Code.BUDGET)
        return None


def _put_in_force(ledger: Transaction, policy: Policy) -> None:
    if policy_in_force(ledger.entries) != policy:
        _append(ledger, "policy", {"policy": policy.model_dump(mode="json")})


def policy_in_force(entries: Sequence[Entry]) -> Policy:
    """The last policy that the entries hold."""
    return Policy(**next(entry.content["policy"] for entry in reversed(entries) if "policy" in entry.content))


def approval_of(entries: Sequence[Entry], study_id: str) -> Approval | None:
    """The hospital's last word on a study: its approval, or None where it was rejected or never approved."""
    for entry in reversed(entries):
        if entry.content["kind"] in ("approve", "reject") and entry.content["study_id"] == study_id:
            return Approval.of_entry(entry) if entry.content["kind"] == "approve" else None
    return None


def charge_of(entry: Entry) -> Charge:
    """The charge that an entry of kind `reserve` holds."""
    return Charge(**{field.name: entry.content[field.name] for field in fields(Charge)})


def spent(entries: Sequence[Entry]) -> list[Mechanism]:
    """What the entries charge: settled steps, and reserved steps where nothing was settled."""
    settled = settled_steps(entries)
    return [
        Mechanism(
            noise_multiplier=entry.content["noise_multiplier"],
            sample_rate=entry.content["sample_rate"],
            steps=settled[entry.seq] if entry.seq in settled else entry.content["steps"],
        )
        for entry in of_kind(entries, "reserve")
    ]


def of_kind(entries: Sequence[Entry], kind: str) -> list[Entry]:
    """The entries whose `kind` is this."""
    return [entry for entry in entries if entry.content["kind"] == kind]


def settled_steps(entries: Sequence[Entry]) -> dict[int, int]:
    """The steps that were taken, by the number of the reservation."""
    return {entry.content["reservation"]: entry.content["steps"] for entry in of_kind(entries, "settle")}


def _append(ledger: Transaction, kind: str, body: dict[str, Any]) -> Entry:
    """Adds an entry with the time, which never runs backwards in a ledger, and what software wrote it."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    last = ledger.entries[-1].content["created"] if ledger.entries else now
    clock = {"clock_set_back_to": now} if now < last else {}
    return ledger.append({"kind": kind, **body, "created": max(now, last), **clock, "versions": versions()})


def _append_refusal(ledger: Transaction, study_id: str, plan_id: str, round_number: int, reason: SiloganError) -> None:
    body = {"study_id": study_id, "plan_id": plan_id, "round": round_number, "reason": str(reason)}
    _append(ledger, "refuse", body)
