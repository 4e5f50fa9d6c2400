import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from silogan.common.errors import DataError
from silogan.server.evaluation import fidelity
from silogan.server.evaluation.fidelity import (
    NEIGHBOURS,
    Balls,
    Neighbourhoods,
    coverage_by_class,
    frechet_distance,
    gaussian_frechet_distance,
)


def cloud(count: int, width: int = 3, seed: int = 0, shift: float = 0.0) -> Tensor:
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed)) + shift


def neighbourhoods(real: Tensor, synthetic: Tensor, k: int = NEIGHBOURS) -> Neighbourhoods:
    return Balls(real, k).compared(synthetic)[0]


def by_hand(real: Tensor, synthetic: Tensor, k: int) -> Neighbourhoods:
    """The definitions of the articles, one point at a time."""
    xs, ys = real.tolist(), synthetic.tolist()

    def radius(points: list[list[float]], index: int) -> float:
        return sorted(math.dist(points[index], other) for j, other in enumerate(points) if j != index)[k - 1]

    x_radii = [radius(xs, i) for i in range(len(xs))]
    y_radii = [radius(ys, j) for j in range(len(ys))]
    held = [[math.dist(x, y) <= r for y in ys] for x, r in zip(xs, x_radii, strict=True)]
    back = [[math.dist(x, y) <= r for y, r in zip(ys, y_radii, strict=True)] for x in xs]
    return Neighbourhoods(
        precision=sum(any(row[j] for row in held) for j in range(len(ys))) / len(ys),
        recall=sum(any(row) for row in back) / len(xs),
        density=sum(map(sum, held)) / (k * len(ys)),
        coverage=sum(any(row) for row in held) / len(xs),
    )


def as_tuple(result: Neighbourhoods) -> tuple[float, float, float, float]:
    return result.precision, result.recall, result.density, result.coverage


@pytest.mark.parametrize(
    ("n", "m", "k", "shift"), [(40, 40, 5, 0.0), (30, 55, 3, 1.0), (55, 30, 1, 0.5), (7, 6, 5, 2.0)]
)
def test_agrees_with_the_definitions(n: int, m: int, k: int, shift: float) -> None:
    real, synthetic = cloud(n, seed=1), cloud(m, seed=2, shift=shift)
    assert as_tuple(neighbourhoods(real, synthetic, k)) == pytest.approx(as_tuple(by_hand(real, synthetic, k)))


def test_coverage_of_classes_adds_up_to_that_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fidelity, "_BLOCK", 16)
    real, synthetic = cloud(60, seed=1), cloud(50, seed=2, shift=0.7)
    labels = torch.arange(60) % 3
    labels[labels == 1] = 3
    shares = coverage_by_class(Balls(real).compared(synthetic)[1], labels, 4)
    counts = labels.bincount(minlength=4).tolist()
    assert shares[1] is None
    whole = sum(count * share for count, share in zip(counts, shares, strict=True) if share is not None) / 60
    assert whole == pytest.approx(neighbourhoods(real, synthetic).coverage)


def test_a_class_far_from_all_that_is_drawn_is_not_covered() -> None:
    real, labels = torch.cat((cloud(30, seed=1), cloud(30, seed=3, shift=50.0))), torch.arange(60) // 30
    near, far = coverage_by_class(Balls(real).compared(cloud(60, seed=2))[1], labels, 2)
    assert near is not None
    assert near > 0.8
    assert far == 0.0


def test_blocks_do_not_change_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    real, synthetic = cloud(70, seed=1), cloud(50, seed=2, shift=0.7)
    at_once = neighbourhoods(real, synthetic)
    monkeypatch.setattr(fidelity, "_BLOCK", 16)
    assert neighbourhoods(real, synthetic) == at_once


def test_a_known_line() -> None:
    # Real points 0, 1, 2, 10 have radius (k=1) 1, 1, 1, 8; synthetic points 0.5, 3, 4, 30 have radius 2.5, 1, 1, 26.
    real = torch.tensor([[0.0], [1.0], [2.0], [10.0]])
    synthetic = torch.tensor([[0.5], [3.0], [4.0], [30.0]])
    # 0.5 lies in the balls of 0 and 1; 3 in those of 2 and 10 (at distance 7); 4 in that of 10; 30 in none.
    assert neighbourhoods(real, synthetic, k=1) == Neighbourhoods(0.75, 1.0, 5 / 4, 1.0)


@settings(max_examples=25)
@given(seed=st.integers(0, 2**31), count=st.integers(6, 40), width=st.integers(1, 8), scale=st.floats(1e-3, 1e3))
def test_identical_sets_are_perfect(seed: int, count: int, width: int, scale: float) -> None:
    points = cloud(count, width, seed) * scale
    result = neighbourhoods(points, points)
    assert (result.precision, result.recall, result.coverage) == (1.0, 1.0, 1.0)
    assert frechet_distance(points, points) <= 1e-9 * scale**2


@settings(max_examples=25)
@given(seed=st.integers(0, 2**31), count=st.integers(6, 40), width=st.integers(1, 8))
def test_disjoint_sets_share_nothing(seed: int, count: int, width: int) -> None:
    result = neighbourhoods(cloud(count, width, seed), cloud(count, width, seed + 1, shift=1e4))
    assert as_tuple(result) == (0.0, 0.0, 0.0, 0.0)


