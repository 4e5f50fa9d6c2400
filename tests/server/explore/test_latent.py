"""Paths through latent space keep to likely lengths, and main directions are those in which images change most."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from silogan.common.modality.image import ImageSchema
from silogan.common.models.networks.gaussians import ClassGaussians
from silogan.server.explore import latent
from silogan.server.explore.latent import between, jacobian, main_directions
from silogan.server.explore.subject import Subject

SCHEMA = ImageSchema(8, 1, ("zero", "one"))
FREQUENCIES, LENGTHS = 3, (0.05, 0.03, 0.02)


def axes(seed: int = 0) -> Tensor:
    """An orthonormal basis float32[9, 9] of spectra."""
    drawn = torch.randn(FREQUENCIES**2, FREQUENCIES**2, generator=torch.Generator().manual_seed(seed))
    return torch.linalg.qr(drawn).Q


def gaussians(cells: int = 1) -> Subject:
    """Gaussians whose class 1 has three axes of known lengths in all cells, class 0 none."""
    network = ClassGaussians(SCHEMA, FREQUENCIES, cells)
    turned = axes(1)  # the latent vector's own axes are others than those of the covariance
    root = axes() * torch.tensor([*LENGTHS, *[0.0] * 6]) @ turned
    network.roots[cells:] = root
    network.means[cells:, 0] = torch.linspace(0, 0.3, cells)
    return Subject(network.eval(), SCHEMA)


@given(
    st.integers(0, 2**32),
    st.integers(2, 64),
    st.integers(2, 20),
)
def test_interpolation_joins_both_ends_and_never_falls_short_of_the_shorter(seed: int, length: int, steps: int) -> None:
    start, end = torch.randn(2, length, generator=torch.Generator().manual_seed(seed)).double()
    path = between(start, end, steps)
    assert path.shape == (steps, length)
    assert torch.allclose(path[0], start, atol=1e-6)
    assert torch.allclose(path[-1], end, atol=1e-6)
    cosine = torch.nn.functional.cosine_similarity(start, end, dim=0)
    if cosine >= 0:  # within a right angle the sphere's arc is above the shorter end
        assert path.norm(dim=1).min() >= min(start.norm(), end.norm()) - 1e-6


def test_equal_lengths_stay_and_angles_grow_evenly() -> None:
    start, end = torch.tensor([2.0, 0.0]), torch.tensor([0.0, 2.0])
    path = between(start, end, 4)
    expected = [(2 * math.cos(angle), 2 * math.sin(angle)) for angle in torch.linspace(0, math.pi / 2, 4).tolist()]
    assert torch.allclose(path, torch.tensor(expected), atol=1e-6)


@pytest.mark.parametrize("end", [[1.0, 0.0], [-1.0, 0.0], [3.0, 0.0]])
def test_parallel_vectors_are_joined_by_a_line(end: list[float]) -> None:
    start, other = torch.tensor([1.0, 0.0]), torch.tensor(end)
    assert torch.allclose(between(start, other, 3)[1], (start + other) / 2)


@pytest.mark.parametrize("cells", [1, 4])
def test_directions_of_gaussians_are_the_axes_of_their_covariance(cells: int) -> None:
    subject = gaussians(cells)
    found = main_directions(subject, 1, 3)
    assert torch.allclose(found.norm(dim=1), torch.ones(3), atol=1e-5)
    assert not found[:, FREQUENCIES**2 :].any()  # the number that decides on the cell moves nothing
    moved = found[:, : FREQUENCIES**2] @ subject.network.get_buffer("roots")[-1].T
    assert torch.allclose(moved.norm(dim=1), torch.tensor(LENGTHS), atol=1e-5)
    alike = (moved / moved.norm(dim=1, keepdim=True) @ axes()[:, :3]).abs()
    assert torch.allclose(alike, torch.eye(3), atol=1e-3)


def test_along_each_direction_the_image_becomes_brighter() -> None:
    subject = gaussians()
    change = main_directions(subject, 1, 3) @ jacobian(subject, 1).T
    assert (change.sum(dim=1) >= 0).all()


def test_a_class_that_never_changes_has_directions_all_the_same() -> None:
    assert main_directions(gaussians(), 0, 3).isfinite().all()


def test_parts_do_not_change_the_jacobian(monkeypatch: pytest.MonkeyPatch) -> None:
    subject = gaussians()
    whole = jacobian(subject, 1)
    monkeypatch.setattr(latent, "_NUMBERS_AT_ONCE", 7 * 64)
    assert whole.shape == (64, FREQUENCIES**2)
    assert torch.allclose(jacobian(subject, 1), whole)


def test_large_images_are_judged_by_fewer_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latent, "_SEEN", 4)
    assert jacobian(gaussians(), 1).shape == (16, FREQUENCIES**2)
