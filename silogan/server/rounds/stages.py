"""The phases of a run under the names by which the coordinator tells how far it is (`silogan/common/progress.py`)."""

from silogan.common.wire.study import Study

STATISTICS, FITTING = "statistics", "fitting"


def name_of_rounds(study: Study) -> str:
    """What the rounds of a study are for."""
    return "rounds" if study.scenario.training.refine is None else "refinement"


def stages(study: Study) -> list[str]:
    """Those of a study, in order."""
    released = [STATISTICS, FITTING] if any(not phase.takes_batches for phase in study.plan.phases) else []
    return [*released, name_of_rounds(study)] if study.scenario.training.rounds else released
