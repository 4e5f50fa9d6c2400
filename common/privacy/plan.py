"""The privacy plan: sampling, clipping, noise and accounting, tied together so that none changes without the others.

A plan is frozen and known by its hash. The coordinator proposes it, the hospital checks it, the trainer executes it and
the ledger charges it: all four read the same object.
"""

import hashlib
import json
from dataclasses import asdict
from typing import Annotated

from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from common.bounds import (
    LEAST_NOISE,
    MOST_NOISE,
    STRICT,
    Clip,
    Delta,
    Epsilon,
    LocalSteps,
    Noise,
    Rate,
    RecordsPerPatient,
    Rounds,
)
from common.config.scenario import Scenario, Unit
from common.errors import ConfigError, PrivacyRefusal
from common.privacy.accounting import Mechanism, epsilon, epsilon_rdp, find_noise_multiplier

NO_PRIVACY = "NON-PRIVATE"
SEEDED = "seeded: not private against someone who knows the seed"


@dataclass(frozen=True, config=STRICT)
class PrivacyPlan:
    """What every site does to its patients' data, and the most that it may cost them.

    Attributes:
        private: False trains without clipping and noise, to compare in simulation.
        seeded: True draws sampling and noise from the scenario's seed, in simulation.
        unit: whose contribution is bounded: one record, or all records of one patient.
        epsilon: the site's budget for this run.
        delta: probability that the bound fails, in (0, 1).
        noise_multiplier: σ; the noise added to each clipped sum has standard deviation σ·C. 0 only if not private.
        sample_rate: q, probability of each unit to be in a step's batch, in (0, 1].
        clip_norm: C, L2 bound on what one unit adds to the sum.
        steps_per_round: private discriminator steps between two replies.
        rounds: rounds the run may take, interruptions included.
        records_per_patient: k, most records of a unit in one step; 1 where a unit is a record.
        warm_start_noise_multiplier: σ of the release of `common/privacy/statistics.py` before the first round;
            None where there is none.

    Raises:
        ValueError: a field has another type than is said here, or is out of its range.

    Privacy:
        Unit: `unit`; a patient is all records of one person at one hospital. Neighbouring: add or remove one unit, with
        any number of records. A unit that is sampled adds the mean gradient of at most `records_per_patient` of its
        records, clipped as one: a step's sum has sensitivity C whatever k is. `rounds · steps_per_round` steps and the
        warm start together are (`epsilon`, `delta`)-differentially private for each site's units. The weights after a
        step, the warm start's noisy statistics, and whatever is computed from them alone, may leave; nothing else may.
    """

    private: bool
    seeded: bool
    unit: Unit
    epsilon: Epsilon
    delta: Delta
    noise_multiplier: Annotated[float, Field(ge=0, le=MOST_NOISE)]
    sample_rate: Rate
    clip_norm: Clip
    steps_per_round: LocalSteps
    rounds: Rounds
    records_per_patient: RecordsPerPatient = 1
    warm_start_noise_multiplier: Noise | None = None

    @model_validator(mode="after")
    def _has_noise_if_private(self) -> "PrivacyPlan":
        if self.private and self.noise_multiplier < LEAST_NOISE:
            raise ValueError(f"noise_multiplier={self.noise_multiplier:g} is no noise, but the plan is private")
        return self

    @property
    def plan_id(self) -> str:
        """SHA-256 over the canonical form of all attributes."""
        return hashlib.sha256(canonical_json(asdict(self)).encode()).hexdigest()

    def mechanism(self, steps: int) -> Mechanism:
        """The mechanism that `steps` private steps amount to."""
        return Mechanism(self.noise_multiplier, self.sample_rate, steps)

    def mechanisms(self, steps: int) -> list[Mechanism]:
        """All that `steps` private steps come to, the warm start before them included."""
        return [*_warm_start(self.warm_start_noise_multiplier), self.mechanism(steps)]

    @property
    def steps(self) -> int:
        """The most private steps that there can be in all, interrupted ones included."""
        return self.rounds * self.steps_per_round

    def epsilon_after(self, steps: int) -> float | None:
        """ε of the warm start and `steps` steps of this plan alone; None if the plan is not private."""
        return epsilon(self.mechanisms(steps), self.delta) if self.private else None

    def marks(self) -> tuple[str, ...]:
        """What must be written on every artefact of this plan."""
        return tuple(mark for mark, applies in ((NO_PRIVACY, not self.private), (SEEDED, self.seeded)) if applies)


