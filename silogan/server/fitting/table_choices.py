"""What a study of tables leaves open, chosen by public numbers alone: records, classes, hospitals, columns, the budget.

What can be told of a count is its signal: how many rows it holds on average, in standard deviations of its noise. A
group of a column is in a pair with a group of each other one of m columns, so that the noise in what they say of it
together is √(m-1) times smaller. Numbers are cut into as many groups as leave that signal `CLEAR`; more would be fitted
to noise. Pairs of codes are counted where that signal is `TOLD` or more: below, they cost other counts more than they
tell.

Where the unit is the patient, records are patients: each adds the mean of at most k of its rows, so that all of its
rows together count as one. More visits of a patient, or a larger k, raise neither the signal nor the noise.
"""

import math
from collections.abc import Sequence

from silogan.common.config.scenario import Scenario
from silogan.common.modality.table import TableSchema
from silogan.common.modality.table_options import MOST_BINS, Mixture
from silogan.common.privacy.plan import release_share
from silogan.common.privacy.statistics.pairs import noise_of_pairs
from silogan.common.privacy.statistics.singles import noise_of_singles, places_of
from silogan.common.wire.study import SiteDeclaration, Study
from silogan.server.fitting.judgement import TOO_FEW, UNCERTAIN, USEFUL, Judgement, of_critic, option
from silogan.server.fitting.public_numbers import declared_records, noise_of_total

CLEAR, FAINT = 4.5, 1.0
"""Signal of the pairs of a group: enough, and too little for any dependence to be told from noise."""

PLENTY = 4.0
"""Where numbers are cut in two: from here on all fits that were measured were of use to every classifier."""

CLEAR_SINGLES = 3.0
"""Signal of a cell from which counts of single cells are worth their share: numbers are cut by them, and spread over
the cells of a group."""

TOLD = 0.3
"""Signal of a pair of codes from which counts of them are worth their share: from here on fits with them were nearer to
the truth than fits without, but for one where neither told anything (`simulations/benchmarks/code_sets.py`)."""

_BINS = range(2, MOST_BINS + 1)
_SINGLES_SHARE = 0.1


def choose(scenario: Scenario, model: Mixture, schema: TableSchema, sites: Sequence[SiteDeclaration]) -> Mixture:
    """The model, with what is open of `bins`, `by_class`, `code_pairs` and `singles_share` chosen."""
    share, by_class, code_pairs, bins = model.singles_share, model.by_class, model.code_pairs, model.bins
    if share is None:
        clear = signal_of_singles(scenario, schema, sites, _SINGLES_SHARE) >= CLEAR_SINGLES
        share = _SINGLES_SHARE if clear else 0.0
    decided = _with(scenario, singles_share=share)
    if code_pairs is None and schema.code_sets:
        code_pairs = signal_of_codes(decided, schema, sites, by_class=by_class is True) >= TOLD
    decided = _with(decided, code_pairs=code_pairs)
    if by_class is None:
        # two columns and the class are three: where there is but one column, it has pairs with the class alone
        several = len(schema.columns) > 1
        by_class = several and signal(decided, schema, sites, 2, by_class=True) >= FAINT
    if bins is None:
        clear_bins = [n for n in _BINS if signal(decided, schema, sites, n, by_class=by_class) >= CLEAR]
        bins = max(clear_bins, default=_BINS[0])
    return model.model_copy(
        update={"bins": bins, "by_class": by_class, "code_pairs": code_pairs, "singles_share": share}
    )


def judge(study: Study) -> Judgement:
    """What to expect of a study; the figure is the signal where numbers are cut in two."""
    model, schema = study.scenario.model, study.schema
    assert isinstance(model, Mixture) and isinstance(schema, TableSchema)  # noqa: S101, PT018  (its family)
    found = signal(study.scenario, schema, study.sites, _BINS[0], by_class=model.classes_apart)
    told = f"the pairs of half a number's range hold {found:.2g} times the noise in them"
    codes = _told_of_codes(study, model, schema)
    if found >= PLENTY:
        return Judgement(found, USEFUL, f"{told}, more than the {PLENTY:g} from which fits were useful{codes}")
    if found >= FAINT:
        return Judgement(found, UNCERTAIN, f"{told}; below {PLENTY:g} weak dependences are lost{codes}")
    lost = f"below {FAINT:g} little but the single columns is told from noise"
    return Judgement(found, TOO_FEW, f"{told}; {lost}{codes}")


