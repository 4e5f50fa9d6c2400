"""Impossible rows are replaced by possible ones, whose distribution stays as it is; where there are none it ends."""

import pytest
import torch
from torch import Tensor

from silogan.common.errors import UsageError
from silogan.common.modality import Stored
from silogan.common.models.networks import Drawn, Sampler
from silogan.server.release.rejection import draw_possible


class Dice(Sampler):
    """Two dice of the same throw, whose sum is the label."""

    chunk = 10_000

    def __init__(self) -> None:
        self.thrown = 0

    def draw(self, count: int, rng: torch.Generator, labels: Tensor | None = None) -> Drawn:
        self.thrown += count
        a, b = torch.randint(1, 7, (2, count), generator=rng)
        if labels is not None:
            b = labels - a
        return Drawn({"a": a, "b": b}, a + b)


def drawn(possible: object, count: int = 10_000, labels: Tensor | None = None) -> Drawn:
    return draw_possible(Dice(), possible, count, torch.Generator().manual_seed(0), labels)  # pyright: ignore[reportArgumentType]


def test_what_is_left_keeps_its_distribution_and_each_record_its_parts() -> None:
    found = drawn(lambda records: records["a"] + records["b"] >= 10)
    assert found.labels is not None
    assert torch.equal(found.records["a"] + found.records["b"], found.labels)
    shares = torch.bincount(found.labels, minlength=13)[10:] / 10_000
    assert torch.allclose(shares, torch.tensor([3, 2, 1]) / 6, atol=5 * 0.5 / 100)


def test_a_class_that_was_asked_for_stays() -> None:
    labels = 7 + torch.arange(10_000) % 2
    found = drawn(lambda records: records["a"] <= 3, labels=labels)
    assert torch.equal(torch.as_tensor(found.labels), labels)
    assert torch.equal(found.records["a"] + found.records["b"], labels)
    assert int(found.records["a"].max()) == 3


def test_where_all_is_possible_nothing_is_drawn_twice() -> None:
    dice = Dice()
    draw_possible(dice, lambda _: None, 100, torch.Generator(), None)
    assert dice.thrown == 100


def test_where_nothing_is_possible_it_ends() -> None:
    def never(records: Stored) -> Tensor:
        return torch.zeros(len(records["a"]), dtype=torch.bool)

    with pytest.raises(UsageError, match="draws hardly any row here that the schema calls possible; ask for less"):
        drawn(never, count=100)
