"""Class Gaussians from noisy moments around noisy centres, for `common/models/networks/gaussians.py`.

How much of a noisy covariance to keep depends on the records: grain in what is drawn does no harm to strokes, and hides
what tells X-rays apart. It is found without a look at records (`choose_edge`). All is post-processing of the release.
"""

import logging
import math
from collections.abc import Mapping

import torch
from torch import Tensor

from common.modality.image import PIXELS
from common.models.weights import Weights, networks, under
from common.privacy.statistics.centred import Covariances
from common.seeding import random_generator
from common.wire.study import Study
from server.evaluation.classifier import accuracy, train_classifier

EDGES = (1.0, 0.5, 0.0)
"""Those that are tried where a scenario gives none."""

_TAUGHT, _TESTED, _EPOCHS = 6000, 1500, 5  # images, and passes over them
_DRAWN_AT_ONCE = 1000

_log = logging.getLogger("silogan.server")


def gaussian_weights(found: Covariances, weights: Tensor, edge: float) -> Weights:
    """What the generator holds after the fit.

    A class's covariance is that of all classes within themselves, which the noise blurs least, and of its own deviation
    from it, those directions that rise above what noise alone would show: the largest eigenvalue of a symmetric matrix
    of noise s is about 2 s √d (Wigner, 1958). With `edge` 0 nothing is left out but negative variances: grain in what
    is drawn can do less harm to whoever learns from it than directions that are missing.

    Args:
        found: means and covariances, the latter in the units of the spectrum times its weights.
        weights: float64[d], those of the spectrum.
        edge: how many times that eigenvalue a direction must have.
    """
    d, shares = len(weights), found.counts / found.counts.sum()
    matrices = found.matrices
    if edge:
        edges = 2 * edge * math.sqrt(d) * found.noise
        within = (shares.view(-1, 1, 1) * matrices).sum(dim=0)
        shared = risen_above(within, float((shares * edges).square().sum().sqrt()))
        own = [risen_above(matrix - shared, float(e)) for matrix, e in zip(matrices, edges, strict=True)]
        matrices = shared + torch.stack(own)
    values, vectors = torch.linalg.eigh(matrices)
    roots = vectors * values.clamp(min=0).sqrt().unsqueeze(1) / weights.unsqueeze(1)
    fitted = {"means": found.means.float(), "roots": roots.float(), "edge": torch.tensor(edge, dtype=torch.float32)}
    return under("generator", fitted)


def choose_edge(study: Study, fits: Mapping[float, Weights]) -> float:
    """The edge whose images teach best in the worst case.

    Real records lie somewhere between the smooth images of a large edge and the grainy ones of none. So a classifier
    learns from the images of each fit and is tested on those of all, and the fit whose classifier has the best worst
    result is taken; of two that are equal, that with the larger edge.

    Args:
        study: says what the records are.
        fits: the weights of each edge.
    """
    schema, rng = study.schema, random_generator(study.scenario.seed, "edge")
    labels = torch.arange(_TAUGHT + _TESTED) % schema.num_classes
    drawn: dict[float, Tensor] = {}
    for edge, weights in fits.items():
        generator = networks(study.scenario.model, schema, weights, ("generator",)).generator
        parts = labels.split(_DRAWN_AT_ONCE)
        with torch.no_grad():
            images = [generator(torch.randn(len(one), generator.latent_dim, generator=rng), one) for one in parts]
        drawn[edge] = schema.decode(torch.cat(images))[PIXELS]
    worst: dict[float, float] = {}
    for edge, images in drawn.items():
        learnt = train_classifier(
            images[:_TAUGHT], labels[:_TAUGHT], num_classes=schema.num_classes, epochs=_EPOCHS, seed=0, device="cpu"
        )
        worst[edge] = min(accuracy(learnt.network, each[_TAUGHT:], labels[_TAUGHT:]) for each in drawn.values())
        _log.info("edge %g: a classifier that learnt from its images finds at least %.1f %%", edge, 100 * worst[edge])
    return max(worst, key=lambda edge: (worst[edge], edge))


def risen_above(matrix: Tensor, edge: float) -> Tensor:
    """A symmetric matrix without the directions in which it is smaller than `edge`."""
    values, vectors = torch.linalg.eigh(matrix)
    return (vectors * values.where(values.abs() > edge, 0.0)) @ vectors.T
