"""Class Gaussians are those of the moments that they are fitted to, and draw what they describe."""

import math

import pytest
import torch

from silogan.common.config.scenario import parse_scenario
from silogan.common.modality.image import ImageSchema
from silogan.common.modality.image_features import Spectrum
from silogan.common.modality.image_options import Gaussians
from silogan.common.models.networks import build
from silogan.common.models.weights import Weights, networks, under, weights_of
from silogan.common.privacy.plan import make_plan
from silogan.common.privacy.statistics.centred import CentredMoments, Covariances
from silogan.common.wire.study import SiteDeclaration, Study
from silogan.server.fitting.gaussians import choose_edge, cuts_of, gaussian_weights

SCHEMA = ImageSchema(8, 1, ("a", "b"))
MODEL = Gaussians(frequencies=3)
SPECTRUM = Spectrum(SCHEMA.shape, 3)
D = SPECTRUM.dimensions


def covariances(noise: float = 0.0, seed: int = 0) -> Covariances:
    """Of two classes of which the second alone varies along the last direction, with the noise of a release."""
    rng = torch.Generator().manual_seed(seed)
    matrices = torch.stack([0.01 * torch.eye(D), 0.01 * torch.eye(D)]).double()
    matrices[1, -1, -1] += 0.05
    added = torch.randn(2, D, D, generator=rng, dtype=torch.float64) * noise
    upper = added.triu()
    means = torch.randn(2, D, generator=rng, dtype=torch.float64) * 0.05
    symmetric = upper + upper.triu(1).mT
    counts, spread = torch.tensor([50.0, 70.0]).double(), torch.full((2,), noise).double()
    return Covariances(counts, means, matrices + symmetric, spread)


@pytest.mark.parametrize("edge", [0.0, 0.5, 1.0])
def test_without_noise_the_roots_are_those_of_the_covariances(edge: float) -> None:
    found, weights = covariances(), SPECTRUM.weights
    fitted = gaussian_weights(found, weights, edge)
    roots = fitted["generator.roots"].double() * weights.unsqueeze(1)
    torch.testing.assert_close(roots @ roots.mT, found.matrices, rtol=1e-4, atol=1e-7)
    torch.testing.assert_close(fitted["generator.means"].double(), found.means, rtol=1e-6, atol=1e-8)


def test_an_edge_leaves_out_what_noise_alone_could_show() -> None:
    """Noise as large as the covariance: with an edge a class has the shared directions or fewer, without it all."""
    found = covariances(noise=0.01)
    ranks = {
        edge: torch.linalg.matrix_rank(gaussian_weights(found, SPECTRUM.weights, edge)["generator.roots"], rtol=1e-4)
        for edge in (0.0, 1.0)
    }
    assert (ranks[1.0] < ranks[0.0]).all()


def test_the_generator_draws_what_the_fit_describes() -> None:
    fitted = gaussian_weights(covariances(), SPECTRUM.weights, 0.0)
    fitted = {**fitted, "generator.roots": fitted["generator.roots"] * 0.1}  # no pixel is clamped
    gan = networks(MODEL, SCHEMA, fitted)
    labels = torch.arange(20_000) % 2
    z = torch.randn(len(labels), D, generator=torch.Generator().manual_seed(0))
    f = SPECTRUM.of(gan.generator(z, labels)).double()
    for label in range(2):
        root = fitted["generator.roots"][label].double()
        drawn = f[labels == label]
        torch.testing.assert_close(drawn.mean(dim=0), fitted["generator.means"][label].double(), rtol=0.02, atol=2e-3)
        expected = root @ root.T
        assert (torch.cov(drawn.T) - expected).norm() < 0.1 * expected.norm()


def curved(count: int) -> torch.Tensor:
    """Spectra along a half circle: their mean is where none of them is."""
    angle = torch.rand(count, generator=torch.Generator().manual_seed(4)) * math.pi
    f = 0.002 * torch.randn(count, D, generator=torch.Generator().manual_seed(5))
    f[:, 1], f[:, 2] = f[:, 1] + 0.1 * angle.cos(), f[:, 2] + 0.1 * angle.sin()
    return f


