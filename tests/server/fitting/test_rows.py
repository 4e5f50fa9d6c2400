"""Rows that go with images have the marginals that were released, and depend on the images as was released."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from silogan.common.modality import Stored
from silogan.common.modality.image import PIXELS
from silogan.common.modality.image_options import Gaussians
from silogan.common.modality.joint import JointSchema
from silogan.common.modality.joint_features import JointSpectrum, seen
from silogan.common.models.networks import build
from silogan.common.models.weights import Weights, networks, weights_of
from silogan.common.privacy.statistics.centred import Covariances
from silogan.server.fitting.gaussians import gaussian_weights
from silogan.server.fitting.rows import MOST_FOLLOWED, ends, nearest_shares, of_images, row_weights, scores_between
from tests.joint import joint_records, joint_schema

MODEL = Gaussians(frequencies=4)
COUNT = 20_000


@pytest.fixture(scope="module", name="schema")
def _schema(tmp_path_factory: pytest.TempPathFactory) -> JointSchema:
    folder: Path = tmp_path_factory.mktemp("joint")
    return joint_schema(folder)


def moments(schema: JointSchema, noise: float = 0.0) -> tuple[JointSpectrum, Covariances]:
    """Those of many records of each class, with noise as a release has it."""
    spectrum = seen(schema, 4, MODEL.row_share)
    assert isinstance(spectrum, JointSpectrum)
    stored, labels = joint_records(COUNT)
    f = spectrum.of(schema.encode(stored)).double()
    parts = [f[labels == label] for label in range(2)]
    rng = torch.Generator().manual_seed(3)
    d, found = spectrum.dimensions, []
    for part in parts:
        upper = (torch.randn(d, d, generator=rng, dtype=torch.float64) * noise).triu()
        found.append(torch.cov((spectrum.weights * part).T, correction=0) + upper + upper.triu(1).mT)
    means = torch.stack([part.mean(dim=0) for part in parts])
    counts = torch.tensor([float(len(part)) for part in parts], dtype=torch.float64)
    return spectrum, Covariances(counts, means, torch.stack(found), torch.full((2,), noise, dtype=torch.float64))


def fitted(schema: JointSchema, spectrum: JointSpectrum, found: Covariances) -> Weights:
    images = gaussian_weights(of_images(found, spectrum), spectrum.spectrum.weights, 0.0)
    return {**images, **row_weights(found, spectrum, schema, images)}


def drawn(schema: JointSchema, weights: Weights) -> tuple[Stored, Tensor]:
    generator, labels = networks(MODEL, schema, weights, ("generator",)).generator, torch.arange(COUNT) % 2
    z = torch.randn(COUNT, generator.latent_dim, generator=torch.Generator().manual_seed(1))
    return schema.decode(generator(z, labels)), labels


def test_marginals_are_those_released_however_strong_the_dependence(schema: JointSchema) -> None:
    spectrum, found = moments(schema)
    stronger = found.matrices.clone()
    d = spectrum.image.dimensions
    stronger[:, :d, d:] *= 10  # more than any record could show: it is cut where images would say all of a row
    stronger[:, d:, :d] *= 10
    for matrices in (found.matrices, stronger):
        weights = fitted(schema, spectrum, Covariances(found.counts, found.means, matrices, found.noise))
        told = weights["generator.follows"].square().sum(dim=2)
        assert float(told.max()) <= MOST_FOLLOWED + 1e-5
        stored, labels = drawn(schema, weights)
        cells = schema.encode(stored)[:, -schema.row.shape[0] :][:, : schema.row.cells]
        for label in range(2):
            released = found.means[label, d:] / spectrum.row_scale
            seen_shares = cells[labels == label].double().mean(dim=0)
            assert float((seen_shares - released).abs().max()) < 0.02  # four standard errors of 10,000 rows


def test_columns_depend_on_the_image_as_real_ones_do(schema: JointSchema) -> None:
    spectrum, found = moments(schema)
    real, real_labels = joint_records(COUNT)
    made, labels = drawn(schema, fitted(schema, spectrum, found))
    for name in ("sex", "stage", "dose"):
        wanted, got = (_correlation(one, name, of) for one, of in ((real, real_labels), (made, labels)))
        assert got == pytest.approx(wanted, abs=0.06), name
    assert _correlation(real, "stage", real_labels) > 0.4
    for one in (real, made):  # a value without order lies between the two others all the same
        tilt = one[PIXELS][..., 4:].double().mean(dim=(1, 2, 3)) - one[PIXELS][..., :4].double().mean(dim=(1, 2, 3))
        left, right, both = (float(tilt[one["side"] == value].mean()) for value in range(3))
        assert left < both - 5
        assert both + 5 < right


def test_columns_depend_on_each_other_as_real_ones_do(schema: JointSchema) -> None:
    spectrum, found = moments(schema)
    real, _ = joint_records(COUNT)
    made, _ = drawn(schema, fitted(schema, spectrum, found))

    def both(stored: Stored) -> float:
        known = ~stored["dose"].isnan()
        return float(np.corrcoef(stored["stage"][known].numpy(), stored["dose"][known].numpy())[0, 1])

    assert both(real) > 0.3
    assert both(made) == pytest.approx(both(real), abs=0.06)


def test_noise_alone_is_not_followed(schema: JointSchema) -> None:
    """Where rows and images are independent, noise as large as in a release makes a row follow next to nothing."""
    spectrum, found = moments(schema, noise=1e-5)
    d, matrices = spectrum.image.dimensions, found.matrices.clone()
    rng = torch.Generator().manual_seed(0)
    matrices[:, d:, :d] = 1e-5 * torch.randn(2, len(spectrum.weights) - d, d, generator=rng, dtype=torch.float64)
    weights = fitted(schema, spectrum, Covariances(found.counts, found.means, matrices, found.noise))
    assert float(weights["generator.follows"].square().sum(dim=2).max()) < 0.05


def test_fresh_weights_are_what_a_fit_replaces(schema: JointSchema) -> None:
    fresh, (spectrum, found) = weights_of(build(MODEL, schema)), moments(schema)
    weights = fitted(schema, spectrum, found)
    assert {name: (part.shape, part.dtype) for name, part in weights.items()} == {
        name: (part.shape, part.dtype) for name, part in fresh.items()
    }


@pytest.mark.parametrize("noisy", [[0.5, 0.5], [1.2, -0.2], [-0.1, 0.3, 0.5], [0.0, 0.0], [2.0, 2.0, -5.0]])
def test_noisy_frequencies_become_shares(noisy: list[float]) -> None:
    shares = nearest_shares(torch.tensor(noisy, dtype=torch.float64))
    assert float(shares.min()) >= 0
    assert float(shares.sum()) == pytest.approx(1)
    assert torch.equal(shares.argsort(), torch.tensor(noisy).argsort()) or len(shares.unique()) < len(shares)


def test_scores_undo_what_cutting_takes_away() -> None:
    """Cov(x, s) of cells and any x is Cov(x, v): here of x = 0.6 v + noise."""
    lower, upper = ends(torch.tensor([0.2, 0.1, 0.0, 0.7], dtype=torch.float64), torch.tensor([3, 0, 2, 1]))
    scores = scores_between(lower, upper)
    v, other = torch.randn(2, 400_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    share = torch.special.ndtr(v).unsqueeze(1)
    cells = ((lower <= share) & (share < upper)).double()
    assert (cells.sum(dim=1) == 1).all()
    x = 0.6 * v + 0.8 * other
    assert float((x * (cells @ scores)).mean()) == pytest.approx(0.6, abs=0.01)


def _correlation(stored: Stored, name: str, labels: Tensor) -> float:
    """Of a column and the brightness, within classes."""
    values, brightness = stored[name].clone(), stored[PIXELS].double().mean(dim=(1, 2, 3))
    known = ~values.isnan()
    values, brightness, labels = values[known], brightness[known], labels[known]
    for label in range(2):
        there = labels == label
        values[there] -= values[there].mean()
        brightness[there] -= brightness[there].mean()
    return float(np.corrcoef(values.numpy(), brightness.numpy())[0, 1])
