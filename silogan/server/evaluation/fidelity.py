"""Fidelity: how close synthetic images are to real ones, as two sets of points in the features of a network.

Precision and recall: Kynkäänniemi et al., "Improved Precision and Recall Metric for Assessing Generative Models", 2019.
Density and coverage: Naeem et al., "Reliable Fidelity and Diversity Metrics for Generative Models", 2020.
Fréchet distance: Heusel et al., "GANs Trained by a Two Time-Scale Update Rule", 2017. It is the well-known "FID" only
in the features of InceptionV3; in other features its values compare only with values in the same features.

All arithmetic is in float64, and distances are computed in blocks, so memory grows with the number of images, not with
its square.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from silogan.common.errors import DataError

NEIGHBOURS = 5
"""k: the ball around a point reaches to its k-th nearest neighbour in its own set (5 as in Naeem et al.)."""

_BLOCK = 512


@dataclass(frozen=True)
class Neighbourhoods:
    """Measures of how the balls around the points of one set contain the points of the other.

    Attributes:
        precision: share (0 to 1) of synthetic points within the ball of some real point (2019, equation 2).
        recall: share (0 to 1) of real points within the ball of some synthetic point (2019, equation 2).
        density: balls of real points that hold a synthetic point, on average over synthetic points, divided by k; not
            negative, about 1 for equal distributions, and more than 1 where synthetic points crowd (2020, section 3.2).
        coverage: share (0 to 1) of real points whose ball holds a synthetic point (2020, section 3.2).
    """

    precision: float
    recall: float
    density: float
    coverage: float


class Balls:
    """Balls around real points, to compare several sets of others with; a ball holds its border.

    Args:
        real: features float[N, F] of real images, N more than k.
        k: neighbours to the border of a ball, at least 1.

    Raises:
        DataError: the features do not have this form or are not finite.
    """

    def __init__(self, real: Tensor, k: int = NEIGHBOURS) -> None:
        self._real, self._k = _checked(real, real, fewest=k + 1)[0], k
        self._radii = _radii(self._real, k)

    def compared(self, synthetic: Tensor) -> tuple[Neighbourhoods, Tensor]:
        """The measures of other points, and which of the real ones they cover.

        Args:
            synthetic: features float[M, F] of synthetic images, M more than k.

        Returns:
            The measures, and bool[N]: whether the ball of each real point holds another.

        Raises:
            DataError: the features do not have this form or are not finite.
        """
        real, synthetic = _checked(self._real, synthetic, fewest=self._k + 1)
        synthetic_radius = _radii(synthetic, self._k)
        in_real_balls = torch.zeros(len(synthetic), dtype=torch.int64)
        recalled, covered = list[Tensor](), list[Tensor]()
        for points, radius in zip(real.split(_BLOCK), self._radii.split(_BLOCK), strict=True):
            distance = _distances(points, synthetic)
            held = distance <= radius[:, None]
            in_real_balls += held.sum(0)
            covered.append(held.any(1))
            recalled.append((distance <= synthetic_radius).any(1))
        covers = torch.cat(covered)
        found = Neighbourhoods(
            precision=float((in_real_balls > 0).double().mean()),
            recall=float(torch.cat(recalled).double().mean()),
            density=float(in_real_balls.double().mean()) / self._k,
            coverage=float(covers.double().mean()),
        )
        return found, covers


def coverage_by_class(covered: Tensor, labels: Tensor, num_classes: int) -> list[float | None]:
    """Coverage of the real points of each class: what is never drawn stands out, which the whole may hide.

    Balls are those among all real points, so that coverage is the mean over classes, each weighted by its points.

    Args:
        covered: bool[N], see `Balls.compared`.
        labels: int64[N] in [0, num_classes), of the real points.
        num_classes: number of labels.

    Returns:
        A share (0 to 1) of each class; None of a class without a real point.
    """
    members = (labels.cpu() == label for label in range(num_classes))
    return [float(covered[there].double().mean()) if there.any() else None for there in members]


def frechet_distance(real: Tensor, synthetic: Tensor) -> float:
    """Fréchet distance between Gaussians fitted to two sets of features; not negative, 0 for equal moments.

    Args:
        real: features float[N, F] of real images, N at least 2.
        synthetic: features float[M, F] of synthetic images, M at least 2.

    Raises:
        DataError: the features do not have this form or are not finite.
    """
    real, synthetic = _checked(real, synthetic, fewest=2)
    return gaussian_frechet_distance(real.mean(0), _covariance(real), synthetic.mean(0), _covariance(synthetic))


def gaussian_frechet_distance(mean_1: Tensor, covariance_1: Tensor, mean_2: Tensor, covariance_2: Tensor) -> float:
    """|μ₁ - μ₂|² + tr(Σ₁ + Σ₂ - 2 (Σ₁ Σ₂)^½) (Heusel et al., 2017, equation 6).

    The trace of (Σ₁ Σ₂)^½ is computed as the sum of the singular values of Σ₁^½ Σ₂^½, which equals it for every pair of
    positive semi-definite matrices and, unlike a matrix square root of the product, is stable where they are singular.

    Args:
        mean_1: float64[F].
        covariance_1: float64[F, F], symmetric and positive semi-definite.
        mean_2: float64[F].
        covariance_2: float64[F, F], symmetric and positive semi-definite.
    """
    cross = torch.linalg.svdvals(_root(covariance_1) @ _root(covariance_2)).sum()
    distance = (mean_1 - mean_2).square().sum() + covariance_1.trace() + covariance_2.trace() - 2 * cross
    return max(0.0, float(distance))


def _checked(real: Tensor, synthetic: Tensor, fewest: int) -> tuple[Tensor, Tensor]:
    for name, points in (("real", real), ("synthetic", synthetic)):
        if points.ndim != 2 or points.shape[1] != real.shape[-1]:
            raise DataError(f"{name} features", "are not one row per image", "give both sets as [images, features]")
        if len(points) < fewest:
            raise DataError(f"{name} features", "come from too few images", f"give at least {fewest}")
        if not bool(points.isfinite().all()):
            raise DataError(f"{name} features", "are not finite", "check the network that computes them")
    return real.detach().cpu().double(), synthetic.detach().cpu().double()


def _distances(points: Tensor, others: Tensor) -> Tensor:
    """Euclidean distances, float64[N, M], exactly zero for equal points (the faster product form is not)."""
    return torch.cdist(points, others, compute_mode="donot_use_mm_for_euclid_dist")


def _radii(points: Tensor, k: int) -> Tensor:
    """Distance of each point to its k-th nearest neighbour, itself not counted: float64[N]."""
    blocks = (_distances(block, points) for block in points.split(_BLOCK))
    return torch.cat([block.kthvalue(k + 1, dim=1).values for block in blocks])


def _covariance(points: Tensor) -> Tensor:
    centred = points - points.mean(0)
    return centred.T @ centred / (len(points) - 1)


def _root(matrix: Tensor) -> Tensor:
    """Square root of a symmetric positive semi-definite matrix; eigenvalues that rounding made negative count as 0."""
    values, vectors = torch.linalg.eigh(matrix)
    return vectors * values.clamp(min=0).sqrt() @ vectors.T
