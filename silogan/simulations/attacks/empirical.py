"""The empirical privacy audit: one training run with canary patients, and the lower bound on ε that it proves.

The analytic ε is an upper bound that holds if the software does what its plan says. The lower bound asks the software:
a hospital trains through the code that every hospital runs, on data with canaries in it, and an auditor in the server's
place guesses from what leaves who was there. A lower bound above the analytic ε refutes the guarantee. What such an
audit could find is told by its power: the same audit of a mechanism whose noise is too small.
"""

import tempfile
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from silogan.client.mechanism import Randomness, noisy_sum
from silogan.client.round import Site, run_round
from silogan.client.simulated import open_ledgers, simulated_site
from silogan.common.config.scenario import Scenario
from silogan.common.errors import PrivacyRefusal, VerificationError
from silogan.common.privacy.plan import NO_PRIVACY
from silogan.common.progress import begin, track
from silogan.common.wire.messages import Instruction
from silogan.simulations.attacks import canaries as of_canaries
from silogan.simulations.attacks.canaries import Release, Score
from silogan.simulations.attacks.canary_network import registered
from silogan.simulations.attacks.one_run import CONFIDENCE, best_bound, largest_bound
from silogan.simulations.attacks.roc import area_under_curve, true_positive_rate
from silogan.simulations.attacks.tradeoff import family_of
from silogan.simulations.prepare import planned, prepare

WEAKER = (0.75, 0.5)
"""Shares of the noise at which an audit's power is tried."""


@dataclass(frozen=True)
class Power:
    """The same audit with less noise than planned.

    Attributes:
        noise: standard deviation of the noise, as a share of the plan's.
        epsilon_lower_bound: what the audit showed.
        caught: whether that refutes the plan's ε.
    """

    noise: float
    epsilon_lower_bound: float
    caught: bool


@dataclass(frozen=True)
class EmpiricalAudit:
    """The result of an audited run.

    Attributes:
        epsilon_lower_bound: ε of the run is at least this, with `confidence`.
        confidence: probability, at least, that the bound is right.
        epsilon_analytic: ε that the ledger was charged (PRV), at `delta`.
        delta: δ of both.
        unit: record or patient, as the plan says.
        canaries: how many patients were inserted by a coin each.
        records_per_canary: how many records each of them had.
        guesses: how many canaries were guessed for the bound.
        correct: how many of the guesses were right.
        largest_lower_bound: what so many canaries show if every guess is right; a worse fault shows no more.
        auc: area under the attack's ROC curve, 0.5 for chance.
        true_positive_rate: of the attack at 1 % false positives, 0.01 for chance.
        power: what the audit shows of less noise; empty where it was not tried.
    """

    epsilon_lower_bound: float
    confidence: float
    epsilon_analytic: float
    delta: float
    unit: str
    canaries: int
    records_per_canary: int
    guesses: int
    correct: int
    largest_lower_bound: float
    auc: float
    true_positive_rate: float
    power: tuple[Power, ...] = ()

    @property
    def holds(self) -> bool:
        """Whether the lower bound leaves the analytic ε possible."""
        return self.epsilon_lower_bound <= self.epsilon_analytic

    def to_json(self) -> dict[str, Any]:
        """The same as plain values, fit for `json.dumps`."""
        return {**asdict(self), "holds": self.holds}


