"""The privacy plan: phases of sampling, clipping, noise and accounting in one object, so that none changes alone.

A plan is frozen and known by its hash. The coordinator proposes it, the hospital checks it, the trainer executes it and
the ledger charges it: all four read the same object.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, fields, replace
from itertools import takewhile
from typing import Annotated, Literal

from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from silogan.common import bounds
from silogan.common.config.scenario import Scenario, Unit
from silogan.common.errors import ConfigError, PrivacyRefusal
from silogan.common.modality.image_options import Gaussians
from silogan.common.modality.table_options import Mixture
from silogan.common.privacy import accounting
from silogan.common.privacy.accounting import Mechanism

NO_PRIVACY = "NON-PRIVATE"
SEEDED = "seeded: not private against someone who knows the seed"
TRAINING, STATISTICS, MEANS, MOMENTS, CELLS = "training", "statistics", "means", "moments", "cells"
SINGLES, PAIRS = "singles", "pairs"
"""Names of the phases that a scenario can have."""

WARM_START_SHARE = 0.314
"""Of the budget's information, where a warm start names no share: about half of ε = 10 at δ = 1e-5."""

MOST_PHASES = 16
SHARE_ERROR = 1e-9
"""How far the shares may be off 1 by rounding."""


@dataclass(frozen=True, config=bounds.STRICT)
class Phase:
    """A noisy sum that the server may ask each site for, by name.

    Attributes:
        name: of the phase, in messages and ledgers.
        kind: what is summed: `statistics` of all patients (`common/privacy/statistics`), each of which adds at most
            1, or in `training` the clipped gradients of a batch.
        share: of the budget, in information μ² (`common/privacy/accounting.py`), in [0, 1].
        noise_multiplier: σ; the noise added to each sum has standard deviation σ·C. 0 only if not private.
        sample_rate: q, probability of each unit to be in a sum, in (0, 1].
        clip_norm: C, L2 bound on what one unit adds to the sum.
        steps_per_round: sums between two replies.
        rounds: how often it may be asked for, interruptions included.
        records_per_patient: k, most records of a unit in one sum; 1 where a unit is a record.
        spare_rounds: those of the rounds that only make up for interrupted ones.

    Raises:
        ValueError: a field has another type than is said here, or is out of its range.
    """

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,31}$")]
    kind: Literal["statistics", "training"]
    share: Annotated[float, Field(ge=0, le=1)]
    noise_multiplier: Annotated[float, Field(ge=0, le=bounds.MOST_NOISE)]
    sample_rate: bounds.Rate
    clip_norm: bounds.Clip
    steps_per_round: bounds.LocalSteps
    rounds: bounds.Rounds
    records_per_patient: bounds.RecordsPerPatient = 1
    spare_rounds: Annotated[int, Field(ge=0, le=bounds.MOST_ROUNDS)] = 0

    @model_validator(mode="after")
    def _can_be_asked_for(self) -> "Phase":
        if self.spare_rounds >= self.rounds:
            raise ValueError("all rounds are spare rounds")
        if not self.takes_batches and (self.sample_rate, self.clip_norm, self.steps_per_round) != (1.0, 1.0, 1):
            raise ValueError("statistics are one sum of all patients, each of norm 1")
        return self

    @property
    def takes_batches(self) -> bool:
        """Whether the scenario chooses q and C, and the hospital limits them."""
        return self.kind == "training"

    @property
    def last_round(self) -> int:
        """The number of the last regular round."""
        return self.rounds - self.spare_rounds

    @property
    def steps(self) -> int:
        """The most sums in total, including interrupted ones."""
        return self.rounds * self.steps_per_round

    def mechanism(self, rounds: int | None = None) -> Mechanism:
        """The mechanism of this many rounds; of all of them if None."""
        rounds = self.rounds if rounds is None else rounds
        return Mechanism(self.noise_multiplier, self.sample_rate, rounds * self.steps_per_round)


