"""A statement of the ledger: the charges of each run, who asked, what was refused, and how ε grew."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from silogan.client.ledger import ledger
from silogan.client.ledger.chain import Entry
from silogan.client.ledger.entries import Approve, Endorse, Refuse, Reject, Reserve, Settle, of_kind, read
from silogan.common.privacy.accounting import epsilon

_POINTS = 40
"""Most points of the curve: an ε takes a while to find."""


@dataclass(frozen=True)
class Refusal:
    """A request that was refused before any data was read.

    Attributes:
        entry: number of the entry.
        created: when, ISO 8601.
        study_id: the run that asked.
        phase, round: of the run; empty and 0 where a plan was not approved.
        reason: why.
        times: how many refusals of this kind the entry stands for.
    """

    entry: int
    created: str
    study_id: str
    phase: str
    round: int
    reason: str
    times: int = 1


@dataclass(frozen=True)
class Decision:
    """A decision of the hospital about a study.

    Attributes:
        entry: number of the entry.
        created: when, ISO 8601.
        decision: approve, endorse (the first of two approvers) or reject.
        study_id: about which.
        approver: who, by name or role; empty if not given.
        reason: why; that of an override where no other was given.
    """

    entry: int
    created: str
    decision: str
    study_id: str
    approver: str
    reason: str


@dataclass(frozen=True)
class PhaseCharges:
    """What one run has been charged for one phase.

    Attributes:
        name: of the phase.
        noise_multiplier, sample_rate, clip_norm, records_per_patient: the mechanism of its newest charge.
        steps_settled: noisy sums that were taken.
        steps_reserved: further ones that are charged because they were not settled.
    """

    name: str
    noise_multiplier: float
    sample_rate: float
    clip_norm: float
    records_per_patient: int
    steps_settled: int
    steps_reserved: int


@dataclass(frozen=True)
class RunCharges:
    """What one run has been charged.

    Attributes:
        study_id, plan_id: which run, under which plan.
        asked_by: the coordinator, as it was last approved; empty where no approval is on record.
        phases: what was paid for, in the order in which it was first.
        refusals: requests that were refused.
        epsilon: of this run alone.
        first, last: when it was charged first and last, ISO 8601.
        seeded: whether a round of it drew its randomness from a fixed seed.
    """

    study_id: str
    plan_id: str
    asked_by: str
    phases: tuple[PhaseCharges, ...]
    refusals: int
    epsilon: float
    first: str
    last: str
    seeded: bool

    @property
    def steps_settled(self) -> int:
        """Of all phases."""
        return sum(phase.steps_settled for phase in self.phases)

    @property
    def steps_reserved(self) -> int:
        """Of all phases."""
        return sum(phase.steps_reserved for phase in self.phases)


@dataclass(frozen=True)
class Statement:
    """What a cohort's privacy has cost; ε is at `delta`, for one `unit` added or removed, over all runs together.

    ε of one run is exact; of several it is counted as `silogan.client.ledger.ledger.charged_epsilon` says.

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
    cohort, settled = ledger.opening(entries).cohort, ledger.settled_steps(entries)
    taken = [charge.mechanism(settled.get(seq, 0)) for seq, charge in of_kind(entries, Reserve)]
    return Statement(
        unit=cohort.unit,
        delta=cohort.delta,
        epsilon_budget=ledger.policy_in_force(entries).epsilon,
        epsilon_settled=ledger.composed(entries, taken, len(ledger.studies_charged(entries))),
        epsilon_charged=ledger.charged_epsilon(entries),
        runs=tuple(_runs(entries, settled, cohort.delta)),
        refused=tuple(
            Refusal(seq, said.created.isoformat(), said.study_id, said.phase, said.round, said.reason, said.times)
            for seq, said in of_kind(entries, Refuse)
        ),
        decisions=tuple(decisions(entries)),
        curve=tuple(_curve(entries)),
        entries=len(entries),
        versions=read(entries[-1]).versions,
    )


def _runs(entries: Sequence[Entry], settled: dict[int, int], delta: float) -> Iterator[RunCharges]:
    charges, refusals = of_kind(entries, Reserve), of_kind(entries, Refuse)
    servers = {approval.study_id: approval.server for _, approval in of_kind(entries, Approve)}
    said = map(read, entries)
    named = [one.study_id for one in said if isinstance(one, Approve | Endorse | Reject | Reserve | Refuse)]
    for study_id in dict.fromkeys(named):
        own = [(seq, charge) for seq, charge in charges if charge.study_id == study_id]
        if not own:
            continue
        names = dict.fromkeys(charge.phase for _, charge in own)
        yield RunCharges(
            study_id=study_id,
            plan_id=own[-1][1].plan_id,
            asked_by=servers.get(study_id, ""),
            phases=tuple(_phase([one for one in own if one[1].phase == name], settled) for name in names),
            refusals=sum(refusal.times for _, refusal in refusals if refusal.study_id == study_id),
            epsilon=epsilon(ledger.paid_for(own, settled), delta),
            first=own[0][1].created.isoformat(),
            last=own[-1][1].created.isoformat(),
            seeded=any(charge.replay_key for _, charge in own),
        )


def _phase(charges: Sequence[tuple[int, Reserve]], settled: dict[int, int]) -> PhaseCharges:
    newest, taken = charges[-1][1], sum(settled.get(seq, 0) for seq, _ in charges)
    mechanism = newest.noise_multiplier, newest.sample_rate, newest.clip_norm, newest.records_per_patient
    left = sum(charge.steps for seq, charge in charges if seq not in settled)
    return PhaseCharges(newest.phase, *mechanism, steps_settled=taken, steps_reserved=left)


def decisions(entries: Sequence[Entry]) -> Iterator[Decision]:
    """What the hospital decided about studies, oldest first."""
    for seq, said in enumerate(map(read, entries), start=1):
        if isinstance(said, Reject):
            yield Decision(seq, said.created.isoformat(), said.kind, said.study_id, "", said.reason)
        elif isinstance(said, Approve | Endorse):
            reason = said.reason or said.override
            yield Decision(seq, said.created.isoformat(), said.kind, said.study_id, said.approver, reason)


def _curve(entries: Sequence[Entry]) -> Iterator[tuple[str, float]]:
    reserved = [seq for seq, _ in of_kind(entries, Reserve)]
    settled = [seq for seq, _ in of_kind(entries, Settle)]
    stride = -(-len(reserved) // (_POINTS - 2)) or 1  # the newest of both kinds come on top
    for seq in sorted({*reserved[::stride], *reserved[-1:], *settled[-1:]}):
        yield read(entries[seq - 1]).created.isoformat(), ledger.charged_epsilon(entries[:seq])
