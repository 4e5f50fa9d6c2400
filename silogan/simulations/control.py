"""The control of `training.refine`: the same study with the whole budget in the release, and fitted as long.

A critic takes its share of the budget from the release. What that costs is not seen in the run itself, and at hospitals
it could not be tried, as their patients would pay twice. A simulation can try it.
"""

from silogan.common.config.scenario import Scenario


def has_control(scenario: Scenario) -> bool:
    """Whether a simulation runs it."""
    return scenario.training.refine is not None and scenario.evaluation.enabled


def control_of(scenario: Scenario) -> Scenario:
    """The study without its critic: same hospitals and seed, and with a seed the same partition.

    Args:
        scenario: with `training.refine`.
    """
    return scenario.model_copy(
        update={
            "model": scenario.model.model_copy(update={"critic": 0}),
            "training": scenario.training.model_copy(update={"refine": None, "rounds": 0}),
            "privacy": scenario.privacy.model_copy(update={"spare_rounds": 0}),
            "evaluation": scenario.evaluation.model_copy(update={"real_ceiling": False, "risks": False}),
        }
    )
