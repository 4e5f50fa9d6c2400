"""Rows that go with images, from noisy moments of both, for `common/models/networks/gaussians.py`.

A column's cells are cut out of a normal number v, as wide as they were released to be frequent. The covariance of v
with an image follows from that of the cells. For cells j of frequency p_j with scores s_j = E[v | cell j],

    Cov(x, s) = Cov(x, v) · Σ p_j s_j²

for any x that is jointly normal with v (the polyserial correlation; Olsson, Drasgow and Dorans, 1982). For two columns
the same is the first term of a series, and taken for the whole.

Images stay as they are fitted without rows. A row follows those directions of an image that rise above what noise alone
would show. All is post-processing of the release.
"""

import math

import torch
from torch import Tensor

from common.modality.joint import JointSchema
from common.modality.joint_features import JointSpectrum
from common.modality.table import Category, Column
from common.models.weights import Weights, part_of, under
from common.privacy.statistics.centred import Covariances
from server.fitting.eigenvalues import largest_of_noise

MOST_FOLLOWED = 0.98
"""Of a column's variance that an image may determine: noise must not take it to 1 or above."""

_SMALLEST = 1e-9  # of variances: below it there is nothing to divide by


def of_images(found: Covariances, spectrum: JointSpectrum) -> Covariances:
    """What the moments say of the images alone, in the units of their own spectrum times its weights."""
    d = spectrum.image.dimensions
    means = found.means[:, :d] / spectrum.image_scale
    return Covariances(found.counts, means, found.matrices[:, :d, :d], found.noise)


def row_weights(found: Covariances, spectrum: JointSpectrum, schema: JointSchema, images: Weights) -> Weights:
    """What the generator holds of the rows.

    Args:
        found: moments of images and rows.
        spectrum: in which they were taken.
        schema: of the records.
        images: what the generator holds of the images, with their `roots`.
    """
    d = spectrum.image.dimensions
    roots = part_of(images, "generator")["roots"].double() * spectrum.spectrum.weights.unsqueeze(1)
    edges = largest_of_noise(found.noise, spectrum.dimensions)
    fits = [
        _of_cell(schema, spectrum, mean[d:] / spectrum.row_scale, matrix, root, float(edge))
        for mean, matrix, root, edge in zip(found.means, found.matrices, roots, edges, strict=True)
    ]
    names = ("follows", "rest", "lower", "upper")
    stacked = (torch.stack(parts).float() for parts in zip(*fits, strict=True))
    return under("generator", dict(zip(names, stacked, strict=True)))


def _of_cell(
    schema: JointSchema, spectrum: JointSpectrum, shares: Tensor, matrix: Tensor, root: Tensor, edge: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """`follows`, `rest`, `lower` and `upper` of one cell of a class."""
    d, row = len(root), schema.row
    variances = root.square().sum(dim=0)
    clear = variances > max(edge, _SMALLEST)
    whitened = torch.where(clear, root / variances.clamp(min=_SMALLEST), 0.0)
    by_cell = matrix[d:, :d] @ whitened / spectrum.row_scale  # of cells with the image's latent numbers
    lower, upper = torch.zeros_like(shares), torch.zeros_like(shares)
    scores = torch.zeros(len(row.columns), row.cells, dtype=torch.float64)
    for place, (column, block) in enumerate(zip(row.columns, row.blocks, strict=True)):
        frequencies = nearest_shares(shares[block])
        lower[block], upper[block] = ends(frequencies, _order(column, by_cell[block], frequencies))
        scores[place, block] = scores_between(lower[block], upper[block])
    follows = scores @ by_cell
    follows *= (MOST_FOLLOWED / follows.square().sum(dim=1, keepdim=True).clamp(min=MOST_FOLLOWED)).sqrt()
    between = scores @ matrix[d:, d:] @ scores.T / spectrum.row_scale**2
    return follows, _rest(between - follows @ follows.T, 1 - follows.square().sum(dim=1)), lower, upper


def nearest_shares(noisy: Tensor) -> Tensor:
    """The nearest float64[n] that are not negative and add up to 1 (Duchi et al., 2008)."""
    falling = noisy.sort(descending=True).values
    excess = (falling.cumsum(dim=0) - 1) / torch.arange(1, len(noisy) + 1)
    kept = (falling - excess > 0).nonzero().max()
    found = (noisy - excess[kept]).clamp(min=0)
    return found / found.sum()


def ends(shares: Tensor, order: Tensor) -> tuple[Tensor, Tensor]:
    """The ends float64[n] in [0, 1] of cells with such shares that lie side by side in an order int64[n]."""
    upper = torch.zeros_like(shares)
    upper[order] = shares[order].cumsum(dim=0)
    upper = torch.where(upper > upper[order[-1]] - _SMALLEST, 1.0, upper)
    lower = torch.zeros_like(shares)
    lower[order[1:]] = upper[order[:-1]]
    return lower, upper


def scores_between(lower: Tensor, upper: Tensor) -> Tensor:
    """Scores float64[n] whose covariance with x, as indicators of the cells, is that of v with x; 0 of one cell alone.

    Args:
        lower: float64[n], where each cell begins.
        upper: float64[n], where it ends.
    """
    shares = upper - lower
    density = [(-0.5 * torch.special.ndtri(end).square()).exp() / math.sqrt(2 * math.pi) for end in (lower, upper)]
    mean = torch.where(shares > _SMALLEST, (density[0] - density[1]) / shares.clamp(min=_SMALLEST), 0.0)
    told = float((shares * mean.square()).sum())
    return mean / told if told > _SMALLEST else torch.zeros_like(mean)


def _order(column: Column, by_cell: Tensor, shares: Tensor) -> Tensor:
    """The order int64[n] of a column's cells: their own; of values without one that in which their images differ most.

    Args:
        column: whose cells they are.
        by_cell: float64[n, d], their covariance with the image.
        shares: float64[n].
    """
    if not isinstance(column, Category) or column.ordered or len(shares) < 3:
        return torch.arange(len(shares))
    spread = by_cell / shares.clamp(min=_SMALLEST).sqrt().unsqueeze(1)
    along = torch.linalg.svd(spread, full_matrices=False).U[:, 0]
    return (along / shares.clamp(min=_SMALLEST).sqrt()).argsort(stable=True)


def _rest(matrix: Tensor, variances: Tensor) -> Tensor:
    """A root of the nearest covariance with such variances [m] to a symmetric matrix [m, m]."""
    deviations = variances.sqrt()
    correlations = (matrix / torch.outer(deviations, deviations)).clamp(-1, 1).fill_diagonal_(1)
    values, vectors = torch.linalg.eigh(correlations)
    root = vectors * values.clamp(min=0).sqrt()
    return deviations.unsqueeze(1) * root / root.norm(dim=1, keepdim=True)
