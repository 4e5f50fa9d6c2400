"""What the server makes of a phase's noisy sums, and what it sends to the sites with the next: one line a phase."""

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from common.errors import FederationError
from common.modality.image_options import Gaussians
from common.models.weights import Weights
from common.privacy import plan
from common.privacy.statistics import RELEASES, CentredMoments, Means, Statistic
from common.privacy.statistics.centred import CENTRES, RADIUS
from common.wire.study import Study
from server.fitting.gaussians import EDGES, choose_edge, gaussian_weights
from server.fitting.warm_start import pretrain


class Released(NamedTuple):
    """The sum over the sites that answered a phase.

    Attributes:
        total: float64[size].
        sites: how many answered.
    """

    total: Tensor
    sites: int

    def noise(self, study: Study, phase: str) -> float:
        """Standard deviation of the noise in each entry of the total."""
        found = study.plan.find(phase)
        return 0.0 if found is None else found.noise_multiplier * math.sqrt(self.sites)


def sent_with(study: Study, phase: str, released: Mapping[str, Released]) -> Weights:
    """What sites need to know for a phase, from those before; empty where they need nothing."""
    if phase != plan.MOMENTS:
        return {}
    means, known = statistic(study, plan.MEANS, {}), released[plan.MEANS]
    assert isinstance(means, Means)  # noqa: S101  (by its phase)
    found = means.centres(known.total, known.noise(study, plan.MEANS))
    return {CENTRES: found.centres.float(), RADIUS: torch.tensor(found.radius, dtype=torch.float32)}


def statistic(study: Study, phase: str, sent: Weights) -> Statistic:
    """The statistic of a phase.

    Raises:
        FederationError: the study has none of that name.
    """
    try:
        return RELEASES[phase](study.scenario, study.schema, sent)
    except (KeyError, ValueError) as error:
        raise FederationError(f"phase {phase}", f"cannot be asked for ({error})", "submit the study again") from None


def _keep(study: Study, released: Mapping[str, Released], weights: Weights) -> Weights:  # noqa: ARG001
    return weights


def _warm_start(study: Study, released: Mapping[str, Released], weights: Weights) -> Weights:
    phase, found = study.plan.find(plan.STATISTICS), released[plan.STATISTICS]
    settings = study.scenario.training.warm_start
    assert phase is not None and settings is not None  # noqa: S101, PT018  (a plan with the one has the other)
    return pretrain(study, phase, settings, weights, found.total, found.sites)


def _gaussians(study: Study, released: Mapping[str, Released], weights: Weights) -> Weights:
    moments = statistic(study, plan.MOMENTS, sent_with(study, plan.MOMENTS, released))
    assert isinstance(moments, CentredMoments) and isinstance(study.scenario.model, Gaussians)  # noqa: S101, PT018
    found = released[plan.MOMENTS]
    covariances = moments.covariances(found.total, found.noise(study, plan.MOMENTS))
    asked = study.scenario.model.edge
    edges = EDGES if asked is None else (asked,)
    fits = {edge: gaussian_weights(covariances, moments.spectrum.weights, edge) for edge in edges}
    return {**weights, **fits[choose_edge(study, fits) if asked is None else asked]}


FITS: dict[str, Callable[[Study, Mapping[str, Released], Weights], Weights]] = {
    plan.STATISTICS: _warm_start,
    plan.MEANS: _keep,
    plan.MOMENTS: _gaussians,
}
"""The weights after a phase, from all that was released so far and the weights before."""