def test_cells_follow_a_class_that_is_curved() -> None:
    schema = ImageSchema(8, 1, ("a",))
    f = curved(8000)
    images, labels = SPECTRUM.back(f), torch.zeros(len(f), dtype=torch.int64)
    around = {"centres": f.mean(dim=0, keepdim=True), "radius": torch.tensor(1.0)}

    def fitted(cells: int, sent: Weights) -> tuple[Covariances, torch.Tensor]:
        of = CentredMoments(schema, SPECTRUM, sent, cells)
        total = torch.zeros(of.slots, of.width, dtype=torch.float64).index_add_(0, *of.placed(images, labels))
        found = of.covariances(total.flatten(), 1e-6)
        weights = gaussian_weights(found, SPECTRUM.weights, 0.0, cells)
        generator = networks(Gaussians(frequencies=3, cells=cells), schema, weights).generator
        z = torch.randn(4000, generator.latent_dim, generator=torch.Generator().manual_seed(6))
        return found, SPECTRUM.of(generator(z, labels[:4000]))

    whole, drawn = fitted(1, around)
    cuts = cuts_of(whole, around["centres"].double(), 1.0, SPECTRUM.weights, 4)
    cells, drawn_by_cell = fitted(4, {**around, **cuts})
    assert (cells.counts > 500).all()  # the longest axis is cut in halves, and each half again
    off_the_curve, off_by_cell = ((one[:, 1:3].norm(dim=1) - 0.1).abs().mean() for one in (drawn, drawn_by_cell))
    assert off_by_cell < 0.5 * off_the_curve


def test_cells_are_as_likely_as_their_records() -> None:
    found = covariances()
    uneven = Covariances(torch.tensor([10.0, 30.0]).double(), found.means, found.matrices, found.noise)
    generator = networks(
        Gaussians(frequencies=3, cells=2),
        ImageSchema(8, 1, ("a",)),
        gaussian_weights(uneven, SPECTRUM.weights, 0.0, 2),
    ).generator
    generator.roots.zero_()
    z = torch.randn(8000, generator.latent_dim, generator=torch.Generator().manual_seed(7))
    f = SPECTRUM.of(generator(z, torch.zeros(8000, dtype=torch.int64)))
    first = (f - found.means[0]).norm(dim=1) < (f - found.means[1]).norm(dim=1)
    assert float(first.double().mean()) == pytest.approx(0.25, abs=0.02)


def test_fresh_weights_are_what_a_fit_replaces() -> None:
    fresh = weights_of(build(MODEL, SCHEMA))
    fitted = gaussian_weights(covariances(), SPECTRUM.weights, 1.0)
    assert {name: (tensor.shape, tensor.dtype) for name, tensor in fresh.items()} == {
        name: (tensor.shape, tensor.dtype) for name, tensor in fitted.items()
    }


def test_the_edge_is_chosen_that_teaches_best_in_the_worst_case(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two classes that differ in brightness a little: whoever learns from grain that hides it finds nothing."""
    scenario = parse_scenario({"name": "edge", "seed": 1, "model": MODEL.model_dump(), "training": {"rounds": 0}})
    study = Study(scenario, SCHEMA, make_plan(scenario), (SiteDeclaration("a", 100),))
    monkeypatch.setattr("silogan.server.fitting.gaussians._TAUGHT", 400)
    monkeypatch.setattr("silogan.server.fitting.gaussians._TESTED", 200)
    means = torch.zeros(2, D)
    means[:, 0] = torch.tensor([-0.3, 0.3])

    def fit(grain: float) -> dict[str, torch.Tensor]:
        roots = (grain * torch.eye(D)).expand(2, D, D).contiguous()
        fresh = weights_of(build(MODEL, SCHEMA))
        return {**fresh, **under("generator", {"means": means, "roots": roots})}

    assert choose_edge(study, {1.0: fit(0.02), 0.0: fit(1.0)}) == 1.0
    assert choose_edge(study, {1.0: fit(0.05), 0.0: fit(0.05)}) == 1.0


def test_a_generator_without_labels_says_so() -> None:
    gan = build(MODEL, SCHEMA)
    with pytest.raises(ValueError, match="needs labels"):
        gan.generator(torch.zeros(2, D), None)
    assert gan.discriminator(torch.zeros(2, *SCHEMA.shape), None).tolist() == [0.0, 0.0]
