"""Plans of one phase of training, and the same plan but for something in a phase."""

from dataclasses import fields, replace
from typing import Any

from silogan.common.privacy.plan import STATISTICS, TRAINING, Phase, PrivacyPlan, Unit


def training_plan(  # noqa: PLR0917  (in the order of the fields)
    private: bool,
    seeded: bool,
    unit: Unit,
    epsilon: float,
    delta: float,
    noise_multiplier: float,
    sample_rate: float,
    clip_norm: float,
    steps_per_round: int,
    rounds: int,
    records_per_patient: int = 1,
) -> PrivacyPlan:
    """A plan that is nothing but training."""
    mechanism = noise_multiplier, sample_rate, clip_norm, steps_per_round, rounds, records_per_patient
    training = Phase(TRAINING, "training", 1.0, *mechanism)
    return PrivacyPlan(private, seeded, unit, epsilon, delta, (training,))


def with_phase(plan: PrivacyPlan, phase: str = TRAINING, /, **changes: Any) -> PrivacyPlan:
    """The plan with other values in a phase, or of its own."""
    own = {key: changes.pop(key) for key in list(changes) if key in {field.name for field in fields(PrivacyPlan)}}
    phases = tuple(replace(one, **changes) if one.name == phase else one for one in plan.phases)
    return replace(plan, **{"phases": phases, **own})


def with_statistics(plan: PrivacyPlan, noise_multiplier: float, name: str = STATISTICS) -> PrivacyPlan:
    """The plan with a release before its other phases."""
    release = Phase(name, "statistics", 0.0, noise_multiplier, 1.0, 1.0, steps_per_round=1, rounds=1)
    return replace(plan, phases=(release, *plan.phases))


def phase_and_round(number: int) -> tuple[str, int]:
    """What a test asks for by a number: 0 is the release before the training, all others are rounds of that."""
    return (TRAINING, number) if number else (STATISTICS, 1)
