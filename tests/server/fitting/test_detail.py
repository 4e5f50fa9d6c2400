"""Public images are moved about a little, the same way each time."""

import torch

from silogan.server.fitting.detail import moved


def test_they_come_equally_often_and_moved_another_way_each_time() -> None:
    flat = torch.tensor([10, 90, 200], dtype=torch.uint8).view(3, 1, 1, 1).expand(3, 1, 16, 16)
    found = moved(flat, 7, 8)
    assert found.shape == (7, 1, 8, 8)
    assert found[:, 0, 0, 0].tolist() == [10, 90, 200, 10, 90, 200, 10]
    assert (found == found[:, :1, :1, :1]).all()
    slope = torch.arange(0, 256, 8, dtype=torch.uint8).expand(1, 1, 32, 32)
    several = moved(slope, 20, 16)
    assert len({image.numpy().tobytes() for image in several}) == 20


def test_they_stay_near_where_they_were() -> None:
    """The middle of a slope, the only thing on it, is moved by no more than the part that may be cut away."""
    slope = torch.arange(0, 256, 4, dtype=torch.uint8).expand(1, 3, 64, 64)
    found = moved(slope, 200, 32).float()
    assert found.shape == (200, 3, 32, 32)
    assert (found.mean(dim=(1, 2, 3)) - 126).abs().max() < 256 * 0.075 + 2
    assert (found[..., -1] - found[..., 0]).min() > 256 * 0.7


def test_the_same_images_always_give_the_same() -> None:
    images = torch.randint(0, 256, (3, 1, 16, 16), dtype=torch.uint8)
    torch.manual_seed(1)
    first = moved(images, 700, 8)
    torch.manual_seed(2)
    assert torch.equal(moved(images, 700, 8), first)
