"""The empirical privacy audit: one training run with canary patients, and the ε that it proves at least.

The analytic ε is an upper bound that holds if the software does what its plan says. The lower bound asks the software:
a hospital trains through the code that every hospital runs, on data with canaries in it, and an auditor in the server's
place guesses from what leaves who was there. A lower bound above the analytic ε refutes the guarantee.
"""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from client.app import open_ledgers, simulated_site
from client.site import Site, run_round
from common.config import Scenario
from common.errors import PrivacyRefusal, VerificationError
from common.messages import Instruction, Weights
from common.plan import NO_PRIVACY
from simulations.canaries import Release, Score, affordable, auditors_weights, draw, row_movement, with_canaries
from simulations.one_run import CONFIDENCE, best_bound, largest_bound
from simulations.prepare import prepare
from simulations.roc import area_under_curve, true_positive_rate

Progress = Callable[[int, int], None]
"""Told after each round: rounds done, rounds in all."""


@dataclass(frozen=True)
class EmpiricalAudit:
    """What an audited run showed.

    Attributes:
        epsilon_lower_bound: ε of the run is at least this, with `confidence`.
        confidence: probability, at least, that the bound is right.
        epsilon_analytic: ε that the ledger was charged (PRV), at `delta`.
        delta: δ of both.
        unit: record or patient, as the plan says.
        canaries: how many patients were inserted by a coin each.
        images_per_patient: how many images each of them had.
        guesses: how many canaries were guessed for the bound.
        correct: how many of the guesses were right.
        largest_lower_bound: what so many canaries show if every guess is right; a worse fault shows no more.
        auc: area under the attack's ROC curve, 0.5 for chance.
        true_positive_rate: of the attack at 1 % false positives, 0.01 for chance.
    """

    epsilon_lower_bound: float
    confidence: float
    epsilon_analytic: float
    delta: float
    unit: str
    canaries: int
    images_per_patient: int
    guesses: int
    correct: int
    largest_lower_bound: float
    auc: float
    true_positive_rate: float

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
    images_per_patient: int | None = None,
    scores: Sequence[Score] = (row_movement,),
    progress: Progress | None = None,
) -> EmpiricalAudit:
    """Trains the scenario's first hospital, with canaries, over all rounds of its plan, and bounds ε from below.

    Args:
        scenario: its plan, loss, optimizer and data are audited; its networks are narrowed and get a class a canary.
        canaries: how many; as many as the plan's steps allow if None.
        images_per_patient: how many images a canary has; as many as the plan takes of a patient in a step if None.
        scores: what the auditor looks at, fixed beforehand; more scores are paid for with a weaker bound of each.
        progress: told after each round.

    Raises:
        PrivacyRefusal: the scenario is without privacy.
        ConfigError: it cannot be audited: no class embedding, or too many steps.
        SiloganError: it cannot be trained.

    Privacy:
        The canaries are nobody, but the hospital's own images are trained on as in any run of the scenario: what is
        returned has seen them through the plan's mechanism, the coins and the made-up canaries alone. All that the run
        writes is deleted.
    """
    refuse_without_privacy(scenario)
    with tempfile.TemporaryDirectory(prefix="silogan-audit-") as folder:
        study = prepare(scenario, Path(folder))
        count = canaries or affordable(study.plan.rounds * study.plan.steps_per_round)
        images = images_per_patient or study.plan.records_per_patient
        drawn = draw(study.schema, count, scenario.seed)
        site = with_canaries(simulated_site(study, Path(folder), 0), drawn, images)
        open_ledgers(site.study, Path(folder))  # the study with canaries is one of its own
        totals = [np.zeros(count) for _ in scores]
        for release in _rounds(site, auditors_weights(site.study, scenario.seed), progress):
            totals = [total + score(release, drawn) for total, score in zip(totals, scores, strict=True)]
        epsilon = _charged(site)
    bound = best_bound(totals, drawn.inserted, study.plan.delta)
    best = max(totals, key=lambda total: area_under_curve(total, drawn.inserted))
    return EmpiricalAudit(
        epsilon_lower_bound=bound.epsilon,
        confidence=CONFIDENCE,
        epsilon_analytic=epsilon,
        delta=study.plan.delta,
        unit=study.plan.unit,
        canaries=count,
        images_per_patient=images,
        guesses=bound.guesses,
        correct=bound.correct,
        largest_lower_bound=largest_bound(count, study.plan.delta),
        auc=area_under_curve(best, drawn.inserted),
        true_positive_rate=true_positive_rate(best, drawn.inserted),
    )


def refuse_without_privacy(scenario: Scenario) -> None:
    """Passes if the scenario promises anything that an audit could refute.

    Raises:
        PrivacyRefusal: it does not.
    """
    if not scenario.privacy.enabled:
        problem = f"is {NO_PRIVACY}: there is no ε to audit"
        raise PrivacyRefusal(f"scenario '{scenario.name}'", problem, "set privacy.enabled to true")


def _rounds(site: Site, weights: Weights, progress: Progress | None) -> Iterator[Release]:
    """All rounds of the plan, each on the same weights: a server may send what it likes, and this keeps the signal."""
    study, head = site.study, ""
    for number in range(1, study.plan.rounds + 1):
        instruction = Instruction(study.study_id, study.plan.plan_id, number, head)
        # a round trains the tensors that it is given
        reply, trained = run_round(site, instruction, {name: tensor.clone() for name, tensor in weights.items()})
        head = reply.ledger_head
        yield Release(study, weights, reply, trained)
        if progress is not None:
            progress(number, study.plan.rounds)


def _charged(site: Site) -> float:
    ledger = site.open_ledger()
    if ledger is None:
        raise VerificationError("audit", "found no ledger", "run it with privacy")
    return ledger.epsilon()
