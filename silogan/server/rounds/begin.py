"""The start of a run, simulated or not: checks names and rules, and makes a study of scenario and hospitals."""

from silogan.common.config.scenario import Scenario, Unit
from silogan.common.modality import Schema
from silogan.common.models.losses import LOSSES
from silogan.common.models.networks import blueprint, check_private
from silogan.common.privacy.plan import make_plan
from silogan.common.registry import lookup
from silogan.common.wire.study import SiteDeclaration, Study
from silogan.server.fitting.choices import with_choices
from silogan.server.fitting.public_images import with_public
from silogan.server.rounds.aggregation import check_aggregation


def check_scenario(scenario: Scenario) -> None:
    """Checks a scenario as far as possible without data or hospitals.

    Raises:
        ConfigError: it names what does not exist, or what does not go together.
    """
    lookup(LOSSES, scenario.training.loss, "training.loss")
    check_aggregation(scenario)


def make_study(scenario: Scenario, schema: Schema, unit: Unit, sites: tuple[SiteDeclaration, ...]) -> Study:
    """Makes a study of a scenario and hospitals, which decide what the scenario leaves open.

    Raises:
        ConfigError: the family has no networks for such data, or none that can be trained privately.
        DataError: the public images that the scenario names are missing or unusable.
        PrivacyRefusal: the budget does not pay for one round.
    """
    scenario = with_public(with_choices(scenario, schema, sites), schema)
    drawn = scenario.model.drawn(schema, [site.name for site in sites])
    discriminator = blueprint(scenario.model, drawn).discriminator
    if scenario.privacy.enabled:
        check_private(discriminator)
    return Study(scenario, schema, make_plan(scenario, unit), sites)
