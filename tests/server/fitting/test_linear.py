"""The linear classifier of a release: that of scikit-learn without noise, and of use where records are few."""

import torch
from sklearn.datasets import load_digits
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from silogan.common.modality.image import ImageSchema
from silogan.common.modality.image_features import Spectrum
from silogan.common.privacy.statistics import CentredMoments
from silogan.common.privacy.statistics.centred import Covariances
from silogan.server.fitting.gaussians import cuts_of
from silogan.server.fitting.linear import discriminant

SCHEMA = ImageSchema(8, 1, tuple("0123456789"))
SPECTRUM = Spectrum(SCHEMA.shape, 8)
AROUND = {"centres": torch.zeros(10, 64), "radius": torch.tensor(50.0)}


def digits() -> tuple[torch.Tensor, torch.Tensor]:
    pixels, labels = load_digits(return_X_y=True)
    return torch.tensor(pixels / 8 - 1).float().view(-1, 1, 8, 8), torch.tensor(labels).long()


def moments(images: torch.Tensor, labels: torch.Tensor, noise: float, cells: int = 1) -> Covariances:
    sent = AROUND
    if cells > 1:
        whole = moments(images, labels, noise)
        sent = {**AROUND, **cuts_of(whole, torch.zeros(10, 64).double(), 50.0, SPECTRUM.weights, cells)}
    of = CentredMoments(SCHEMA, SPECTRUM, sent, cells)
    total = torch.zeros(of.slots, of.width, dtype=torch.float64).index_add_(0, *of.placed(images, labels)).flatten()
    rng = torch.Generator().manual_seed(1)
    return of.covariances(total + noise * torch.randn(total.shape, generator=rng, dtype=torch.float64), noise)


def right(fitted: dict[str, torch.Tensor], images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    logits = SPECTRUM.of(images) @ fitted["directions"].T + fitted["offsets"]
    return (logits.argmax(dim=1) == labels).float().mean()


def test_without_noise_it_is_fishers() -> None:
    images, labels = digits()
    f = (SPECTRUM.weights * SPECTRUM.of(images).double()).numpy()
    theirs = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=1e-9).fit(f[:1200], labels[:1200])
    expected = float(theirs.score(f[1200:], labels[1200:]))
    for cells in (1, 4):  # classes that are cut have the same moments as a whole
        fitted = discriminant(moments(images[:1200], labels[:1200], 0.0, cells), SPECTRUM.weights, cells)
        assert abs(float(right(fitted, images[1200:], labels[1200:])) - expected) < 0.01
    assert expected > 0.88


def test_directions_that_noise_hides_count_for_little() -> None:
    """With as much noise as fifty records, a classifier that trusts every direction does worse."""
    images, labels = digits()
    sent = {"centres": AROUND["centres"], "radius": torch.tensor(1.0)}
    of = CentredMoments(SCHEMA, SPECTRUM, sent)
    total = torch.zeros(of.slots, of.width, dtype=torch.float64)
    total.index_add_(0, *of.placed(images[:1200], labels[:1200]))
    rng = torch.Generator().manual_seed(1)
    noisy = total.flatten() + torch.randn(of.size, generator=rng, dtype=torch.float64)
    trusted, untrusted = (of.covariances(noisy, known) for known in (0.0, 1.0))
    naive, careful = (
        right(discriminant(found, SPECTRUM.weights, 1), images[1200:], labels[1200:]) for found in (trusted, untrusted)
    )
    assert careful > 0.8
    assert careful > naive + 0.05
