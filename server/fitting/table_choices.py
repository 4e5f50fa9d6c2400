"""What a study of tables leaves open, chosen by public numbers alone: records, classes, hospitals, columns, the budget.

What can be told of a count is its signal: how many rows it holds on average, in standard deviations of its noise. A
group of a column is in a pair with a group of each other one of m columns, so that the noise in what they say of it
together is √(m-1) times smaller. Numbers are cut into as many groups as leave that signal `CLEAR`; more would be fitted
to noise.

Where the unit is the patient, records are patients: each adds the mean of at most k of its rows, so that all of its
rows together count as one. More visits of a patient, or a larger k, raise neither the signal nor the noise.
"""

import math
from collections.abc import Sequence

from common.config.scenario import Scenario
from common.modality.table import TableSchema
from common.modality.table_options import MOST_BINS, Mixture
from common.privacy.plan import counts_share
from common.privacy.statistics.pairs import noise_of_pairs
from common.privacy.statistics.singles import noise_of_singles
from common.wire.study import SiteDeclaration, Study
from server.fitting.judgement import TOO_FEW, UNCERTAIN, USEFUL, Judgement, option
from server.fitting.public_numbers import declared_records, noise_of_total

CLEAR, FAINT = 4.5, 1.0
"""Signal of the pairs of a group: enough, and too little for any dependence to be told from noise."""

PLENTY = 4.0
"""Where numbers are cut in two: from here on all fits that were measured were of use to every classifier."""

CLEAR_SINGLES = 3.0
"""Signal of a cell from which counts of single cells are worth their share: numbers are cut by them, and spread over
the cells of a group."""

_BINS = range(2, MOST_BINS + 1)
_SINGLES_SHARE = 0.1


def choose(scenario: Scenario, model: Mixture, schema: TableSchema, sites: Sequence[SiteDeclaration]) -> Mixture:
    """The model, with what is open of `bins`, `by_class` and `singles_share` chosen."""
    share, by_class, bins = model.singles_share, model.by_class, model.bins
    if share is None:
        clear = signal_of_singles(scenario, schema, sites, _SINGLES_SHARE) >= CLEAR_SINGLES
        share = _SINGLES_SHARE if clear else 0.0
    decided = scenario.model_copy(update={"model": model.model_copy(update={"singles_share": share})})
    if by_class is None:
        # two columns and the class are three: where there is but one column, it has pairs with the class alone
        several = len(schema.columns) > 1
        by_class = several and signal(decided, schema, sites, 2, by_class=True) >= FAINT
    if bins is None:
        clear_bins = [n for n in _BINS if signal(decided, schema, sites, n, by_class=by_class) >= CLEAR]
        bins = max(clear_bins, default=_BINS[0])
    return model.model_copy(update={"bins": bins, "by_class": by_class, "singles_share": share})


def judge(study: Study) -> Judgement:
    """What to expect of a study; the figure is the signal where numbers are cut in two."""
    model, schema = study.scenario.model, study.schema
    assert isinstance(model, Mixture) and isinstance(schema, TableSchema)  # noqa: S101, PT018  (its family)
    found = signal(study.scenario, schema, study.sites, _BINS[0], by_class=model.classes_apart)
    told = f"the pairs of half a number's range hold {found:.2g} times the noise in them"
    if found >= PLENTY:
        return Judgement(found, USEFUL, f"{told}, more than the {PLENTY:g} from which fits were useful")
    if found >= FAINT:
        return Judgement(found, UNCERTAIN, f"{told}; below {PLENTY:g} weak dependences are lost")
    return Judgement(found, TOO_FEW, f"{told}; below {FAINT:g} little but the single columns is told from noise")


def reasons(wanted: Mixture, chosen: Mixture) -> list[str]:
    """Why each option is as it is, and what is known of a critic."""
    critic = "training.refine: a critic; where measured it was no better than its control, which a simulation runs"
    return [
        *([critic] if chosen.critic else []),
        option("bins", wanted, chosen, f"as many as leave pairs {CLEAR:g} times their noise, or the fewest"),
        option("by_class", wanted, chosen, "as classes are large enough for pairs of their own, or not"),
        option("singles_share", wanted, chosen, "above 0 where single cells are clear enough to cut numbers by"),
    ]


def signal(
    scenario: Scenario, schema: TableSchema, sites: Sequence[SiteDeclaration], bins: int, *, by_class: bool
) -> float:
    """Mean number of rows in the pairs of a group of a number, in units of their noise; ∞ without privacy."""
    slots = schema.num_classes if by_class else 1
    share = 1 - (_model(scenario).singles_share or 0.0)
    columns = len(schema.columns) + (not by_class)
    noise = noise_of_pairs(noise_of_total(scenario.privacy, sites, share * counts_share(scenario)), columns)
    return declared_records(sites) / (slots * bins**2) * math.sqrt(columns - 1) / noise if noise else math.inf


def signal_of_singles(scenario: Scenario, schema: TableSchema, sites: Sequence[SiteDeclaration], share: float) -> float:
    """The same of a column's cell in one class, where counts of single cells have a share of the budget."""
    share *= counts_share(scenario)
    noise = noise_of_singles(noise_of_total(scenario.privacy, sites, share), len(schema.columns))
    cells = schema.cells / len(schema.columns)
    return declared_records(sites) / (schema.num_classes * cells) / noise if noise else math.inf


def _model(scenario: Scenario) -> Mixture:
    assert isinstance(scenario.model, Mixture)  # noqa: S101  (its family)
    return scenario.model
