"""The linear classifier that a release holds as well: discriminant analysis (Fisher, 1936) on noisy moments.

It costs nothing more. It is the honest measure of what images drawn from the release must beat, and all that is worth
using where records are few: a mean and one covariance of everybody are known far better than those of each class.
"""

import torch
from torch import Tensor

from silogan.common.models.weights import Weights
from silogan.common.privacy.statistics.centred import Covariances
from silogan.server.fitting.eigenvalues import largest_of_noise

_SMALLEST = 1e-5  # variance, as a share of the largest: where all records are alike, one would decide


def discriminant(found: Covariances, weights: Tensor, cells: int) -> Weights:
    """Weights of the classifier with logits `directions` · f + `offsets` for a spectrum f.

    Variances below what noise alone would show are taken for as large as that.

    Args:
        found: means and covariances of cells, the latter in the units of the spectrum times its weights.
        weights: float64[d], those of the spectrum.
        cells: of each class.

    Returns:
        `directions` float32[classes, d] and `offsets` float32[classes].
    """
    d, shares = len(weights), found.counts / found.counts.sum()
    counts = found.counts.view(-1, cells)
    of_class = counts / counts.sum(dim=1, keepdim=True)
    means = weights * found.means
    centres = (of_class.unsqueeze(2) * means.view(-1, cells, d)).sum(dim=1)
    apart = means - centres.repeat_interleave(cells, dim=0)
    within = (shares.view(-1, 1, 1) * (found.matrices + apart.unsqueeze(2) * apart.unsqueeze(1))).sum(dim=0)
    noise = largest_of_noise(float((shares * found.noise).square().sum().sqrt()), d)
    values, vectors = torch.linalg.eigh(within)
    smallest = max(noise, _SMALLEST * float(values[-1]))
    directions = (centres @ vectors / values.clamp(min=smallest)) @ vectors.T
    offsets = (counts.sum(dim=1) / counts.sum()).log() - 0.5 * (directions * centres).sum(dim=1)
    return {"directions": (directions * weights).float(), "offsets": offsets.float()}
