"""Gaussians from noisy moments around noisy centres, for `common/models/networks/gaussians.py`.

One Gaussian describes a class badly that is curved, as handwriting is. So where records are many, a class is cut into
cells along its longest axes, and each cell has a Gaussian of its own.

How much of a noisy covariance to keep depends on the records: grain in what is drawn does no harm to strokes, and hides
what tells X-rays apart. It is found without a look at records (`choose_edge`). All is post-processing of the release.
"""

import logging
from collections.abc import Mapping

import torch
from torch import Tensor

from silogan.common.device import threads, threads_for_training
from silogan.common.modality.image import PIXELS
from silogan.common.models.weights import Weights, networks, under
from silogan.common.privacy.statistics.centred import CUTS, LEVELS, Covariances
from silogan.common.progress import begin_part, track
from silogan.common.seeding import random_generator
from silogan.common.wire.study import Study
from silogan.server.evaluation.classifier import accuracy, train_classifier
from silogan.server.fitting.eigenvalues import largest_of_noise, risen_above
from silogan.server.fitting.linear import discriminant

EDGES = (1.0, 0.5, 0.0)
"""Those that are tried where a scenario gives none."""

_TAUGHT, _TESTED, _EPOCHS = 6000, 1500, 5  # images, and passes over them
_DRAWN_AT_ONCE = 1000

_log = logging.getLogger("silogan.server")


def gaussian_weights(found: Covariances, weights: Tensor, edge: float, cells: int = 1) -> Weights:
    """What the generator holds after the fit.

    The covariance of a cell is that of everybody within their cells, which the noise blurs least, and of the deviation
    of a class from it, and of the cell from its class, those directions that rise above what noise alone would show.
    With `edge` 0 nothing is left out but negative variances: grain in what is drawn can do less harm to whoever learns
    from it than directions that are missing.

    Args:
        found: means and covariances, the latter in the units of the spectrum times its weights.
        weights: float64[d], those of the spectrum.
        edge: how many times the largest eigenvalue of noise a direction must have.
        cells: of each class.
    """
    matrices = _risen(found, edge, cells) if edge else found.matrices
    values, vectors = torch.linalg.eigh(matrices)
    roots = vectors * values.clamp(min=0).sqrt().unsqueeze(1) / weights.unsqueeze(1)
    counts = found.counts.view(-1, cells)
    chances = (counts.cumsum(dim=1) / counts.sum(dim=1, keepdim=True)).float()
    told = torch.tensor(edge, dtype=torch.float32)
    fitted = {"means": found.means.float(), "roots": roots.float(), "chances": chances, "edge": told}
    return under("generator", {**fitted, **discriminant(found, weights, cells)})


def _risen(found: Covariances, edge: float, cells: int) -> Tensor:
    """Covariances [slots, d, d]: everybody's, then a class's deviation, then a cell's, each where it rises."""
    slots, d, _ = found.matrices.shape
    edges, kept = edge * largest_of_noise(found.noise, d), torch.zeros_like(found.matrices)
    for size in dict.fromkeys((slots, cells, 1)):
        counts = found.counts.view(-1, size)
        shares = counts / counts.sum(dim=1, keepdim=True)
        apart = (shares.view(-1, size, 1, 1) * (found.matrices - kept).view(-1, size, d, d)).sum(dim=1)
        noise = (shares * edges.view(-1, size)).square().sum(dim=1).sqrt()
        risen = torch.stack([risen_above(matrix, float(e)) for matrix, e in zip(apart, noise, strict=True)])
        kept = kept + risen.repeat_interleave(size, dim=0)
    return kept


def cuts_of(found: Covariances, centres: Tensor, radius: float, weights: Tensor, cells: int) -> Weights:
    """Where to cut the classes into cells: across their longest axes, through their means.

    Args:
        found: of whole classes.
        centres: around which they were taken, float64[classes, d].
        radius: above 0, up to which.
        weights: float64[d], those of the spectrum.
        cells: 2ᵇ.

    Returns:
        `cuts` float32[classes, b, d] and `levels` float32[classes, b], see `common/privacy/statistics/centred.py`.
    """
    _, vectors = torch.linalg.eigh(found.matrices)
    directions = vectors[:, :, -(cells.bit_length() - 1) :].mT
    means = weights * (found.means - centres) / radius
    return {CUTS: directions.float().contiguous(), LEVELS: (directions @ means.unsqueeze(2)).squeeze(2).float()}


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
    model = study.scenario.model.model_copy(update={"public": None, "critic": 0})  # the release alone decides
    labels = torch.arange(_TAUGHT + _TESTED) % schema.num_classes
    drawn: dict[float, Tensor] = {}
    begin_part("drawing")
    for edge, weights in track(fits.items()):
        generator = networks(model, schema, weights, ("generator",)).generator
        parts = labels.split(_DRAWN_AT_ONCE)
        with torch.no_grad():
            images = [generator(torch.randn(len(one), generator.latent_dim, generator=rng), one) for one in parts]
        drawn[edge] = schema.decode(torch.cat(images))[PIXELS]
    with threads(threads_for_training(schema.shape)):
        worst = _worst_results(drawn, labels, schema.num_classes)
    return max(worst, key=lambda edge: (worst[edge], edge))


def _worst_results(drawn: Mapping[float, Tensor], labels: Tensor, classes: int) -> dict[float, float]:
    """For each edge, the least that a classifier which learnt from its images finds in the images of any."""
    worst: dict[float, float] = {}
    begin_part("choosing")
    for edge, images in track(drawn.items()):
        learnt = train_classifier(
            images[:_TAUGHT], labels[:_TAUGHT], num_classes=classes, epochs=_EPOCHS, seed=0, device="cpu"
        )
        worst[edge] = min(accuracy(learnt.network, each[_TAUGHT:], labels[_TAUGHT:]) for each in drawn.values())
        _log.info("edge %g: a classifier that learnt from its images finds at least %.1f %%", edge, 100 * worst[edge])
    return worst
