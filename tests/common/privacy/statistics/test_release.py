"""Class means, and second moments around them: bounded whatever was sent, and read back as what they are of."""

import math
from collections.abc import Mapping

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from silogan.common.config.scenario import Scenario, parse_scenario
from silogan.common.modality.image import ImageSchema
from silogan.common.modality.image_features import Spectrum
from silogan.common.privacy.plan import CELLS, MEANS, MOMENTS, STATISTICS
from silogan.common.privacy.statistics import RELEASES, CentredMoments, Means, Statistic
from silogan.common.privacy.statistics.base import LARGEST

CLASSES = ("a", "b", "c")
SCHEMA = ImageSchema(8, 1, CLASSES)
SPECTRUM = Spectrum(SCHEMA.shape, 4)
ROUNDING = 1e-6
LARGEST_FLOAT = torch.finfo(torch.float32).max


def images_like(seed: int, count: int = 1, shape: tuple[int, ...] = SCHEMA.shape) -> Tensor:
    """Noise, black and white noise, or all white."""
    rng = torch.Generator().manual_seed(seed)
    noise = torch.rand(count, *shape, generator=rng) * 2 - 1
    return (noise, noise.sign(), torch.ones_like(noise))[seed % 3]


def sent(centres: Tensor, radius: float) -> dict[str, Tensor]:
    return {"centres": centres.float(), "radius": torch.tensor(radius, dtype=torch.float32)}


def cuts(seed: int, scale: float = 1.0, classes: int = 3, bits: int = 2, d: int = 16) -> dict[str, Tensor]:
    rng = torch.Generator().manual_seed(seed)
    directions, levels = torch.randn(classes, bits, d, generator=rng), torch.randn(classes, bits, generator=rng) / 1000
    return {"cuts": (directions * scale).clamp(-LARGEST_FLOAT, LARGEST_FLOAT), "levels": levels}


def total(of: Statistic, images: Tensor, labels: Tensor) -> Tensor:
    empty = torch.zeros(of.slots, of.width, dtype=torch.float64)
    return empty.index_add_(0, *of.placed(images, labels)).flatten()


@given(st.integers(0, 2**32 - 1), st.sampled_from([(1, 8, 8), (3, 8, 8), (1, 28, 28)]), st.integers(2, 28))
def test_no_record_adds_more_than_allowed_to_the_means(seed: int, shape: tuple[int, int, int], kept: int) -> None:
    of = Means(ImageSchema(shape[1], shape[0], CLASSES), Spectrum(shape, min(kept, shape[1])))
    (row,) = of.rows(images_like(seed, shape=shape), torch.tensor([seed % 3]))
    assert row.shape == (of.width,)
    assert 0 < float(row.norm()) <= LARGEST + ROUNDING


@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([0.0, 1e-38, 1.0, 1e6, LARGEST_FLOAT]),
    st.sampled_from([1e-45, 1e-38, 1e-3, 1.0, LARGEST_FLOAT]),
)
def test_no_record_adds_more_than_allowed_whatever_centres_and_radius_were_sent(
    seed: int, scale: float, radius: float
) -> None:
    rng = torch.Generator().manual_seed(seed)
    centres = (torch.rand(3, SPECTRUM.dimensions, generator=rng) * 2 - 1) * scale
    of = CentredMoments(SCHEMA, SPECTRUM, sent(centres, radius))
    (row,) = of.rows(images_like(seed), torch.tensor([seed % 3]))
    assert row.isfinite().all()
    assert 0 < float(row.norm()) <= LARGEST + ROUNDING