def choose_unit(scenario: Scenario, *, patients_known: bool) -> Unit:
    """The unit that a scenario asks for, given whether its data says which records are one patient's.

    Raises:
        ConfigError: it asks for patients, or for several records of each, where the data does not know them.
    """
    unit = scenario.privacy.unit or ("patient" if patients_known else "record")
    hint = "set data.patients, or data.images_per_patient to simulate them"
    if unit == "patient" and not patients_known:
        raise ConfigError("privacy.unit", "is patient, but the data does not say whose each record is", hint)
    if unit == "record" and scenario.privacy.records_per_patient > 1:
        problem = f"is {scenario.privacy.records_per_patient}, but each record is a unit of its own"
        raise ConfigError("privacy.records_per_patient", problem, hint)
    return unit


def make_plan(scenario: Scenario, unit: Unit = "record") -> PrivacyPlan:
    """Ties a scenario's training and privacy sections into a plan; σ is found from ε where it is not given.

    Raises:
        PrivacyRefusal: the budget does not pay for a single round with the given noise.
    """
    training, privacy = scenario.training, scenario.privacy
    rounds = training.rounds + privacy.spare_rounds
    warm_start = _warm_start_noise(scenario)
    sigma = 0.0
    if privacy.enabled:
        sigma = privacy.noise_multiplier or find_noise_multiplier(
            privacy.epsilon,
            privacy.delta,
            training.sample_rate,
            rounds * training.local_steps,
            beside=_warm_start(warm_start),
        )
    plan = PrivacyPlan(
        private=privacy.enabled,
        seeded=scenario.seed is not None,
        unit=unit,
        epsilon=privacy.epsilon,
        delta=privacy.delta,
        noise_multiplier=sigma,
        sample_rate=training.sample_rate,
        clip_norm=privacy.clip_norm,
        steps_per_round=training.local_steps,
        rounds=rounds,
        records_per_patient=privacy.records_per_patient,
        warm_start_noise_multiplier=warm_start,
    )
    if plan.private:
        _pay_for_one_round(plan)
    return plan


def _pay_for_one_round(plan: PrivacyPlan) -> None:
    first_round = plan.mechanisms(plan.steps_per_round)
    if epsilon_rdp(first_round, plan.delta) <= plan.epsilon:  # it is never below the truth, and cheaper to know
        return
    cost = epsilon(first_round, plan.delta)
    if cost > plan.epsilon:
        raise PrivacyRefusal(
            "privacy.epsilon",
            f"{plan.epsilon:g} does not pay for one round (ε = {cost:.3g} at noise_multiplier = "
            f"{plan.noise_multiplier:g})",
            "raise privacy.noise_multiplier or lower training.local_steps",
        )


def plan_problem(scenario: Scenario, plan: PrivacyPlan) -> str | None:
    """What is wrong with a plan that somebody else says belongs to a scenario; None if it is the one that does.

    Raises:
        ConfigError, PrivacyRefusal: the scenario has no plan.
    """
    if scenario.privacy.unit not in (None, plan.unit):
        return f"plan.unit is {plan.unit}, but the scenario says {scenario.privacy.unit}"
    choose_unit(scenario, patients_known=plan.unit == "patient")
    derived = asdict(make_plan(scenario, plan.unit))
    for name, value in asdict(plan).items():
        if value != derived[name]:
            return f"plan.{name} is {value}, but the scenario gives {derived[name]}"
    return None


def _warm_start_noise(scenario: Scenario) -> float | None:
    """σ of the warm start, as configured or found from its share of ε; None where there is none."""
    settings, privacy = scenario.training.warm_start, scenario.privacy
    if settings is None:
        return None
    share = settings.epsilon_share * privacy.epsilon
    return settings.noise_multiplier or find_noise_multiplier(share, privacy.delta, 1.0, 1)


def _warm_start(noise_multiplier: float | None) -> tuple[Mechanism, ...]:
    """What a warm start costs: one release that every unit takes part in."""
    return () if noise_multiplier is None else (Mechanism(noise_multiplier, 1.0, 1),)


def canonical_json(value: object) -> str:
    """The one JSON text for a value: sorted keys, no spaces, no NaN; equal values have equal texts."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
