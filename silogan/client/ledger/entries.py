"""The kinds of ledger entries, each typed once for the ledger, its statement and its audit.

Entries of older software are converted to today's form. Before there were phases a plan had one σ and perhaps a
warm start's, a charge had a purpose, and what the warm start released was round 0.
"""

import json
from collections.abc import Iterable
from dataclasses import asdict, fields
from functools import lru_cache
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AwareDatetime, Field, TypeAdapter
from pydantic.dataclasses import dataclass

from silogan.client.ledger.chain import Entry
from silogan.client.ledger.policy import Policy
from silogan.common import bounds
from silogan.common.errors import PrivacyRefusal, VerificationError
from silogan.common.privacy.accounting import Mechanism, information
from silogan.common.privacy.plan import STATISTICS, TRAINING, Phase, PrivacyPlan, Unit, plan_hash

_REMEMBERED = 4096  # bodies; a ledger is read again in each round
_MECHANISM = ("noise_multiplier", "sample_rate", "clip_norm", "records_per_patient")
"""What a charge and the phase that it is of must have in common."""

_FORMER_PHASES = {"training": TRAINING, "warm_start": STATISTICS}
"""Of charges that have a purpose."""


@dataclass(frozen=True, config=bounds.STRICT)
class Cohort:
    """Whom the ledger protects.

    Attributes:
        unit: the patient, or the record.
        delta: at which ε is counted.
        fingerprint: of the patients, as the site registered them (`client/ledger/register.py`); empty in a simulation.
        rehearsal: whether the noise of its studies comes from a seed that others know, and the data holds no patients;
            such a ledger takes no other study, and no other ledger takes such a one.
    """

    unit: Unit
    delta: bounds.Delta
    fingerprint: str = ""
    rehearsal: bool = False


@dataclass(frozen=True, config=bounds.STRICT)
class Charge:
    """What a reservation pays for: one round of one phase of a plan.

    Attributes:
        study_id: the run.
        plan_id: the privacy plan, which must have been approved.
        phase: name of the phase.
        round: of the phase, from 1.
        steps: the most noisy sums that the round can take.
        noise_multiplier, sample_rate, clip_norm, records_per_patient: the mechanism of each of them.
        replay_key: where randomness is seeded, a hash of everything the round depends on, so that an interrupted round
            can be repeated bit for bit, which releases nothing new. Empty for real randomness: a repetition is then
            paid again.

    Raises:
        ValueError: a field has another type than is said here, or is out of its range.
    """

    study_id: bounds.Text
    plan_id: bounds.Text
    phase: bounds.Text
    round: Annotated[int, Field(ge=0, le=bounds.MOST_ROUNDS)]
    steps: Annotated[int, Field(ge=0, le=bounds.MOST_LOCAL_STEPS)]
    noise_multiplier: bounds.Noise
    sample_rate: bounds.Rate
    clip_norm: bounds.Clip
    records_per_patient: bounds.RecordsPerPatient = 1
    replay_key: bounds.Text = ""

    @staticmethod
    def of(plan: PrivacyPlan, phase: str, round_number: int, study_id: str, replay_key: str = "") -> "Charge":
        """The charge for one round of a phase of `plan`.

        Raises:
            PrivacyRefusal: the plan has no such phase.
        """
        found = plan.find(phase)
        if found is None:
            raise PrivacyRefusal("privacy plan", f"has no phase '{phase}'", "have the hospital review the new plan")
        asked = study_id, plan.plan_id, phase, round_number, found.steps_per_round
        return Charge(*asked, **{name: getattr(found, name) for name in _MECHANISM}, replay_key=replay_key)

    def mechanism(self, steps: int | None = None) -> Mechanism:
        """The mechanism for the accountant, with the given number of steps taken; None for all reserved steps."""
        return Mechanism(self.noise_multiplier, self.sample_rate, self.steps if steps is None else steps)


