"""What the server makes of a phase's noisy sums, and what it sends to the sites with the next: one line a phase."""

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from silogan.common.errors import ConfigError, FederationError
from silogan.common.modality.image_features import Spectrum
from silogan.common.modality.image_options import Gaussians
from silogan.common.modality.joint import JointSchema
from silogan.common.modality.table import TableSchema
from silogan.common.modality.table_options import Mixture
from silogan.common.models.weights import Weights, under
from silogan.common.privacy import plan
from silogan.common.privacy.statistics import CentredMoments, Means, Pairs, Singles, Statistic, asked_for, spectrum_of
from silogan.common.privacy.statistics.centred import CENTRES, RADIUS, Covariances
from silogan.common.privacy.statistics.pairs import GROUPS
from silogan.common.privacy.statistics.singles import Counts
from silogan.common.progress import begin_part, track
from silogan.common.seeding import random_generator
from silogan.common.wire.study import Study
from silogan.server.fitting.bayes import bayes_weights
from silogan.server.fitting.critic import critic_weights
from silogan.server.fitting.detail import detail_weights
from silogan.server.fitting.gaussians import EDGES, choose_edge, cuts_of, gaussian_weights
from silogan.server.fitting.groups import groups_of
from silogan.server.fitting.linear import discriminant
from silogan.server.fitting.mixture import Found, mixture_weights
from silogan.server.fitting.rows import of_images, row_weights
from silogan.server.fitting.warm_start import pretrain


class Released(NamedTuple):
    """The sum over the sites that answered a phase.

    Attributes:
        total: float64[size].
        sites: how many answered.
        apart: the sum of each of them, float32[size], by its name, where they are kept (`keeps_apart`); else empty.
    """

    total: Tensor
    sites: int
    apart: Mapping[str, Tensor] = {}

    def noise(self, study: Study, phase: str) -> float:
        """Standard deviation of the noise in each entry of the total."""
        found = study.plan.find(phase)
        return 0.0 if found is None else found.noise_multiplier * math.sqrt(self.sites)


def keeps_apart(study: Study) -> bool:
    """Whether a fit needs the sum of each site, and not only that over all of them."""
    return isinstance(study.scenario.model, Mixture) and study.scenario.model.by_hospital


def sent_with(study: Study, phase: str, released: Mapping[str, Released]) -> Weights:
    """What sites need to know for a phase, from those before; empty where they need nothing."""
    if phase == plan.PAIRS:
        return {GROUPS: groups_of(_table(study), _mixture(study).most_bins, _counts(study, released))}
    if phase not in (plan.MOMENTS, plan.CELLS):
        return {}
    means, known = statistic(study, plan.MEANS, {}), released[plan.MEANS]
    assert isinstance(means, Means)  # noqa: S101  (by its phase)
    found = means.centres(known.total, known.noise(study, plan.MEANS))
    around = {CENTRES: found.centres.float(), RADIUS: torch.tensor(found.radius, dtype=torch.float32)}
    if phase == plan.MOMENTS:
        return around
    classes, weights = _covariances(study, plan.MOMENTS, released, around), means.spectrum.weights
    return {**around, **cuts_of(classes, found.centres, found.radius, weights, _family(study).cells or 1)}


def statistic(study: Study, phase: str, sent: Weights) -> Statistic:
    """The statistic of a phase.

    Raises:
        FederationError: the study has none of that name.
    """
    try:
        return asked_for(phase, study.scenario, study.schema, sent)
    except (ConfigError, ValueError) as error:
        raise FederationError(f"phase {phase}", f"cannot be asked for ({error})", "submit the study again") from None


def _keep(study: Study, released: Mapping[str, Released], weights: Weights) -> Weights:  # noqa: ARG001
    return weights


def _warm_start(study: Study, released: Mapping[str, Released], weights: Weights) -> Weights:
    phase, found = study.plan.find(plan.STATISTICS), released[plan.STATISTICS]
    settings = study.scenario.training.warm_start
    assert phase is not None and settings is not None  # noqa: S101, PT018  (a plan with the one has the other)
    return pretrain(study, phase, settings, weights, found.total, found.sites)


