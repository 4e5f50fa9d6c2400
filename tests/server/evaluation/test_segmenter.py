"""The segmenter for evaluation, and the Dice of masks."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from silogan.client.data.phantoms import drawn
from silogan.server.evaluation import segmenter
from silogan.server.evaluation.segmenter import best_constant, dice, segmented, train_segmenter

Masks = st.lists(st.lists(st.booleans(), min_size=4, max_size=4), min_size=1, max_size=6)


@given(Masks, st.integers(0, 2**31))
def test_dice_is_twice_the_overlap_over_both(rows: list[list[bool]], seed: int) -> None:
    right = torch.tensor(rows)
    found = torch.rand(right.shape, generator=torch.Generator().manual_seed(seed)) < 0.5
    value = dice(found, right)
    if not (found.any() or right.any()):
        assert value is None
        return
    assert value is not None
    assert value == pytest.approx(2 * (found & right).sum().item() / (found.sum() + right.sum()).item())
    assert 0 <= value <= 1
    assert dice(right, found) == value


def test_what_is_found_where_nothing_is_counts() -> None:
    right, found = torch.tensor([[True, True], [False, False]]), torch.tensor([[True, True], [True, True]])
    assert dice(found, right) == pytest.approx(2 * 2 / 6)
    assert dice(right, right) == 1


@given(Masks)
def test_no_constant_mask_is_better_than_the_best(rows: list[list[bool]]) -> None:
    masks = torch.tensor(rows)
    best = dice(best_constant(masks).expand_as(masks), masks) or 0
    for code in range(1, 16):
        other = torch.tensor([bool(code >> bit & 1) for bit in range(4)])
        assert (dice(other.expand_as(masks), masks) or 0) <= best + 1e-12


@pytest.mark.parametrize(("size", "channels"), [(9, 3), (16, 1)])
def test_it_finds_lesions_of_phantoms(size: int, channels: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segmenter, "STEPS", 120)
    images, masks = (torch.from_numpy(part) for part in drawn(160, size, 0))
    images = images.expand(-1, channels, -1, -1)
    network = train_segmenter(images[:120], masks[:120], seed=0, device="cpu")
    right = masks[120:] > 0
    found = segmented(network, images[120:])
    assert found.shape == right.shape
    blind = dice(best_constant(masks[:120] > 0).expand_as(right), right)
    assert (dice(found, right) or 0) > 0.75
    assert (blind or 0) < 0.65
    assert segmented(train_segmenter(images[:120], masks[:120], seed=0, device="cpu"), images[120:]).equal(found)


def test_large_images_are_looked_at_smaller_and_masks_are_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segmenter, "STEPS", 2)
    images, masks = (torch.from_numpy(part) for part in drawn(4, 100, 0))
    seen: list[tuple[int, ...]] = []
    network = train_segmenter(images, masks, seed=0, device="cpu")
    network.first.register_forward_hook(lambda _, given, __: seen.append(tuple(given[0].shape)))
    assert segmented(network, images).shape == (4, 1, 100, 100)
    assert seen == [(4, 1, 64, 64)]


def test_it_is_small() -> None:
    network = segmenter.Segmenter(1, generator=torch.Generator())
    assert 3_000 < sum(part.numel() for part in network.parameters()) < 15_000
