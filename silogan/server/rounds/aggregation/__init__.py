"""Aggregation of a round's replies: a rule is one file here and one line in `RULES`.

Flower has these rules too; its trimmed mean cannot leave a single site of three (flwr 1.41), and see `krum.py`.
"""

from silogan.common.config.scenario import Federation, Scenario
from silogan.common.errors import ConfigError
from silogan.common.registry import lookup
from silogan.server.rounds.aggregation import krum, mean, median, trimmed_mean
from silogan.server.rounds.aggregation.base import Rule

RULES: dict[str, type[Rule]] = {
    "mean": mean.WeightedMean,
    "median": median.Median,
    "trimmed_mean": trimmed_mean.TrimmedMean,
    "krum": krum.Krum,
}


def check_aggregation(scenario: Scenario) -> None:
    """Checks the scenario against the declarations of its rule.

    Raises:
        ConfigError: there is no such rule, it does not use a setting that is given, or there are too few sites for it.
    """
    settings = scenario.federation
    rule = lookup(RULES, settings.aggregation, "federation.aggregation")
    for name in ("byzantine", "weights"):
        value = getattr(settings, name)
        if name not in rule.uses and value != Federation.model_fields[name].default:
            *others, last = (other for other, of in RULES.items() if name in of.uses)
            fitting = f"{', '.join(others)} or {last}" if others else last
            problem = f"{name}={value} needs aggregation={fitting}, not {settings.aggregation}"
            raise ConfigError("federation", problem, "correct one of them")
    if scenario.sites.count < rule.replies_needed(settings.byzantine):
        problem = f"{rule.demand(settings)}, and sites.count={scenario.sites.count}"
        raise ConfigError("scenario", problem, "correct one of them")
