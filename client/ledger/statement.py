"""A statement of the ledger: what each run has been charged, who asked, what was refused, and how ε grew."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from client.ledger.chain import Entry
from client.ledger.ledger import (
    charge_of,
    charged_epsilon,
    composed,
    mechanism_of,
    of_kind,
    policy_in_force,
    settled_steps,
    spent,
    studies_charged,
)
from common.privacy.accounting import epsilon

_POINTS = 40
"""Most points of the curve: an ε takes a while to find."""


@dataclass(frozen=True)
class Refusal:
    """A request that was refused before any data was read.

    Attributes:
        entry: number of the entry.
        created: when, ISO 8601.
        study_id: the run that asked.
        round: of the run; 0 where a plan was not approved.
        reason: why.
        times: how many refusals of this kind the entry stands for.
    """

    entry: int
    created: str
    study_id: str
    round: int
    reason: str
    times: int = 1


@dataclass(frozen=True)
class Decision:
    """What somebody at the hospital decided about a study.

    Attributes:
        entry: number of the entry.
        created: when, ISO 8601.
        decision: approve, endorse (the first of two approvers) or reject.
        study_id: about which.
        approver: who, by name or role; empty where nobody said.
        reason: why; that of an override where no other was given.
    """

    entry: int
    created: str
    decision: str
    study_id: str
    approver: str
    reason: str


@dataclass(frozen=True)
class RunCharges:
    """What one run has been charged.

    Attributes:
        study_id, plan_id: which run, under which plan.
        asked_by: the coordinator, as it was last approved; empty where no approval is on record.
        purposes: what was paid for.
        noise_multiplier, sample_rate, clip_norm, records_per_patient: the mechanism of its newest charge for
            training; of its newest charge where none was for training.
        steps_settled: private steps that were taken.
        steps_reserved: further steps that are charged, since nobody settled them.
        refusals: requests that were refused.
        epsilon: of this run alone.
        first, last: when it was charged first and last, ISO 8601.
        seeded: whether a round of it drew its randomness from a fixed seed.
    """

    study_id: str
    plan_id: str
    asked_by: str
    purposes: tuple[str, ...]
    noise_multiplier: float
    sample_rate: float
    clip_norm: float
    records_per_patient: int
    steps_settled: int
    steps_reserved: int
    refusals: int
    epsilon: float
    first: str
    last: str
    seeded: bool


@dataclass(frozen=True)
class Statement:
    """What a cohort's privacy has cost; ε is at `delta`, for one `unit` added or removed, over all runs together.

    ε of one run is exact; of several it is counted as `client.ledger.ledger.charged_epsilon` says.

    Attributes:
        unit, delta: of the guarantee.
        epsilon_budget: of the policy in force.
        epsilon_settled: of the steps that were taken.
        epsilon_charged: the same with what is reserved and not settled: the figure that counts.
        runs: those that were charged, in the order in which they first appear.
        refused: every refusal, also of runs that were never charged; oldest first.
        curve: when ε changed, ISO 8601, and ε from then on; the last is `epsilon_charged`. At most 40 points.
        entries: how many the ledger holds.
        versions: of the software that wrote the newest entry.
        decisions: what the hospital decided about studies, oldest first.
    """

    unit: str
    delta: float
    epsilon_budget: float
    epsilon_settled: float
    epsilon_charged: float
    runs: tuple[RunCharges, ...]
    refused: tuple[Refusal, ...]
    curve: tuple[tuple[str, float], ...]
    entries: int
    versions: dict[str, str]
    decisions: tuple[Decision, ...] = ()

    @property
    def epsilon_left(self) -> float:
        """What the budget still allows."""
        return max(0.0, self.epsilon_budget - self.epsilon_charged)


def state(entries: Sequence[Entry]) -> Statement:
    """The statement of a ledger's entries, which must have been verified."""
    cohort = entries[0].content["cohort"]
    settled = settled_steps(entries)
    taken = [mechanism_of(entry, settled.get(entry.seq, 0)) for entry in of_kind(entries, "reserve")]
    return Statement(
        unit=cohort["unit"],
        delta=cohort["delta"],
        epsilon_budget=policy_in_force(entries).epsilon,
        epsilon_settled=composed(entries, taken, len(studies_charged(entries))),
        epsilon_charged=charged_epsilon(entries),
        runs=tuple(_runs(entries, settled, cohort["delta"])),
        refused=tuple(map(_refusal, of_kind(entries, "refuse"))),
        decisions=tuple(_decisions(entries)),
        curve=tuple(_curve(entries)),
        entries=len(entries),
        versions=entries[-1].content["versions"],
    )


def _runs(entries: Sequence[Entry], settled: dict[int, int], delta: float) -> Iterator[RunCharges]:
    named, settlements = [entry for entry in entries if "study_id" in entry.content], of_kind(entries, "settle")
    for study_id in dict.fromkeys(entry.content["study_id"] for entry in named):
        of_run = [entry for entry in named if entry.content["study_id"] == study_id]
        reserved = of_kind(of_run, "reserve")
        approved = of_kind(of_run, "approve")
        if not reserved:
            continue
        charges = [charge_of(entry) for entry in reserved]
        charge = next((charge for charge in reversed(charges) if charge.purpose == "training"), charges[-1])
        yield RunCharges(
            study_id=study_id,
            plan_id=charge.plan_id,
            asked_by=approved[-1].content["server"] if approved else "",
            purposes=tuple(dict.fromkeys(charge.purpose for charge in charges)),
            noise_multiplier=charge.noise_multiplier,
            sample_rate=charge.sample_rate,
            clip_norm=charge.clip_norm,
            records_per_patient=charge.records_per_patient,
            steps_settled=sum(settled.get(entry.seq, 0) for entry in reserved),
            steps_reserved=sum(entry.content["steps"] for entry in reserved if entry.seq not in settled),
            refusals=sum(entry.content.get("times", 1) for entry in of_kind(of_run, "refuse")),
            epsilon=epsilon(spent([*reserved, *settlements]), delta),
            first=_created(reserved[0]),
            last=_created(reserved[-1]),
            seeded=any(entry.content["replay_key"] for entry in reserved),
        )


def _created(entry: Entry) -> str:
    """An audit takes any time that it can read, a number too."""
    return str(entry.content["created"])


def _refusal(entry: Entry) -> Refusal:
    content = entry.content
    return Refusal(
        entry.seq, _created(entry), content["study_id"], content["round"], content["reason"], content.get("times", 1)
    )


def _decisions(entries: Sequence[Entry]) -> Iterator[Decision]:
    for entry in entries:
        content = entry.content
        if content["kind"] in ("approve", "endorse", "reject"):
            reason = content.get("reason") or content.get("override", "")
            who = content.get("approver", "")
            yield Decision(entry.seq, _created(entry), content["kind"], content["study_id"], who, reason)


def _curve(entries: Sequence[Entry]) -> Iterator[tuple[str, float]]:
    reserved = [entry.seq for entry in of_kind(entries, "reserve")]
    settled = [entry.seq for entry in of_kind(entries, "settle")]
    stride = -(-len(reserved) // (_POINTS - 2)) or 1  # the newest of both kinds come on top
    for seq in sorted({*reserved[::stride], *reserved[-1:], *settled[-1:]}):
        yield _created(entries[seq - 1]), charged_epsilon(entries[:seq])