@given(st.integers(0, 2**32 - 1), st.sampled_from([0.0, 1e-45, 1.0, LARGEST_FLOAT]))
def test_a_record_is_in_one_cell_of_its_class_whatever_cuts_were_sent(seed: int, scale: float) -> None:
    of = CentredMoments(SCHEMA, SPECTRUM, {**sent(torch.zeros(3, 16), 0.5), **cuts(seed, scale)}, 4)
    images, labels = images_like(seed, 30), torch.arange(30) % 3
    places, rows = of.placed(images, labels)
    assert torch.equal(places // 4, labels)
    assert rows.isfinite().all()
    assert float(rows.norm(dim=1).max()) <= LARGEST + ROUNDING
    assert of.slots == 12


def test_cells_are_the_sides_of_their_cuts() -> None:
    given_cuts = cuts(3)
    of = CentredMoments(SCHEMA, SPECTRUM, {**sent(torch.zeros(3, 16), 100.0), **given_cuts}, 4)
    images, labels = images_like(0, 200), torch.arange(200) % 3
    g = SPECTRUM.weights * SPECTRUM.of(images).double() / 100
    sides = (given_cuts["cuts"][labels].double() @ g.unsqueeze(2)).squeeze(2) > given_cuts["levels"][labels]
    places, _ = of.placed(images, labels)
    assert torch.equal(places, labels * 4 + sides[:, 0].long() + 2 * sides[:, 1].long())
    assert len(places.unique()) > 3


def test_moments_of_cells_are_those_of_their_records() -> None:
    of = CentredMoments(SCHEMA, SPECTRUM, {**sent(torch.zeros(3, 16), 100.0), **cuts(3)}, 4)
    images, labels = images_like(0, 600), torch.arange(600) % 3
    found, (places, _) = of.covariances(total(of, images, labels), noise=0.0), of.placed(images, labels)
    for place in places.unique().tolist():
        f = SPECTRUM.of(images[places == place]).double()
        assert float(found.counts[place]) == pytest.approx(len(f))
        torch.testing.assert_close(found.means[place], f.mean(dim=0), rtol=1e-4, atol=1e-6)
        spread = torch.cov((SPECTRUM.weights * f).T, correction=0) if len(f) > 1 else torch.zeros(16, 16).double()
        torch.testing.assert_close(found.matrices[place], spread, rtol=1e-3, atol=1e-5)


@given(st.integers(0, 2**32 - 1), st.integers(2, 5))
def test_what_is_released_does_not_depend_on_who_holds_which_records(seed: int, hospitals: int) -> None:
    """Label skew, one class a hospital, an empty one: the sums over the hospitals are the same."""
    rng = torch.Generator().manual_seed(seed)
    images, labels = images_like(seed, 40), torch.randint(3, (40,), generator=rng)
    around = sent(torch.zeros(3, 16), 0.5)
    for of in (
        Means(SCHEMA, SPECTRUM),
        CentredMoments(SCHEMA, SPECTRUM, around),
        CentredMoments(SCHEMA, SPECTRUM, {**around, **cuts(seed)}, 4),
    ):
        whole = total(of, images, labels)
        for held in (torch.randint(hospitals, (40,), generator=rng), labels):
            parts = [total(of, images[held == hospital], labels[held == hospital]) for hospital in range(hospitals + 1)]
            torch.testing.assert_close(torch.stack(parts).sum(dim=0), whole, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("missing", ["cuts", "levels"])
def test_cuts_that_are_none_are_refused(missing: str) -> None:
    whole = {**sent(torch.zeros(3, 16), 1.0), **cuts(0)}
    CentredMoments(SCHEMA, SPECTRUM, whole, 4)
    for wrong in (torch.full_like(whole[missing], math.nan), whole[missing].double(), whole[missing][:2]):
        with pytest.raises(ValueError, match="are not"):
            CentredMoments(SCHEMA, SPECTRUM, {**whole, missing: wrong}, 4)
    with pytest.raises(ValueError, match="are not centres, radius, cuts, levels"):
        CentredMoments(SCHEMA, SPECTRUM, {name: whole[name] for name in whole.keys() - {missing}}, 4)
    with pytest.raises(ValueError, match="are not centres, radius"):
        CentredMoments(SCHEMA, SPECTRUM, whole)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"radius": torch.tensor(0.0)}, "have no radius"),
        ({"radius": torch.tensor(-1.0)}, "have no radius"),
        ({"radius": torch.tensor(math.nan)}, "are not finite"),
        ({"centres": torch.full((3, 16), math.inf)}, "are not finite"),
        ({"centres": torch.zeros(3, 16, dtype=torch.float64)}, "are not finite"),
        ({"centres": torch.zeros(2, 16)}, "are not centres, radius"),
        ({"radius": torch.ones(1)}, "are not centres, radius"),
        ({"more": torch.zeros(1)}, "are not centres, radius"),
    ],
)
def test_centres_that_are_none_are_refused(change: Mapping[str, Tensor], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        CentredMoments(SCHEMA, SPECTRUM, {**sent(torch.zeros(3, 16), 1.0), **change})


def scenario() -> Scenario:
    return parse_scenario({
        "name": "release",
        "model": {"family": "gaussians", "frequencies": 4},
        "training": {"rounds": 0},
    })  # fmt: skip


@pytest.mark.parametrize("name", [STATISTICS, MEANS, MOMENTS, CELLS])
def test_what_a_phase_does_not_need_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="not"):
        RELEASES[name](scenario(), SCHEMA, {"generator.means": torch.zeros(1)})


def test_without_noise_the_centres_are_the_means_and_the_radius_is_the_spread() -> None:
    images, labels = torch.cat([images_like(3 * seed, 50) for seed in range(3)]), torch.arange(150) % 3
    of = Means(SCHEMA, SPECTRUM)
    found = of.centres(total(of, images, labels), noise=0.0)
    f = SPECTRUM.of(images).double()
    means = torch.stack([f[labels == label].mean(dim=0) for label in range(3)])
    torch.testing.assert_close(found.centres, means, rtol=1e-5, atol=1e-8)
    torch.testing.assert_close(found.counts, torch.full((3,), 50.0, dtype=torch.float64))
    spread = (SPECTRUM.weights * (f - means[labels])).square().sum(dim=1).mean().sqrt()
    assert found.radius == pytest.approx(float(spread), rel=1e-4)


