"""The site's privacy ledger: what has been spent on its patients, durably, before it is spent.

The protocol is reserve → train → settle: a reservation for the most that the coming steps can cost is on the disk
(fsync) before the first gradient; settling lowers it to the steps that were taken. A crash in between leaves the whole
reservation charged. What is refused is written down too. The file is a `Chain`: it only grows, and is signed.

Privacy:
    Unit and δ are fixed when the ledger is opened. ε composes over everything the file holds, whatever run it came
    from. A reservation that would pass the budget is refused before any data is read, also when two processes ask at
    once.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from client.chain import GENESIS, Chain, Entry, Transaction
from client.keys import SiteKey
from common.accounting import Mechanism, epsilon
from common.errors import PrivacyRefusal, SiloganError, VerificationError
from common.plan import PrivacyPlan
from common.study import versions


@dataclass(frozen=True)
class Cohort:
    """Whom the ledger protects, and how much may be spent on them in all."""

    unit: str
    delta: float
    epsilon_budget: float


@dataclass(frozen=True)
class Charge:
    """What a reservation pays for.

    Attributes:
        study_id: the run.
        plan_id: the privacy plan.
        round: the round of the run.
        steps: the most private steps that the round can take.
        noise_multiplier, sample_rate, clip_norm: the mechanism of each step.
        replay_key: where randomness is seeded, a hash of everything the round depends on, so that an interrupted round
            can be repeated bit for bit, which releases nothing new. Empty for real randomness: a repetition is then
            paid again.
    """

    study_id: str
    plan_id: str
    round: int
    steps: int
    noise_multiplier: float
    sample_rate: float
    clip_norm: float
    replay_key: str = ""

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
            replay_key=replay_key,
        )


class Ledger:
    """The ledger in one file. Safe for several processes and threads at once.

    Args:
        path: the file; created if missing, its folder must exist.
        cohort: must equal what the file was opened for.
        key: the site's.

    Raises:
        DataError: the file is not a ledger, or cannot be written.
        PrivacyRefusal: the file was opened for another unit, δ or budget.
        VerificationError: an entry was changed, or signed by another key.
    """

    def __init__(self, path: Path, cohort: Cohort, key: SiteKey) -> None:
        self._chain, self.cohort = Chain(path, key), cohort
        with self._chain.transaction() as ledger:
            if not ledger.entries:
                _append(ledger, "open", {"key": key.public, "cohort": asdict(cohort)})
            registered = ledger.entries[0].content.get("cohort")
        if registered != asdict(cohort):
            raise PrivacyRefusal(
                f"ledger '{path.name}'", f"is for {registered}, not {asdict(cohort)}", "use the cohort's own terms"
            )

    def reserve(self, charge: Charge) -> int:
        """Durably charges the most that the coming steps can cost; returns the reservation's number.

        A charge with a `replay_key` that is already reserved is the same release again, and returns its reservation.

        Raises:
            PrivacyRefusal: with this charge ε would pass the budget; nothing is charged, and the refusal is written.
        """
        with self._chain.transaction() as ledger:
            for entry in ledger.entries:
                if charge.replay_key and entry.content.get("replay_key") == charge.replay_key:
                    return entry.seq
            wanted = Mechanism(charge.noise_multiplier, charge.sample_rate, charge.steps)
            after = epsilon([*spent(ledger.entries), wanted], self.cohort.delta)
            if after <= self.cohort.epsilon_budget:
                return _append(ledger, "reserve", asdict(charge)).seq
            refusal = PrivacyRefusal(
                "privacy budget",
                f"round {charge.round} would bring ε to {after:.4g}, above {self.cohort.epsilon_budget:g}",
                "stop here, or have the hospital approve a larger budget",
            )
            _append_refusal(ledger, charge.study_id, charge.plan_id, charge.round, refusal)
        raise refusal

    def settle(self, reservation: int, steps: int) -> None:
        """Records that `steps` steps were taken on a reservation; settling twice with the same steps changes nothing.

        Raises:
            VerificationError: there is no such reservation, or it did not cover so many steps.
        """
        with self._chain.transaction() as ledger:
            reserved = {entry.seq: entry.content["steps"] for entry in of_kind(ledger.entries, "reserve")}
            settled = _settled(ledger.entries)
            if settled.get(reservation) == steps:
                return
            if reservation in settled or not 0 <= steps <= reserved.get(reservation, -1):
                raise VerificationError(
                    f"reservation {reservation}", f"does not cover {steps} steps", "audit the ledger"
                )
            _append(ledger, "settle", {"reservation": reservation, "steps": steps})

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
        entries = self.entries()
        return entries[-1].hash if entries else GENESIS

    def entries(self) -> list[Entry]:
        """All entries, oldest first, verified."""
        with self._chain.transaction() as ledger:
            return ledger.entries


def spent(entries: Sequence[Entry]) -> list[Mechanism]:
    """What the entries charge: settled steps, and reserved steps where nothing was settled."""
    settled = _settled(entries)
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


def _settled(entries: Sequence[Entry]) -> dict[int, int]:
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
