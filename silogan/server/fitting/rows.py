"""Rows that go with images, from noisy moments of both, for `common/models/networks/gaussians.py`.

A column's cells are cut out of a normal number v, as wide as they were released to be frequent. The covariance of v
with an image follows from that of the cells. For cells j of frequency p_j with scores s_j = E[v | cell j],

    Cov(x, s) = Cov(x, v) · Σ p_j s_j²

for any x that is jointly normal with v (the polyserial correlation; Olsson, Drasgow and Dorans, 1982). For two columns
the same is the first term of a series, and taken for the whole.

Images stay as they are fitted without rows. A row follows those directions of an image that rise above noise, as it
does in everybody, and in a class or cell of its own only as far as noise does not explain the difference (James and
Stein, 1961). All is post-processing of the release.
"""

import math

import torch
from torch import Tensor

from silogan.common.modality.joint import JointSchema
from silogan.common.modality.joint_features import JointSpectrum
from silogan.common.modality.table import Category, Column
from silogan.common.models.weights import Weights, part_of, under
from silogan.common.privacy.statistics.centred import Covariances
from silogan.server.fitting.eigenvalues import largest_of_noise

MOST_FOLLOWED = 0.98
"""Of a column's variance that an image may determine: noise must not take it to 1 or above."""

_SMALLEST = 1e-9  # of shares and variances: below it there is nothing to divide by


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
    d, scale = spectrum.image.dimensions, spectrum.row_scale
    means, crossed, within = found.means[:, d:] / scale, found.matrices[:, d:, :d] / scale, found.matrices[:, d:, d:]
    parts = found.counts / found.counts.sum()
    lower, upper, scores = _cells(schema, means, parts, torch.einsum("s,scd->cd", parts, crossed))
    noise = found.noise.unsqueeze(1) * scores.norm(dim=2) / scale
    with_image = _shrunk(scores @ crossed, noise, parts)
    roots = part_of(images, "generator")["roots"].double() * spectrum.spectrum.weights.unsqueeze(1)
    follows = _followed(with_image, roots, largest_of_noise(float((parts * found.noise).norm()), spectrum.dimensions))
    between = scores @ within @ scores.mT / scale**2 - follows @ follows.mT
    rest = torch.stack([_rest(*one) for one in zip(between, 1 - follows.square().sum(dim=2), strict=True)])
    fitted = {"follows": follows, "rest": rest, "lower": lower, "upper": upper}
    return under("generator", {name: tensor.float() for name, tensor in fitted.items()})


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


def _cells(schema: JointSchema, means: Tensor, parts: Tensor, crossed: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Both ends float64[slots, cells] of each cell, and the scores float64[slots, m, cells] of each column.

    Args:
        schema: of the records.
        means: float64[slots, cells], noisy frequencies.
        parts: float64[slots], of everybody.
        crossed: float64[cells, d], covariance of the cells with the images in everybody.
    """
    columns = list(enumerate(zip(schema.row.columns, schema.row.blocks, strict=True)))
    lower, upper = torch.zeros_like(means), torch.zeros_like(means)
    scores = means.new_zeros(len(means), len(columns), means.shape[1])
    for place, (column, block) in columns:
        order = _order(column, crossed[block], nearest_shares(parts @ means[:, block]))
        for slot, noisy in enumerate(means[:, block]):
            lower[slot, block], upper[slot, block] = ends(nearest_shares(noisy), order)
            scores[slot, place, block] = scores_between(lower[slot, block], upper[slot, block])
    return lower, upper, scores


def _order(column: Column, crossed: Tensor, shares: Tensor) -> Tensor:
    """The order int64[n] of a column's cells: their own; of values without one that in which their images differ most.

    The cell of missing values stands where a row then follows the image most: at an end it would pass for the largest
    value.

    Args:
        column: whose cells they are.
        crossed: float64[n, d], their covariance with the image.
        shares: float64[n].
    """
    known = list(range(column.known_cells))
    if not isinstance(column, Category) or column.ordered or len(shares) < 3:
        if not column.optional:
            return torch.tensor(known)
        orders = [torch.tensor([*known[:gap], len(known), *known[gap:]]) for gap in range(len(known) + 1)]
        return max(orders, key=lambda order: float((scores_between(*ends(shares, order)) @ crossed).norm()))
    deviations = shares.clamp(min=_SMALLEST).sqrt()
    along = torch.linalg.svd(crossed / deviations.unsqueeze(1), full_matrices=False).U[:, 0]
    return (along / deviations).argsort(stable=True)


def _shrunk(covariances: Tensor, noise: Tensor, parts: Tensor) -> Tensor:
    """Covariances float64[slots, m, d], drawn to everybody's by as much of their distance as noise explains.

    Args:
        covariances: with noise.
        noise: float64[slots, m], its standard deviation in each entry.
        parts: float64[slots], of everybody.
    """
    everybody = torch.einsum("s,smd->md", parts, covariances)
    apart = covariances - everybody
    by_noise = covariances.shape[2] * noise.square()
    kept = (1 - by_noise / apart.square().sum(dim=2).clamp(min=1e-30)).clamp(0, 1)
    return everybody + kept.unsqueeze(2) * apart


def _followed(covariances: Tensor, roots: Tensor, edge: float) -> Tensor:
    """Coefficients float64[slots, m, d] by which each v follows the latent numbers of the image.

    Args:
        covariances: float64[slots, m, d], of each v with the image.
        roots: float64[slots, d, d], the image's, whose columns are orthogonal.
        edge: variance from which a direction is followed.
    """
    variances = roots.square().sum(dim=1, keepdim=True)
    whitened = torch.where(variances > max(edge, _SMALLEST), roots / variances.clamp(min=_SMALLEST), 0.0)
    follows = covariances @ whitened
    told = follows.square().sum(dim=2, keepdim=True)
    return follows * (MOST_FOLLOWED / told.clamp(min=MOST_FOLLOWED)).sqrt()


def _rest(matrix: Tensor, variances: Tensor) -> Tensor:
    """A root of the nearest covariance with such variances [m] to a symmetric matrix [m, m]."""
    deviations = variances.sqrt()
    correlations = (matrix / torch.outer(deviations, deviations)).clamp(-1, 1).fill_diagonal_(1)
    values, vectors = torch.linalg.eigh(correlations)
    root = vectors * values.clamp(min=0).sqrt()
    return deviations.unsqueeze(1) * root / root.norm(dim=1, keepdim=True)