def test_the_square_of_the_radius_is_never_below_its_own_noise() -> None:
    """A quarter of all draws would find no spread here, and leave nothing of what tells records apart."""
    images, labels = images_like(0, 3000), torch.arange(3000) % 3
    of, rng = Means(SCHEMA, SPECTRUM), torch.Generator().manual_seed(3)
    exact = total(of, images, labels)

    def squares(noise: float, told: float) -> Tensor:
        noisy = (exact + noise * torch.randn(len(exact), dtype=torch.float64, generator=rng) for _ in range(200))
        return torch.tensor([of.centres(one, told).radius ** 2 for one in noisy]).double()

    assert float(squares(60.0, told=0.0).quantile(0.25)) == pytest.approx(1e-4)
    deviation_per_noise = float(squares(0.01, told=0.0).std()) / 0.01
    assert squares(60.0, told=60.0).min() > 0.5 * 60.0 * deviation_per_noise  # half: its count is noisy too


def test_a_class_that_noise_hides_is_drawn_to_everybodys_mean() -> None:
    images, labels = images_like(0, 100), torch.zeros(100, dtype=torch.int64)
    labels[:2] = 1
    of = Means(SCHEMA, SPECTRUM)
    noisy = total(of, images, labels)
    noisy += 3 * torch.randn(noisy.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    found = of.centres(noisy, noise=3.0)
    everybody = (found.counts / found.counts.sum()) @ found.centres
    apart = (found.centres - everybody).norm(dim=1)
    by_noise = math.sqrt(SPECTRUM.dimensions) * 3.0 / 0.9 / found.counts  # 0.9: a record's mean counts for so much
    assert (apart[1:] < by_noise[1:] / 3).all()
    assert found.counts.min() > 0


def test_without_noise_the_covariances_are_those_of_the_records() -> None:
    images, labels = torch.cat([images_like(3 * seed, 60) for seed in range(3)]), torch.arange(180) % 3
    f = SPECTRUM.of(images).double()
    off = torch.stack([f[labels == label].mean(dim=0) for label in range(3)]) + 0.01  # a centre need not be the mean
    of = CentredMoments(SCHEMA, SPECTRUM, sent(off, 100.0))  # nobody is shortened
    found = of.covariances(total(of, images, labels), noise=0.0)
    for label in range(3):
        own = SPECTRUM.weights * f[labels == label]
        torch.testing.assert_close(found.matrices[label], torch.cov(own.T, correction=0), rtol=1e-3, atol=1e-6)
        torch.testing.assert_close(found.means[label], f[labels == label].mean(dim=0), rtol=1e-3, atol=1e-5)


def test_noise_of_a_covariance_is_as_said() -> None:
    of = CentredMoments(SCHEMA, SPECTRUM, sent(torch.zeros(3, 16), 0.5))
    images, labels = images_like(0, 3000), torch.arange(3000) % 3
    exact = total(of, images, labels)
    noisy = exact + 2 * torch.randn(exact.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    clean, found = of.covariances(exact, 0.0), of.covariances(noisy, 2.0)
    off_diagonal = ~torch.eye(16, dtype=torch.bool)
    for label in range(3):
        spread = (found.matrices[label] - clean.matrices[label])[off_diagonal].std()
        assert float(spread) == pytest.approx(float(found.noise[label]), rel=0.35)


def test_a_row_depends_on_its_record_alone() -> None:
    images, labels = images_like(0, 7), torch.tensor([0, 1, 1, 2, 0, 0, 1])
    for of in (Means(SCHEMA, SPECTRUM), CentredMoments(SCHEMA, SPECTRUM, sent(torch.zeros(3, 16), 0.1))):
        singly = torch.cat([of.rows(images[i : i + 1], labels[i : i + 1]) for i in range(7)])
        torch.testing.assert_close(of.rows(images, labels), singly, rtol=1e-6, atol=1e-9)


@given(st.integers(0, 2**32 - 1))
def test_smooth_images_come_back_from_their_spectrum(seed: int) -> None:
    f = torch.randn(4, 16, generator=torch.Generator().manual_seed(seed)) * 0.01
    torch.testing.assert_close(SPECTRUM.of(SPECTRUM.back(f)), f, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("shape", "kept"), [((1, 8, 8), 9), ((3, 64, 64), 19), ((1, 64, 64), 33)])
def test_more_frequencies_than_there_are_or_can_be_held_are_refused(shape: tuple[int, int, int], kept: int) -> None:
    with pytest.raises(ValueError, match=r"no more than 8|are above 1024"):
        Spectrum(shape, kept)
    Spectrum(shape, kept - 1)
