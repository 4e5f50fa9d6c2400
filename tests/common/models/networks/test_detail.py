"""Fine detail changes nothing of the lowest frequencies, and is that of the public image that is most alike."""

import pytest
import torch

from silogan.common.modality.image import ImageSchema, to_unit_range
from silogan.common.modality.image_features import Spectrum
from silogan.common.modality.image_options import Gaussians, Public
from silogan.common.models.networks import build, detail
from silogan.common.models.networks.detail import Detail, most_alike, pool_size


def random_images(count: int, *shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, 256, (count, *shape), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def detail_of(images: torch.Tensor, above: int) -> Detail:
    found = Detail(tuple(images.shape[1:]), above)
    found.images = images
    return found


@pytest.mark.parametrize("shape", [(1, 16, 16), (3, 12, 12)])
def test_the_lowest_frequencies_stay_as_they_were_drawn(shape: tuple[int, int, int]) -> None:
    drawn, spectrum = torch.randn(40, *shape, generator=torch.Generator().manual_seed(1)), Spectrum(shape, 4)
    shown = detail_of(random_images(20, *shape), 4)(drawn)
    torch.testing.assert_close(spectrum.of(shown), spectrum.of(drawn), rtol=1e-4, atol=1e-6)
    assert (shown - drawn).abs().max() > 0.1


def test_all_that_is_above_them_is_of_one_public_image_at_one_contrast() -> None:
    images, spectrum = random_images(20, 1, 16, 16), Spectrum((1, 16, 16), 4)
    drawn = torch.randn(5, 1, 16, 16, generator=torch.Generator().manual_seed(1))
    shown = detail_of(images, 4)(drawn)
    fine = (shown - spectrum.smooth(spectrum.of(drawn))).flatten(1)
    public = to_unit_range(images)
    known = (public - spectrum.smooth(spectrum.of(public))).flatten(1)
    alike = torch.nn.functional.cosine_similarity(fine.unsqueeze(1), known.unsqueeze(0), dim=2).max(dim=1)
    torch.testing.assert_close(alike.values, torch.ones(5))
    contrasts = fine.norm(dim=1) / known[alike.indices].norm(dim=1)
    assert ((contrasts > 0.499) & (contrasts < 2.001)).all()


def test_what_is_smooth_and_public_at_another_brightness_and_contrast_gets_its_own_detail_back() -> None:
    images, spectrum = random_images(20, 1, 16, 16), Spectrum((1, 16, 16), 4)
    public = to_unit_range(images)
    drawn = 0.2 + 0.7 * spectrum.smooth(spectrum.of(public))
    torch.testing.assert_close(detail_of(images, 4)(drawn), 0.2 + 0.7 * public, rtol=1e-4, atol=1e-4)


def test_the_nearest_is_found_over_all_contrasts() -> None:
    known = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
    places, contrasts = most_alike(torch.tensor([[1.5, 0.1], [0.1, 0.2], [0.3, 9.0]]), known)
    assert places.tolist()[::2] == [0, 1]
    torch.testing.assert_close(contrasts, torch.tensor([1.5, 0.5, 2.0]))


def test_parts_of_a_batch_do_not_change_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    found, drawn = detail_of(random_images(20, 1, 8, 8), 3), torch.randn(7, 1, 8, 8)
    whole = found(drawn)
    monkeypatch.setattr(detail, "_AT_ONCE", 2)
    torch.testing.assert_close(found(drawn), whole)


def test_before_they_are_set_public_images_add_nothing() -> None:
    found, spectrum = Detail((1, 8, 8), 3), Spectrum((1, 8, 8), 3)
    drawn = spectrum.smooth(torch.randn(4, 9) / 10)
    torch.testing.assert_close(found(drawn), drawn, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 28, 28), (3, 64, 64), (3, 256, 256)])
def test_their_size_in_a_file_is_bounded(shape: tuple[int, int, int]) -> None:
    count = pool_size(shape)
    assert 1 <= count <= 6000
    assert count * shape[0] * shape[1] * shape[2] <= 2**24


def test_a_family_without_public_images_has_none_and_one_with_them_no_more_than_its_release() -> None:
    schema = ImageSchema(8, 1, ("a", "b"))
    plain = build(Gaussians(frequencies=4), schema).generator
    assert not [name for name in plain.state_dict() if "detail" in name]
    public = Public.model_validate({"path": "public"})
    with_public = build(Gaussians(frequencies=4, public=public), schema).generator
    assert with_public.state_dict()["detail.images"].shape == (6000, 1, 8, 8)
    z, labels = torch.randn(4, plain.latent_dim), torch.arange(4) % 2
    torch.testing.assert_close(with_public(z, labels), plain(z, labels), rtol=1e-4, atol=1e-5)


def test_what_a_generator_draws_has_the_lowest_frequencies_of_the_release() -> None:
    """As long as no pixel is clamped: public images and the draws have little contrast here."""
    schema, public = ImageSchema(16, 1, ("a", "b")), Public.model_validate({"path": "public", "above": 3})
    plain = build(Gaussians(frequencies=6), schema).generator
    with_public = build(Gaussians(frequencies=6, public=public), schema).generator
    rng = torch.Generator().manual_seed(3)
    fitted = {
        **plain.state_dict(),
        "means": torch.randn(2, 36, generator=rng) / 100,
        "roots": torch.randn(2, 36, 36, generator=rng) / 1000,
    }
    plain.load_state_dict(fitted)
    with_public.load_state_dict({**fitted, "detail.images": 120 + random_images(6000, 1, 16, 16) // 16})
    z, labels = torch.randn(30, plain.latent_dim, generator=rng), torch.arange(30) % 2
    released, shown, spectrum = plain(z, labels), with_public(z, labels), Spectrum(schema.shape, 3)
    torch.testing.assert_close(spectrum.of(shown), spectrum.of(released), rtol=1e-4, atol=1e-6)
    assert (shown - released).abs().mean() > 0.01
