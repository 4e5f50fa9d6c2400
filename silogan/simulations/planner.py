"""`silogan plan`: what a scenario would release, at what cost, and what to expect of it, before anything is released.

All of it follows from public numbers: records per hospital, classes, hospitals, pixels and budget. What to expect is
told by runs that were measured (`simulations/benchmarks/results`), never by a formula.
"""

from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from silogan.common.config.scenario import Scenario
from silogan.common.errors import UsageError
from silogan.common.privacy.strength import delta_remark, strength
from silogan.common.wire.study import SiteDeclaration, Study, declared_size
from silogan.server.fitting.choices import ADVISERS, judge
from silogan.server.fitting.public_numbers import declared_records
from silogan.server.rounds.begin import check_scenario, make_study
from silogan.simulations.prepare import planned


class Measured(NamedTuple):
    """Runs of a fitted family.

    Attributes:
        figure: by which runs of the family are compared (`server/fitting/choices.py`).
        what: it was.
        found: figures of classifiers that learnt from its images, one of each seed.
        real: the same of classifiers that learnt from real images.
    """

    figure: float
    what: str
    found: str
    real: str


MEASURED: dict[str, tuple[Measured, ...]] = {
    "gaussians": (
        Measured(0.0235, "MNIST, 100 x 600, ε = 10", "accuracy 0.961, 0.962, 0.960", "0.993"),
        Measured(0.0255, "X-rays, 4 x 1,100, ε = 10", "AUROC 0.948, 0.947, 0.946", "0.952"),
        Measured(0.0313, "X-rays, 4 x 1,100, ε = 3", "AUROC 0.877, 0.916, 0.914", "0.952"),
        Measured(0.0325, "MNIST, 10 x 6,000, ε = 10", "accuracy 0.969, 0.971, 0.971", "0.993"),
        Measured(0.0459, "X-rays, 4 x 1,100, ε = 1", "AUROC 0.917, 0.915, 0.849", "0.952"),
        Measured(0.0481, "X-rays, 4 x 250, ε = 10", "AUROC 0.902, 0.904, 0.934", "0.930"),
        Measured(0.0485, "MNIST, 10 x 6,000, ε = 1", "accuracy 0.954, 0.955, 0.957", "0.993"),
        Measured(0.0641, "X-rays, 4 x 100, ε = 10", "AUROC 0.784, 0.746, 0.865", "0.920"),
        Measured(0.0916, "digits, 4 x 350, ε = 10", "accuracy 0.931, 0.922, 0.922", "0.969"),
        Measured(0.1282, "X-rays, 4 x 50, ε = 10", "AUROC 0.849, 0.513, 0.926", "0.915"),
    ),
    "mixture": (
        Measured(1.7, "breast cancer, 4 x 114, 30 columns, ε = 1", "AUROC 0.978, 0.971, 0.997", "0.993"),
        Measured(4.28, "heart disease, 4 hospitals, 757 in all, ε = 1", "AUROC 0.858, 0.867, 0.866", "0.892"),
        Measured(4.43, "breast cancer, ε = 3", "AUROC 0.980, 0.978, 0.991", "0.993"),
        Measured(11.2, "heart disease, ε = 3", "AUROC 0.882, 0.879, 0.878", "0.892"),
        Measured(11.9, "breast cancer, ε = 10", "AUROC 0.985, 0.993, 0.993", "0.993"),
        Measured(28.4, "heart disease, ε = 10", "AUROC 0.884, 0.885, 0.884", "0.892"),
        Measured(89.6, "Adult, 8 x 3,256, ε = 1", "AUROC 0.883, 0.873, 0.880", "0.904"),
        Measured(240.0, "Adult, ε = 3", "AUROC 0.892, 0.889, 0.894", "0.904"),
        Measured(668.0, "Adult, ε = 10", "AUROC 0.898, 0.900, 0.900", "0.904"),
    ),
}
"""By family, the smallest figure first."""


@dataclass(frozen=True)
class Phase:
    """A phase of the plan, in short."""

    name: str
    share: float
    noise_multiplier: float
    steps: int