@dataclass(frozen=True, config=bounds.STRICT)
class PrivacyPlan:
    """What every site does to its patients' data, and the most that it may cost them.

    Attributes:
        private: False trains without clipping and noise, to compare in simulation.
        seeded: True draws sampling and noise from the scenario's seed, in simulation.
        unit: whose contribution is bounded: one record, or all records of one patient.
        epsilon: the site's budget for this run.
        delta: probability that the bound fails, in (0, 1).
        phases: the noisy sums, in the order in which they are asked for.

    Raises:
        ValueError: a field has another type than is said here, or is out of its range.

    Privacy:
        Unit: `unit`; a patient is all records of one person at one hospital. Neighbouring: add or remove one unit, with
        any number of records. A unit that is sampled adds the mean of at most `records_per_patient` of its records,
        clipped as one: a sum has sensitivity C whatever k is. All rounds of all phases together are (`epsilon`,
        `delta`)-differentially private for each site's units. The noisy sums, and whatever is computed from them alone,
        may leave; nothing else may.
    """

    private: bool
    seeded: bool
    unit: Unit
    epsilon: bounds.Epsilon
    delta: bounds.Delta
    phases: Annotated[tuple[Phase, ...], Field(min_length=1, max_length=MOST_PHASES)]

    @model_validator(mode="after")
    def _phases_fit_together(self) -> "PrivacyPlan":
        for phase in self.phases:
            if self.private and phase.noise_multiplier < bounds.LEAST_NOISE:
                problem = f"noise_multiplier={phase.noise_multiplier:g} means no noise, but the plan is private"
                raise ValueError(f"{phase.name}: {problem}")
        names, trainings = {phase.name for phase in self.phases}, [one for one in self.phases if one.takes_batches]
        if len(names) < len(self.phases) or len(trainings) > 1:
            raise ValueError("has two phases of the same name, or two training phases")
        if sum(phase.share for phase in self.phases) > 1 + SHARE_ERROR:
            raise ValueError("distributes more than the budget")
        return self

    @property
    def plan_id(self) -> str:
        """SHA-256 over the canonical form of all attributes."""
        return plan_hash(asdict(self))

    def find(self, name: str) -> Phase | None:
        """The phase of this name; None if there is none."""
        return next((phase for phase in self.phases if phase.name == name), None)

    @property
    def training(self) -> Phase:
        """The phase in which networks are trained.

        Raises:
            PrivacyRefusal: there is no such phase.
        """
        for phase in self.phases:
            if phase.takes_batches:
                return phase
        raise PrivacyRefusal("privacy plan", "has no training", "set training.rounds")

    def number(self, name: str, round_number: int) -> int:
        """A unique number for each round of the plan: training counts from 1, and earlier phases count down."""
        return self._rounds_before(name) - self._rounds_before(TRAINING) + round_number

    def _rounds_before(self, name: str) -> int:
        return sum(phase.rounds for phase in takewhile(lambda phase: phase.name != name, self.phases))

    def mechanisms(self, until: str | None = None, rounds: int = 0) -> list[Mechanism]:
        """All mechanisms of the plan; with `until` the phases before that one, and so many rounds of it."""
        found: list[Mechanism] = []
        for phase in self.phases:
            if phase.name == until:
                return [*found, phase.mechanism(rounds)]
            found.append(phase.mechanism())
        return found

    @property
    def steps(self) -> int:
        """The most noisy sums in total, including interrupted ones."""
        return sum(phase.steps for phase in self.phases)

    def epsilon_after(self, until: str | None = None, rounds: int = 0) -> float | None:
        """ε of `mechanisms`, of this plan alone; None if the plan is not private."""
        return accounting.epsilon(self.mechanisms(until, rounds), self.delta) if self.private else None

    def marks(self) -> tuple[str, ...]:
        """The marks that every artefact of this plan must carry."""
        return tuple(mark for mark, applies in ((NO_PRIVACY, not self.private), (SEEDED, self.seeded)) if applies)


def choose_unit(scenario: Scenario, *, patients_known: bool) -> Unit:
    """The unit that a scenario asks for, given whether its data says which records are one patient's.

    Raises:
        ConfigError: it asks for patients, or for several records of each, where the data does not know them.
    """
    unit = scenario.privacy.unit or ("patient" if patients_known else "record")
    named, simulated = "data.patients, or patient in a table's description", "data.images_per_patient, rows_per_patient"
    hint = f"name them ({named}), or simulate them ({simulated})"
    if unit == "patient" and not patients_known:
        raise ConfigError("privacy.unit", "is patient, but the data names no patients", hint)
    if unit == "record" and scenario.privacy.records_per_patient > 1:
        problem = f"is {scenario.privacy.records_per_patient}, but each record is its own unit"
        raise ConfigError("privacy.records_per_patient", problem, hint)
    return unit


