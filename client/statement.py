"""A statement of the ledger: what each run has been charged, who asked, and how ε grew."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from client.chain import Entry
from client.ledger import charge_of, of_kind, policy_in_force, settled_steps, spent
from common.accounting import Mechanism, epsilon

_POINTS = 40
"""Most points of the curve: an ε takes a while to find."""


@dataclass(frozen=True)
class RunCharges:
    """What one run has been charged.

    Attributes:
        study_id, plan_id: which run, under which plan.
        asked_by: the coordinator, as it was approved; empty where no approval is on record.
        purposes: what was paid for.
        noise_multiplier, sample_rate, clip_norm, records_per_patient: the mechanism of its steps.
        steps_settled: private steps that were taken.
        steps_reserved: further steps that are charged, since nobody settled them.
        refusals: requests that were refused.
        epsilon: of this run alone.
        first, last: when it was charged first and last, ISO 8601; empty if it never was.
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


@dataclass(frozen=True)
class Statement:
    """What a cohort's privacy has cost; ε is at `delta`, for one `unit` added or removed, over all runs together.

    Attributes:
        unit, delta: of the guarantee.
        epsilon_budget: of the policy in force.
        epsilon_settled: of the steps that were taken.
        epsilon_charged: the same with what is reserved and not settled: the figure that counts.
        runs: in the order in which they first appear.
        curve: when ε was charged, ISO 8601, and ε from then on; at most 40 points.
    """

    unit: str
    delta: float
    epsilon_budget: float
    epsilon_settled: float
    epsilon_charged: float
    runs: tuple[RunCharges, ...]
    curve: tuple[tuple[str, float], ...]

    @property
    def epsilon_left(self) -> float:
        """What the budget still allows."""
        return max(0.0, self.epsilon_budget - self.epsilon_charged)


def state(entries: Sequence[Entry]) -> Statement:
    """The statement of a ledger's entries, which must have been verified."""
    cohort = entries[0].content["cohort"]
    settled = settled_steps(entries)
    taken = [_mechanism(entry, settled.get(entry.seq, 0)) for entry in of_kind(entries, "reserve")]
    return Statement(
        unit=cohort["unit"],
        delta=cohort["delta"],
        epsilon_budget=policy_in_force(entries).epsilon,
        epsilon_settled=epsilon(taken, cohort["delta"]),
        epsilon_charged=epsilon(spent(entries), cohort["delta"]),
        runs=tuple(_runs(entries, settled, cohort["delta"])),
        curve=tuple(_curve(entries, cohort["delta"])),
    )


def _runs(entries: Sequence[Entry], settled: dict[int, int], delta: float) -> Iterator[RunCharges]:
    named = [entry for entry in entries if "study_id" in entry.content]
    for study_id in dict.fromkeys(entry.content["study_id"] for entry in named):
        of_run = [entry for entry in named if entry.content["study_id"] == study_id]
        reserved = of_kind(of_run, "reserve")
        approvals = of_kind(of_run, "approve")
        if not reserved:
            continue
        charge = charge_of(reserved[-1])
        yield RunCharges(
            study_id=study_id,
            plan_id=charge.plan_id,
            asked_by=approvals[-1].content["server"] if approvals else "",
            purposes=tuple(dict.fromkeys(charge_of(entry).purpose for entry in reserved)),
            noise_multiplier=charge.noise_multiplier,
            sample_rate=charge.sample_rate,
            clip_norm=charge.clip_norm,
            records_per_patient=charge.records_per_patient,
            steps_settled=sum(settled.get(entry.seq, 0) for entry in reserved),
            steps_reserved=sum(entry.content["steps"] for entry in reserved if entry.seq not in settled),
            refusals=len(of_kind(of_run, "refuse")),
            epsilon=epsilon(spent([*reserved, *of_kind(entries, "settle")]), delta),
            first=reserved[0].content["created"],
            last=reserved[-1].content["created"],
        )


def _mechanism(entry: Entry, steps: int) -> Mechanism:
    return Mechanism(entry.content["noise_multiplier"], entry.content["sample_rate"], steps)


def _curve(entries: Sequence[Entry], delta: float) -> Iterator[tuple[str, float]]:
    reserved = of_kind(entries, "reserve")
    stride = -(-len(reserved) // _POINTS) or 1
    for entry in [*reserved[:-1:stride], *reserved[-1:]]:
        yield entry.content["created"], epsilon(spent(entries[: entry.seq]), delta)