@dataclass(frozen=True)
class Outlook:
    """What a scenario would do.

    Attributes:
        title: of the scenario.
        hospitals, records, classes: how many, the records by their declared sizes, in units of privacy.
        unit: of privacy, record or patient.
        records_per_patient: k, most records of a patient in a noisy sum.
        described: the records in words.
        epsilon, delta: the budget of each hospital; None without privacy.
        strength: of the guarantee, in words.
        delta_remark: what to say of a δ that is too large for the smallest hospital; empty where nothing is.
        phases: the noisy sums, in order.
        choices: what was chosen, each with its reason.
        verdict: "useful", "uncertain" or "too few records"; None where nothing was measured that could say.
        expected: why, in one or two sentences.
        compared: the measured runs that are nearest.
        figure: name of the figure by which they are, and how it is written.
    """

    title: str
    hospitals: int
    records: int
    unit: str
    records_per_patient: int
    classes: int
    described: str
    epsilon: float | None
    delta: float
    strength: str
    delta_remark: str
    phases: tuple[Phase, ...]
    choices: tuple[str, ...]
    verdict: str | None
    expected: str
    compared: tuple[Measured, ...]
    figure: tuple[str, str]

    def to_json(self) -> dict[str, Any]:
        """The same as plain values."""
        return {**asdict(self), "compared": [one._asdict() for one in self.compared]}


def outlook(scenario: Scenario, records: int | None) -> Outlook:
    """What a scenario would release, and what to expect of it.

    Args:
        scenario: simulated or real.
        records: units of privacy in each hospital; those of the scenario's own data if None, which is then read for
            its size and labels as in a simulation.

    Raises:
        ConfigError, DataError, PrivacyRefusal: it could not be run either.
        UsageError: `records` is below 1.
    """
    study = planned(scenario) if records is None else _declared(scenario, records)
    plan = study.plan
    return Outlook(
        title=study.scenario.title or study.scenario.name,
        hospitals=len(study.sites),
        records=declared_records(study.sites),
        unit=plan.unit,
        records_per_patient=max(phase.records_per_patient for phase in plan.phases),
        classes=study.schema.num_classes,
        described=study.schema.describe(),
        epsilon=plan.epsilon if plan.private else None,
        delta=plan.delta,
        strength=str(strength(plan.epsilon)) if plan.private else "NON-PRIVATE",
        delta_remark=delta_remark(plan.delta, min(site.declared_size for site in study.sites), plan.unit)
        if plan.private
        else "",
        phases=tuple(Phase(one.name, one.share, one.noise_multiplier, one.steps) for one in plan.phases),
        **_expectation(study, scenario),
    )


def _declared(scenario: Scenario, records: int) -> Study:
    if records < 1:
        raise UsageError(f"--records {records}", "is below 1", "give the records of each hospital")
    check_scenario(scenario)
    sites = tuple(
        SiteDeclaration(f"site-{number}", declared_size(records)) for number in range(1, scenario.sites.count + 1)
    )
    several = scenario.data.names_patients or scenario.privacy.records_per_patient > 1
    unit = scenario.privacy.unit or ("patient" if several else "record")
    return make_study(scenario, scenario.data.declared_schema(), unit, sites)


def _expectation(study: Study, asked: Scenario) -> dict[str, Any]:
    adviser, judged = ADVISERS.get(study.scenario.model.family), judge(study)
    if adviser is None or judged is None:
        told = "networks that are trained by private steps; in every case measured, a fitted release was better"
        return {"choices": (), "verdict": None, "expected": told, "compared": (), "figure": ("", "")}
    measured = MEASURED.get(study.scenario.model.family, ())
    compared = tuple(sorted(sorted(measured, key=lambda one: abs(one.figure - judged.figure))[:3]))
    told = {"verdict": judged.verdict, "expected": judged.expected, "figure": adviser.figure}
    return {"choices": tuple(adviser.reasons(asked.model, study.scenario.model)), **told, "compared": compared}