def statistics_phase(scenario: Scenario) -> Phase | None:
    """What `training.warm_start` asks for: one release before the training, which takes all if there is none."""
    settings = scenario.training.warm_start
    if settings is None:
        return None
    share = settings.share or (WARM_START_SHARE if scenario.training.rounds else 1.0)
    return _release(scenario, STATISTICS, share, settings.noise_multiplier or 0.0)


def means_phase(scenario: Scenario) -> Phase | None:
    """The class means around which a fitted family takes second moments."""
    if not isinstance(scenario.model, Gaussians):
        return None
    return _release(scenario, MEANS, scenario.model.means_share * release_share(scenario))


def moments_phase(scenario: Scenario) -> Phase | None:
    """The second moments of each class, which use the budget that is left, or find the cuts into cells."""
    if not isinstance(scenario.model, Gaussians):
        return None
    if _cut(scenario):
        return _release(scenario, MOMENTS, scenario.model.moments_share * release_share(scenario))
    return _release(scenario, MOMENTS, _rest(scenario, scenario.model.means_share))


def cells_phase(scenario: Scenario) -> Phase | None:
    """The second moments of each cell, which use the budget that is left."""
    if not (isinstance(scenario.model, Gaussians) and _cut(scenario)):
        return None
    return _release(scenario, CELLS, _rest(scenario, scenario.model.means_share, scenario.model.moments_share))


def singles_phase(scenario: Scenario) -> Phase | None:
    """The counts of single columns, by which numbers are cut for the pairs."""
    share = scenario.model.singles_share if isinstance(scenario.model, Mixture) else None
    return _release(scenario, SINGLES, share * release_share(scenario)) if share else None


def pairs_phase(scenario: Scenario) -> Phase | None:
    """The counts of pairs of columns, which use the budget that is left."""
    if not isinstance(scenario.model, Mixture):
        return None
    return _release(scenario, PAIRS, _rest(scenario, scenario.model.singles_share or 0.0))


def release_share(scenario: Scenario) -> float:
    """Of the budget's information, that for the release that a family is fitted to: all but a critic's."""
    return 1.0 if scenario.training.refine is None else 1 - scenario.training.refine.share


def _rest(scenario: Scenario, *shares: float) -> float:
    """What other shares of the release leave of it; 0, all that is left of the budget, where no critic follows."""
    return 0.0 if scenario.training.refine is None else (1 - sum(shares)) * release_share(scenario)


def _cut(scenario: Scenario) -> bool:
    return isinstance(scenario.model, Gaussians) and (scenario.model.cells or 1) > 1


def _release(scenario: Scenario, name: str, share: float, noise: float = 0.0) -> Phase:
    k = scenario.privacy.records_per_patient
    return Phase(name, "statistics", share, noise, 1.0, 1.0, steps_per_round=1, rounds=1, records_per_patient=k)


def training_phase(scenario: Scenario) -> Phase | None:
    """The private steps of `training.rounds`, which use the budget that other phases leave."""
    training, privacy = scenario.training, scenario.privacy
    if training.rounds == 0:
        return None
    return Phase(
        name=TRAINING,
        kind="training",
        share=0.0,
        noise_multiplier=privacy.noise_multiplier or 0.0,
        sample_rate=training.sample_rate,
        clip_norm=privacy.clip_norm,
        steps_per_round=training.local_steps,
        rounds=training.rounds + privacy.spare_rounds,
        records_per_patient=privacy.records_per_patient,
        spare_rounds=privacy.spare_rounds,
    )


PHASES: list[Callable[[Scenario], Phase | None]] = [
    statistics_phase,
    means_phase,
    moments_phase,
    cells_phase,
    singles_phase,
    pairs_phase,
    training_phase,
]
"""What may become a phase of a scenario's plan, in order: noise 0 is still to be found, share 0 is what is left."""


