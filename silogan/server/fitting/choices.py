"""What a study leaves open, and what to expect of it: by family, from public numbers alone."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from silogan.common.config.scenario import Scenario
from silogan.common.modality import Schema
from silogan.common.models.networks import check_family
from silogan.common.wire.study import SiteDeclaration, Study
from silogan.server.fitting import image_choices, table_choices
from silogan.server.fitting.judgement import Judgement


class Adviser(NamedTuple):
    """What is known of a family.

    Attributes:
        choose: the model with nothing left open, from scenario, model, schema, and sites with their public sizes.
        judge: what to expect of a study.
        reasons: why each option is as it is, from the model that was wanted and the one that was chosen.
        figure: name of `Judgement.figure`, and how it is written.
    """

    choose: Callable[[Scenario, Any, Any, Sequence[SiteDeclaration]], Any]
    judge: Callable[[Study], Judgement]
    reasons: Callable[[Any, Any], list[str]]
    figure: tuple[str, str]


ADVISERS: dict[str, Adviser] = {
    "gaussians": Adviser(image_choices.choose, image_choices.judge, image_choices.reasons, ("noise", "{:.1%}")),
    "mixture": Adviser(table_choices.choose, table_choices.judge, table_choices.reasons, ("signal", "{:.2g}")),
}
"""By family; of others nothing is chosen, and nothing is known."""


def with_choices(scenario: Scenario, schema: Schema, sites: Sequence[SiteDeclaration]) -> Scenario:
    """The scenario, with what it leaves open of its model chosen.

    Args:
        scenario: of any family.
        schema: of the records.
        sites: with their public sizes, in units of privacy.

    Raises:
        ConfigError: its family does not generate such records.
    """
    check_family(scenario.model, schema)
    adviser = ADVISERS.get(scenario.model.family)
    if adviser is None:
        return scenario
    return scenario.model_copy(update={"model": adviser.choose(scenario, scenario.model, schema, sites)})


def judge(study: Study) -> Judgement | None:
    """What to expect of a study; None where nothing was measured that could say."""
    adviser = ADVISERS.get(study.scenario.model.family)
    return None if adviser is None else adviser.judge(study)
