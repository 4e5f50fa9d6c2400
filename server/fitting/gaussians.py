"""Class Gaussians from noisy moments around noisy centres, for `common/models/networks/gaussians.py`.

All of it is post-processing of what was released.
"""

import math

import torch
from torch import Tensor

from common.models.weights import Weights, under
from common.privacy.statistics.centred import Covariances


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
        shared = _risen_above(within, float((shares * edges).square().sum().sqrt()))
        own = [_risen_above(matrix - shared, float(e)) for matrix, e in zip(matrices, edges, strict=True)]
        matrices = shared + torch.stack(own)
    values, vectors = torch.linalg.eigh(matrices)
    roots = vectors * values.clamp(min=0).sqrt().unsqueeze(1) / weights.unsqueeze(1)
    return under("generator", {"means": found.means.float(), "roots": roots.float()})


def _risen_above(matrix: Tensor, edge: float) -> Tensor:
    """A symmetric matrix without the directions in which it is smaller than `edge`."""
    values, vectors = torch.linalg.eigh(matrix)
    return (vectors * values.where(values.abs() > edge, 0.0)) @ vectors.T