def make_plan(scenario: Scenario, unit: Unit = "record") -> PrivacyPlan:
    """Ties a scenario's training and privacy sections into a plan; σ is found from ε where it is not given.

    Raises:
        PrivacyRefusal: the budget does not pay for a single round with the given noise.
        ConfigError: it does not pay for all phases, whatever their noise.
    """
    privacy = scenario.privacy
    wanted = [phase for wants in PHASES if (phase := wants(scenario)) is not None]
    if privacy.enabled:
        phases = with_noise(wanted, privacy.epsilon, privacy.delta)
    else:
        phases = tuple(replace(phase, noise_multiplier=0.0) for phase in wanted)
    plan = PrivacyPlan(privacy.enabled, scenario.seed is not None, unit, privacy.epsilon, privacy.delta, phases)
    if plan.private:
        _pay_for_one_round(plan)
    return plan


def with_noise(wanted: Iterable[Phase], epsilon: float, delta: float) -> tuple[Phase, ...]:
    """The phases with the noise that their shares of a budget ask for.

    With each phase the information that is spent grows by its share of the budget's. Its σ is the smallest with which
    it and the phases before it cost no more ε than so much information would in one Gaussian sum: however phases are
    sampled, all of them cost at most `epsilon`.

    Args:
        wanted: in order; one with a σ keeps it, and one with the share 0 takes all that is left.
        epsilon: the budget.
        delta: at which it is counted.

    Raises:
        ConfigError: the shares are more than the budget, or a given σ leaves nothing for a phase after it.
    """
    budget, spent = accounting.information(epsilon, delta), 0.0
    found: list[Phase] = []
    for phase in wanted:
        left, sigma = max(0.0, 1 - spent), phase.noise_multiplier
        share = phase.share or left
        if sigma and phase.sample_rate == 1:
            share = min(left, phase.steps / sigma**2 / budget)
        if share > left + SHARE_ERROR:
            raise ConfigError("privacy", f"leaves {left:g} of the budget for {phase.name}, not {share:g}", "lower it")
        spent += share
        if not sigma:
            pays_for = spent * budget
            target = epsilon if spent > 1 - SHARE_ERROR else accounting.epsilon_of_information(pays_for, delta)
            beside = tuple(one.mechanism() for one in found)
            sigma = accounting.find_noise_multiplier(target, delta, phase.sample_rate, phase.steps, beside)
        found.append(replace(phase, noise_multiplier=sigma, share=share))
    return tuple(found)


def _pay_for_one_round(plan: PrivacyPlan) -> None:
    last = plan.phases[-1]
    first_round = plan.mechanisms(last.name, 1)
    if accounting.epsilon_rdp(first_round, plan.delta) <= plan.epsilon:  # never below the truth, and cheaper to know
        return
    cost = accounting.epsilon(first_round, plan.delta)
    if cost > plan.epsilon:
        raise PrivacyRefusal(
            "privacy.epsilon",
            f"{plan.epsilon:g} does not pay for one round (ε = {cost:.3g} at noise_multiplier = "
            f"{last.noise_multiplier:g})",
            "raise privacy.noise_multiplier or lower training.local_steps",
        )


def plan_problem(scenario: Scenario, plan: PrivacyPlan) -> str | None:
    """Why a given plan is not the one that follows from a scenario; None if it is.

    Raises:
        ConfigError, PrivacyRefusal: the scenario has no plan.
    """
    if scenario.privacy.unit not in (None, plan.unit):
        return f"plan.unit is {plan.unit}, but the scenario says {scenario.privacy.unit}"
    choose_unit(scenario, patients_known=plan.unit == "patient")
    derived = make_plan(scenario, plan.unit)
    names, asked = ([phase.name for phase in one.phases] for one in (derived, plan))
    if names != asked:
        return f"plan.phases is {', '.join(asked)}, but the scenario gives {', '.join(names)}"
    pairs = zip(plan.phases, derived.phases, strict=True)
    for where, ours, theirs in [("plan", plan, derived), *((f"plan.{one.name}", one, other) for one, other in pairs)]:
        for field in fields(ours):
            value, right = getattr(ours, field.name), getattr(theirs, field.name)
            if field.name != "phases" and value != right:
                return f"{where}.{field.name} is {value}, but the scenario gives {right}"
    return None


def plan_hash(plain: Mapping[str, object]) -> str:
    """The hash of a plan as it is written, also by older software."""
    return hashlib.sha256(canonical_json(plain).encode()).hexdigest()


def canonical_json(value: object) -> str:
    """The one JSON text for a value: sorted keys, no spaces, no NaN; equal values have equal texts."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