def audit_one_run(
    scenario: Scenario,
    *,
    canaries: int | None = None,
    records_per_canary: int | None = None,
    scores: Sequence[Score] | None = None,
    noise: float = 1.0,
) -> EmpiricalAudit:
    """Trains the scenario's first hospital, with canaries, over all phases and rounds of its plan, and bounds ε.

    Sampling and noise come from the operating system, as in a real run; the scenario's seed decides the coins alone.

    Args:
        scenario: its plan, loss, optimizer and data are audited, on the networks of an audit.
        canaries: how many; as many as can be afforded if None.
        records_per_canary: how many records a canary has; as many as the plan takes of a patient in a step if None.
            With more where the unit is the record, the bound is one for patients, whom ε of records does not protect.
        scores: what the auditor looks at, fixed beforehand; more scores are paid for with a weaker bound of each. What
            the plan's phases suggest if None.
        noise: what this audit multiplies the noise by, to see whether it would notice.

    Raises:
        PrivacyRefusal: the scenario is without privacy.
        ConfigError: it cannot be audited: too many steps.
        SiloganError: it cannot be trained.

    Privacy:
        The canaries are not patients, but the hospital's own images are trained on as in any run of the scenario: what
        is returned has seen them through the plan's mechanism, the coins and the made-up canaries alone. All that the
        run writes is deleted. `noise` is for simulated hospitals: nothing but the wrapper below knows of it.
    """
    refuse_without_privacy(scenario)
    begin("training with canaries", "" if noise == 1 else f"noise x {noise:g}")
    with tempfile.TemporaryDirectory(prefix="silogan-audit-") as folder, registered(), _noise_scaled(noise):
        # an audit's networks would choose otherwise what the scenario leaves open
        study = prepare(of_canaries.audited(planned(scenario).scenario), Path(folder))
        plan = study.plan
        each = records_per_canary or max(phase.records_per_patient for phase in plan.phases)
        count = canaries or of_canaries.affordable(study, each)
        drawn = of_canaries.draw(study.schema, count, scenario.seed)
        site = of_canaries.with_canaries(simulated_site(study, Path(folder), 0), drawn, each)
        open_ledgers(site.study, Path(folder))  # the study with canaries is one of its own
        looked_at = of_canaries.scores_of(plan) if scores is None else scores
        totals = [np.zeros(count) for _ in looked_at]
        for release in _rounds(site):
            totals = [total + score(release, drawn) for total, score in zip(totals, looked_at, strict=True)]
        epsilon = _charged(site)
    family = family_of(plan.mechanisms())
    bound = best_bound(totals, drawn.inserted, family)
    best = max(totals, key=lambda total: area_under_curve(total, drawn.inserted))
    return EmpiricalAudit(
        epsilon_lower_bound=family.epsilon(bound.strength, plan.delta),
        confidence=CONFIDENCE,
        epsilon_analytic=epsilon,
        delta=plan.delta,
        unit=plan.unit,
        canaries=count,
        records_per_canary=each,
        guesses=bound.guesses,
        correct=bound.correct,
        largest_lower_bound=family.epsilon(largest_bound(count, family), plan.delta),
        auc=area_under_curve(best, drawn.inserted),
        true_positive_rate=true_positive_rate(best, drawn.inserted),
    )


def with_power(audit: EmpiricalAudit, scenario: Scenario, weaker: Sequence[float] = WEAKER) -> EmpiricalAudit:
    """The audit with its power: one more run with too little noise for each share.

    Args:
        audit: what `audit_one_run` found of the scenario.
        scenario: the same.
        weaker: shares of the noise.
    """
    power: list[Power] = []
    for noise in weaker:
        each = audit.records_per_canary
        found = audit_one_run(scenario, canaries=audit.canaries, records_per_canary=each, noise=noise)
        power.append(Power(noise, found.epsilon_lower_bound, caught=not found.holds))
    return replace(audit, power=tuple(power))


def refuse_without_privacy(scenario: Scenario) -> None:
    """Passes if the scenario has a guarantee that an audit could refute.

    Raises:
        PrivacyRefusal: it does not.
    """
    if not scenario.privacy.enabled:
        problem = f"is {NO_PRIVACY}: there is no ε to audit"
        raise PrivacyRefusal(f"scenario '{scenario.name}'", problem, "set privacy.enabled to true")


@contextmanager
def _noise_scaled(factor: float) -> Generator[None]:
    """Scales the noise of this process's simulated hospitals within the context."""
    honest = noisy_sum.rounded_gaussian

    def scaled(randomness: Randomness, size: int, scale: float) -> Tensor:
        return honest(randomness, size, factor * scale)

    noisy_sum.rounded_gaussian = honest if factor == 1 else scaled
    try:
        yield
    finally:
        noisy_sum.rounded_gaussian = honest


def _rounds(site: Site) -> Iterator[Release]:
    """All rounds of the plan, each on the same weights: a server may send what it likes, and this keeps the signal."""
    study, head = site.study, ""
    asks = [(phase, number) for phase in study.plan.phases for number in range(1, phase.last_round + 1)]
    for phase, number in track(asks):
        instruction = Instruction(study.study_id, study.plan.plan_id, phase.name, number, head)
        sent = of_canaries.sent_with(study, phase)
        # a round trains the tensors that it is given
        reply, answered = run_round(site, instruction, {name: tensor.clone() for name, tensor in sent.items()})
        head = reply.ledger_head
        yield Release(study, sent, reply, answered)


def _charged(site: Site) -> float:
    ledger = site.open_ledger()
    if ledger is None:
        raise VerificationError("audit", "found no ledger", "run it with privacy")
    return ledger.epsilon()