@dataclass(frozen=True, config=bounds.STRICT)
class Approval:
    """A plan that the hospital has agreed to, as the ledger holds it.

    Attributes:
        study_id: the study, data schema, model and roster included, whose hash was signed.
        plan: its privacy plan.
        family: the model family.
        server: the coordinator who asked for it.
        override: why ε above 20 is accepted; empty where it is not above.
        approver: who approved it, by name or role; empty if not given, as in a simulation.
        reason: why.

    Raises:
        ValueError: a field has another type than is said here, or is out of its range.
    """

    study_id: bounds.Text
    plan: PrivacyPlan
    family: bounds.Text
    server: bounds.Text
    override: bounds.Text = ""
    approver: bounds.Text = ""
    reason: bounds.Text = ""

    @property
    def plan_id(self) -> str:
        """The plan's hash, as charges name it."""
        return self.plan.plan_id

    def like(self, other: "Approval") -> bool:
        """Whether both approve the same study, whoever approved it and why."""
        names = ("study_id", "plan", "family", "server", "override")
        return all(getattr(self, name) == getattr(other, name) for name in names)

    def forbids(self, charge: Charge) -> str | None:
        """Why a charge is not what was approved; None if it is."""
        if charge.replay_key and not self.plan.seeded:
            return "is not seeded, so its rounds cannot be repeated"
        phase = self.plan.find(charge.phase)
        if phase is None:
            return f"has no phase '{charge.phase}'"
        different = [
            *(name for name in ("study_id", "plan_id") if getattr(charge, name) != getattr(self, name)),
            *(name for name in _MECHANISM if getattr(charge, name) != getattr(phase, name)),
        ]
        if different:
            return f"differs from what was approved in {', '.join(different)}"
        if charge.steps != phase.steps_per_round:
            return f"asks for {charge.steps} steps where {phase.steps_per_round} were approved"
        if not 1 <= charge.round <= phase.rounds:
            return f"asks for round {charge.round} of {phase.name} where {phase.rounds} were approved"
        return None


@dataclass(frozen=True, kw_only=True, config=bounds.STRICT)
class _Body:
    """The common part of every entry; the other classes are the kinds of entries."""

    created: Annotated[AwareDatetime, Field(strict=False)]
    clock_set_back_to: Annotated[AwareDatetime | None, Field(strict=False)] = None
    versions: dict[str, str]


@dataclass(frozen=True, kw_only=True, config=bounds.STRICT)
class Open(_Body):
    """The first entry of a ledger."""

    kind: Literal["open"]
    key: str
    cohort: Cohort
    policy: Policy


@dataclass(frozen=True, kw_only=True, config=bounds.STRICT)
class PolicyChange(_Body):
    """The policy that is in force from this entry on."""

    kind: Literal["policy"]
    policy: Policy


@dataclass(frozen=True, kw_only=True, config=bounds.STRICT)
class _Agreement(_Body, Approval):
    """Somebody at the hospital agrees to a study; `former_id` is the hash of a plan that was written without phases."""

    former_id: str = ""

    @property
    def plan_id(self) -> str:
        """The plan's hash, as charges name it."""
        return self.former_id or self.plan.plan_id


@dataclass(frozen=True, kw_only=True, config=bounds.STRICT)
class Endorse(_Agreement):
    """The first of two approvers."""

    kind: Literal["endorse"]


@dataclass(frozen=True, kw_only=True, config=bounds.STRICT)
class Approve(_Agreement):
    """The hospital's approval."""

    kind: Literal["approve"]


@dataclass(frozen=True, kw_only=True, config=bounds.STRICT)
class Reject(_Body):
    """The hospital rejects a study, or withdraws its approval."""

    kind: Literal["reject"]
    study_id: str
    plan_id: str
    reason: str


@dataclass(frozen=True, kw_only=True, config=bounds.STRICT)
class Reserve(_Body, Charge):
    """A charge for the most that a round can cost, made before it begins."""

    kind: Literal["reserve"]

    @property
    def charge(self) -> Charge:
        """The charge, of this or an older version."""
        return Charge(**{field.name: getattr(self, field.name) for field in fields(Charge)})


@dataclass(frozen=True, kw_only=True, config=bounds.STRICT)
class Settle(_Body):
    """The steps that were taken on a reservation, which is named by its entry's number."""

    kind: Literal["settle"]
    reservation: int
    steps: Annotated[int, Field(ge=0)]