def _gaussians(study: Study, released: Mapping[str, Released], weights: Weights) -> Weights:
    """Of the last phase, that of the cells if there are several."""
    family, phase = _family(study), [one.name for one in study.plan.phases if not one.takes_batches][-1]
    if phase not in released:
        return weights
    covariances = _covariances(study, phase, released, sent_with(study, phase, released))
    spectrum, cells = spectrum_of(study.scenario, study.schema), family.cells or 1
    images = covariances if isinstance(spectrum, Spectrum) else of_images(covariances, spectrum)
    own = spectrum if isinstance(spectrum, Spectrum) else spectrum.spectrum
    if family.draws is False:
        return {**weights, **under("generator", discriminant(images, own.weights, cells))}

    def fit(edge: float) -> Weights:
        fitted = gaussian_weights(images, own.weights, edge, cells)
        if isinstance(spectrum, Spectrum):
            return fitted
        assert isinstance(study.schema, JointSchema)  # noqa: S101  (it has such a spectrum)
        return {**fitted, **row_weights(covariances, spectrum, study.schema, fitted)}

    edges = EDGES if family.edge is None else (family.edge,)
    begin_part("Gaussians")
    fits = {edge: fit(edge) for edge in track(edges)}
    chosen = fits[choose_edge(study, fits) if family.edge is None else family.edge]
    fitted = {**weights, **chosen, **detail_weights(study)}
    return {**fitted, **critic_weights(study, fitted)}


def _pairs(study: Study, released: Mapping[str, Released], weights: Weights) -> Weights:
    model, schema, found = _mixture(study), _table(study), counted(study, released)
    rng = random_generator(study.scenario.seed, "mixture")
    hospitals = counted_apart(study, released) if keeps_apart(study) else []
    fitted = mixture_weights(schema, found, model.components, model.steps, rng, hospitals)
    bayes = bayes_weights(schema, found, model.most_bins) if schema.num_classes > 1 else {}
    return {**weights, **fitted, **bayes}


def counted(study: Study, released: Mapping[str, Released]) -> Found:
    """All that was released of a table's rows, its pairs included."""
    return _counted(study, released, sent_with(study, plan.PAIRS, released))


def _counted(study: Study, released: Mapping[str, Released], sent: Weights) -> Found:
    pairs, found = statistic(study, plan.PAIRS, sent), released[plan.PAIRS]
    assert isinstance(pairs, Pairs)  # noqa: S101  (by its phase)
    tables = pairs.tables(found.total, found.noise(study, plan.PAIRS))
    return Found(tables, _mixture(study).classes_apart, pairs.groups, _counts(study, released))


def counted_apart(study: Study, released: Mapping[str, Released]) -> list[Found | None]:
    """The same of each site of the study by itself; None of one that did not answer with its pairs."""
    sent, found = sent_with(study, plan.PAIRS, released), list[Found | None]()
    for site in study.sites:
        own = {
            name: Released(one.apart[site.name].double(), 1) for name, one in released.items() if site.name in one.apart
        }
        found.append(_counted(study, own, sent) if plan.PAIRS in own else None)
    return found


def _counts(study: Study, released: Mapping[str, Released]) -> Counts | None:
    """The counts of single columns, if they were released."""
    found, singles = released.get(plan.SINGLES), Singles(_table(study))
    return None if found is None else singles.counts(found.total, found.noise(study, plan.SINGLES))


def _mixture(study: Study) -> Mixture:
    assert isinstance(study.scenario.model, Mixture)  # noqa: S101  (its phases are these)
    return study.scenario.model


def _table(study: Study) -> TableSchema:
    assert isinstance(study.schema, TableSchema)  # noqa: S101  (its family is of tables)
    return study.schema


def _covariances(study: Study, phase: str, released: Mapping[str, Released], sent: Weights) -> Covariances:
    moments, found = statistic(study, phase, sent), released[phase]
    assert isinstance(moments, CentredMoments)  # noqa: S101  (by its phase)
    return moments.covariances(found.total, found.noise(study, phase))


def _family(study: Study) -> Gaussians:
    assert isinstance(study.scenario.model, Gaussians)  # noqa: S101  (its phases are these)
    return study.scenario.model


FITS: dict[str, Callable[[Study, Mapping[str, Released], Weights], Weights]] = {
    plan.STATISTICS: _warm_start,
    plan.MEANS: _keep,
    plan.MOMENTS: _gaussians,
    plan.CELLS: _gaussians,
    plan.SINGLES: _keep,
    plan.PAIRS: _pairs,
}
"""The weights after a phase, from all that was released so far and the weights before."""
