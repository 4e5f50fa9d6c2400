"""The sheets of walks through latent space show what they say."""

import pytest
import torch

from silogan.common.modality.image import ImageSchema
from silogan.common.models.networks.article import SeedGenerator
from silogan.server.explore.subject import MOST_CLASSES, Subject
from silogan.server.explore.walks import DEVIATIONS, SCALES, STEPS, WALKS, interpolation, traversal, truncation
from tests.server.explore.test_latent import SCHEMA, gaussians


def rng(seed: int = 3) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("name", WALKS)
def test_a_walk_is_the_same_for_a_seed_and_has_every_class(name: str) -> None:
    subject = gaussians()
    sheet, again = WALKS[name](subject, rng()), WALKS[name](subject, rng())
    assert [group.name for group in sheet.groups] == list(SCHEMA.classes)
    for group, same in zip(sheet.groups, again.groups, strict=True):
        for row, other in zip(group.rows, same.rows, strict=True):
            assert len(row) == len(sheet.columns)
            assert torch.equal(row, other)


def test_an_interpolation_goes_from_one_draw_to_another() -> None:
    subject = gaussians()
    ends = subject.latents(subject.rows, 2, rng=rng())
    rows = interpolation(subject, rng()).groups[1].rows
    assert len(rows) == 4
    for (start, end), row in zip(ends, rows, strict=True):
        assert len(row) == STEPS
        assert torch.equal(row[[0, -1]], subject.pixels(torch.stack((start, end)), 1))
        assert not torch.equal(row[0], row[-1])


def test_truncation_has_the_drawn_image_at_one_and_nears_the_middle_below() -> None:
    subject = gaussians()
    middle = subject.pixels(torch.zeros(1, subject.network.latent_dim), 1).int()
    for z, row in zip(subject.latents(subject.rows, rng=rng()), truncation(subject, rng()).groups[1].rows, strict=True):
        assert torch.equal(row[SCALES.index(1.0)], subject.pixels(z[None], 1)[0])
        far = (row.int() - middle).abs().sum(dim=(1, 2, 3))
        assert far.tolist() == sorted(far.tolist())
        assert far[0] < far[-1]


def test_a_traversal_has_the_middle_of_the_class_at_zero_and_ends_on_both_sides_of_it() -> None:
    subject = gaussians()
    groups = traversal(subject, rng()).groups
    middle = subject.pixels(torch.zeros(1, subject.network.latent_dim), 1)[0].int()
    changes: list[int] = []
    for row in groups[1].rows:
        assert torch.equal(row[DEVIATIONS.index(0.0)].int(), middle)
        low, high = row[0].int() - middle, row[-1].int() - middle
        assert (low * high).sum() < 0
        changes.append(int(high.abs().sum()))
    assert changes[0] == max(changes)
    assert all(torch.equal(image, groups[0].rows[0][0]) for image in groups[0].rows[0])  # class 0 has one image


def test_a_generator_without_classes_has_rows_without_names() -> None:
    schema = ImageSchema(64, 3, ("healthy", "ill"))
    network = SeedGenerator(4, 2, 3).eval()
    sheet = interpolation(Subject(network, schema), rng())
    assert [(group.name, len(group.rows)) for group in sheet.groups] == [("", 8)]
    assert sheet.groups[0].rows[0].shape == (STEPS, 3, 64, 64)


def test_of_very_many_classes_the_first_are_shown() -> None:
    schema = ImageSchema(8, 1, tuple(map(str, range(MOST_CLASSES + 1))))
    subject = Subject(gaussians().network, schema)
    assert list(subject.classes) == list(schema.classes[:MOST_CLASSES])
    assert subject.rows == 1