@settings(max_examples=25)
@given(seed=st.integers(0, 2**31), n=st.integers(6, 40), m=st.integers(6, 40))
def test_precision_and_recall_swap_with_the_sets(seed: int, n: int, m: int) -> None:
    a, b = cloud(n, 2, seed), cloud(m, 2, seed + 1)
    one, other = neighbourhoods(a, b), neighbourhoods(b, a)
    assert (one.precision, one.recall) == (other.recall, other.precision)
    assert frechet_distance(a, b) == pytest.approx(frechet_distance(b, a), rel=1e-9, abs=1e-9)


def test_equal_distributions_have_the_expected_density_and_coverage() -> None:
    # Naeem et al., 2020: density is expected to be 1, coverage 1 - 2^-k for equally many, many points.
    result = neighbourhoods(cloud(1500, seed=3), cloud(1500, seed=4))
    assert result.density == pytest.approx(1.0, abs=0.05)
    assert result.coverage == pytest.approx(1 - 2**-5, abs=0.02)


def test_copies_of_one_point_have_radius_zero_and_still_find_themselves() -> None:
    points = torch.full((8, 4), 0.1)
    assert as_tuple(neighbourhoods(points, points)) == (1.0, 1.0, 8 / 5, 1.0)
    assert frechet_distance(points, points) == pytest.approx(0.0, abs=1e-12)


def test_collapse_keeps_precision_and_loses_recall_and_coverage() -> None:
    real = cloud(300, seed=5)
    collapsed = real[:1] + 1e-3 * cloud(300, seed=6)
    result = neighbourhoods(real, collapsed)
    assert result.precision == 1.0
    assert result.recall < 0.05
    assert result.coverage < 0.1


def test_frechet_distance_of_gaussians_that_commute() -> None:
    mean_1, mean_2 = torch.tensor([1.0, 2.0]).double(), torch.tensor([4.0, -2.0]).double()
    covariance_1, covariance_2 = (
        torch.diag(torch.tensor([4.0, 9.0])).double(),
        torch.diag(torch.tensor([1.0, 16.0])).double(),
    )
    # |(3, -4)|² + (2-1)² + (3-4)²
    assert gaussian_frechet_distance(mean_1, covariance_1, mean_2, covariance_2) == pytest.approx(27.0, abs=1e-12)


def test_frechet_distance_of_gaussians_that_do_not_commute() -> None:
    # In two dimensions the trace of the root of P = Σ₁Σ₂ is sqrt(tr P + 2 sqrt(det P)).
    covariance_1 = torch.tensor([[2.0, 0.8], [0.8, 1.0]]).double()
    covariance_2 = torch.tensor([[1.0, -0.6], [-0.6, 3.0]]).double()
    product = covariance_1 @ covariance_2
    cross = math.sqrt(float(product.trace()) + 2 * math.sqrt(float(torch.linalg.det(product))))
    expected = float(covariance_1.trace() + covariance_2.trace()) - 2 * cross
    mean = torch.zeros(2).double()
    assert gaussian_frechet_distance(mean, covariance_1, mean, covariance_2) == pytest.approx(expected, rel=1e-12)


def test_frechet_distance_of_samples_is_that_of_their_moments() -> None:
    # In one dimension: (μ₁ - μ₂)² + (s₁ - s₂)², with s² the unbiased variance.
    real, synthetic = torch.tensor([[0.0], [2.0]]), torch.tensor([[10.0], [10.0], [16.0]])
    expected = (1 - 12) ** 2 + (math.sqrt(2) - math.sqrt(12)) ** 2
    assert frechet_distance(real, synthetic) == pytest.approx(expected, rel=1e-12)


@settings(max_examples=25)
@given(seed=st.integers(0, 2**31), n=st.integers(2, 12), m=st.integers(2, 12), width=st.integers(1, 30))
def test_frechet_distance_is_finite_where_covariances_are_singular(seed: int, n: int, m: int, width: int) -> None:
    real, synthetic = cloud(n, width, seed), cloud(m, width, seed + 1)
    between_means = float((real.double().mean(0) - synthetic.double().mean(0)).square().sum())
    distance = frechet_distance(real, synthetic)
    assert math.isfinite(distance)
    assert distance >= between_means - 1e-6


def test_a_shift_adds_its_square() -> None:
    real = cloud(200, width=4).double()
    assert frechet_distance(real, real + 0.5) == pytest.approx(4 * 0.25, abs=1e-9)


def test_the_inputs_are_left_alone() -> None:
    real, synthetic = cloud(20, seed=1), cloud(20, seed=2)
    copies = real.clone(), synthetic.clone()
    neighbourhoods(real, synthetic)
    frechet_distance(real, synthetic)
    assert torch.equal(real, copies[0])
    assert torch.equal(synthetic, copies[1])


@pytest.mark.parametrize(
    ("real", "synthetic", "says"),
    [
        (cloud(5), cloud(9), "real features: come from too few images; give at least 6"),
        (cloud(9), cloud(5), "synthetic features: come from too few images; give at least 6"),
        (cloud(9), cloud(9, width=4), "synthetic features: are not one row"),
        (cloud(9)[0], cloud(9), "real features: are not one row"),
        (cloud(9), torch.full((9, 3), float("nan")), "synthetic features: are not finite"),
        (torch.full((9, 3), float("inf")), cloud(9), "real features: are not finite"),
    ],
)
def test_bad_features_are_refused(real: Tensor, synthetic: Tensor, says: str) -> None:
    with pytest.raises(DataError, match=says):
        neighbourhoods(real, synthetic)


def test_one_image_has_no_covariance() -> None:
    with pytest.raises(DataError, match="at least 2"):
        frechet_distance(cloud(1), cloud(9))