def reasons(wanted: Mixture, chosen: Mixture) -> list[str]:
    """Why each option is as it is, and what is known of a critic."""
    codes = f"as pairs of codes hold {TOLD:g} times their noise or more, or not: then single codes alone are counted"
    apart = "by_hospital: rows say which hospital they resemble, and the generator tells each hospital's sums apart"
    told = [
        *of_critic(chosen),
        *([f"model.{apart}"] if chosen.by_hospital else []),
        option("bins", wanted, chosen, f"as many as leave pairs {CLEAR:g} times their noise, or the fewest"),
        option("by_class", wanted, chosen, "as classes are large enough for pairs of their own, or not"),
        option("singles_share", wanted, chosen, "above 0 where single cells are clear enough to cut numbers by"),
    ]
    return told if chosen.code_pairs is None else [*told, option("code_pairs", wanted, chosen, codes)]


def signal(
    scenario: Scenario, schema: TableSchema, sites: Sequence[SiteDeclaration], bins: int, *, by_class: bool
) -> float:
    """Mean number of rows in the pairs of a group of a number, in units of their noise; ∞ without privacy."""
    slots = schema.num_classes if by_class else 1
    noise, columns = _noise_of_pairs(scenario, schema, sites, by_class=by_class), len(schema.columns) + (not by_class)
    return declared_records(sites) / (slots * bins**2) * math.sqrt(columns - 1) / noise if noise else math.inf


def signal_of_singles(scenario: Scenario, schema: TableSchema, sites: Sequence[SiteDeclaration], share: float) -> float:
    """The same of a column's cell in one class, where counts of single cells have a share of the budget."""
    noise = noise_of_singles(
        noise_of_total(scenario.privacy, sites, share * release_share(scenario)), places_of(schema)
    )
    cells = schema.cells / len(schema.columns)
    return declared_records(sites) / (schema.num_classes * cells) / noise if noise else math.inf


def signal_of_codes(
    scenario: Scenario, schema: TableSchema, sites: Sequence[SiteDeclaration], *, by_class: bool
) -> float:
    """The same of a pair of codes in all classes together, where rows have half as many codes as they may."""
    slots = schema.num_classes if by_class else 1
    noise = _noise_of_pairs(_with(scenario, code_pairs=True), schema, sites, by_class=by_class) * math.sqrt(slots)
    frequency = schema.most_codes / 2 / schema.codes
    return declared_records(sites) * frequency**2 / noise if noise else math.inf


def _noise_of_pairs(
    scenario: Scenario, schema: TableSchema, sites: Sequence[SiteDeclaration], *, by_class: bool
) -> float:
    """Standard deviation of the noise in a count of a pair; 0 without privacy."""
    model = _model(scenario)
    share = (1 - (model.singles_share or 0.0)) * release_share(scenario)
    noise = noise_of_total(scenario.privacy, sites, share)
    columns = len(schema.columns) + (not by_class)
    return noise_of_pairs(noise, columns, schema.most_codes, code_pairs=model.code_pairs is True)


def _told_of_codes(study: Study, model: Mixture, schema: TableSchema) -> str:
    """What is known of pairs of codes; nothing where there are none."""
    if not schema.code_sets:
        return ""
    found = signal_of_codes(study.scenario, schema, study.sites, by_class=model.classes_apart)
    counted = "are counted" if model.code_pairs else "are not counted, but single codes are"
    return f"; pairs of codes hold {found:.2g} times their noise and {counted}"


def _with(scenario: Scenario, **options: object) -> Scenario:
    """The scenario with other options of its model."""
    return scenario.model_copy(update={"model": _model(scenario).model_copy(update=options)})


def _model(scenario: Scenario) -> Mixture:
    assert isinstance(scenario.model, Mixture)  # noqa: S101  (its family)
    return scenario.model