@dataclass(frozen=True, kw_only=True, config=bounds.STRICT)
class Refuse(_Body):
    """A request that was refused; `phase` is empty and `round` 0 where it was a plan that was not approved."""

    kind: Literal["refuse"]
    study_id: str
    plan_id: str
    phase: str = ""
    round: int
    reason: str
    times: Annotated[int, Field(ge=1)] = 1


Content = Open | PolicyChange | Approve | Endorse | Reject | Reserve | Settle | Refuse
_CONTENT: TypeAdapter[Content] = TypeAdapter(Annotated[Content, Field(discriminator="kind")])
_Kind = TypeVar("_Kind", Open, PolicyChange, Approve, Endorse, Reject, Reserve, Settle, Refuse)


@lru_cache(maxsize=_REMEMBERED)
def parse(body: str) -> Content:
    """Parses an entry's body.

    Raises:
        ValueError, TypeError, KeyError, AttributeError, RecursionError: it says what no entry may.
    """
    values: Any = json.loads(body)
    return _CONTENT.validate_json(json.dumps(_in_words_of_today(values) if isinstance(values, dict) else values))


def read(entry: Entry) -> Content:
    """What an entry says.

    Raises:
        VerificationError: entries are as they were signed; what was signed may still be what no entry may say.
    """
    try:
        return parse(entry.body)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        problem = "has a field of the wrong type or with an invalid value"
        raise VerificationError(f"ledger entry {entry.seq}", problem, "audit the ledger") from None


def of_kind(entries: Iterable[Entry], kind: type[_Kind]) -> list[tuple[int, _Kind]]:
    """The entries of one kind: number and content of each."""
    return [(entry.seq, content) for entry in entries if isinstance(content := read(entry), kind)]


def _in_words_of_today(values: dict[str, Any]) -> dict[str, Any]:
    kind = values.get("kind")
    if "former_id" in values:
        raise ValueError("names a hash that does not match its content")
    if kind in ("open", "policy"):  # the key `seeded`, of before there were rehearsal nodes, is heeded no more
        return {**values, "policy": {key: value for key, value in values["policy"].items() if key != "seeded"}}
    if kind in ("approve", "endorse") and "phases" not in values["plan"]:
        return {**values, "plan": _FormerPlan(**values["plan"]).with_phases(), "former_id": plan_hash(values["plan"])}
    if kind == "reserve" and "purpose" in values:
        told = {key: value for key, value in values.items() if key != "purpose"}
        phase = _FORMER_PHASES.get(values["purpose"], values["purpose"])
        return {**told, "phase": phase, "round": values["round"] + (phase == STATISTICS)}
    return values


@dataclass(frozen=True, config=bounds.STRICT)
class _FormerPlan:
    """A plan of before there were phases."""

    private: bool
    seeded: bool
    unit: Unit
    epsilon: bounds.Epsilon
    delta: bounds.Delta
    noise_multiplier: bounds.Noise
    sample_rate: bounds.Rate
    clip_norm: bounds.Clip
    steps_per_round: bounds.LocalSteps
    rounds: bounds.Rounds
    records_per_patient: bounds.RecordsPerPatient = 1
    warm_start_noise_multiplier: bounds.Noise | None = None

    def with_phases(self) -> dict[str, Any]:
        """The same as it is written today; how its budget was meant to be shared out is told by the noise."""
        share, phases = 0.0, list[dict[str, Any]]()
        if self.warm_start_noise_multiplier is not None:
            share = min(1.0, 1 / (self.warm_start_noise_multiplier**2 * information(self.epsilon, self.delta)))
            mechanism = self.warm_start_noise_multiplier, 1.0, 1.0, 1, 1
            phases.append(asdict(Phase(STATISTICS, "statistics", share, *mechanism)))
        mechanism = self.noise_multiplier, self.sample_rate, self.clip_norm, self.steps_per_round, self.rounds
        phases.append(asdict(Phase(TRAINING, "training", 1 - share, *mechanism, self.records_per_patient)))
        terms = {name: getattr(self, name) for name in ("private", "seeded", "unit", "epsilon", "delta")}
        return {**terms, "phases": phases}
