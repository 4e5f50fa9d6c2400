"""The mean is the mean."""

import math
from random import Random

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from silogan.common.config.scenario import Federation
from silogan.common.models.weights import Weights
from silogan.server.rounds.aggregation.mean import WeightedMean

REFERENCE: Weights = {"generator.w": torch.zeros(2, 3), "discriminator.b": torch.ones(4)}
FLOATS = st.floats(-1e6, 1e6, width=32)


def mean(values: list[float], weights: list[float]) -> torch.Tensor:
    running = WeightedMean({"w": torch.zeros(1)}, Federation())
    for value, weight in zip(values, weights, strict=True):
        running.add({"w": torch.tensor([value])}, weight)
    return running.value()["w"]


def test_the_mean_is_weighted() -> None:
    """(1 · 10 + 3 · 20 + 6 · 40) / 10 = 31."""
    running = WeightedMean(REFERENCE, Federation())
    for weight, value in ((1.0, 10.0), (3.0, 20.0), (6.0, 40.0)):
        running.add({name: torch.full_like(tensor, value) for name, tensor in REFERENCE.items()}, weight)
    for name, tensor in running.value().items():
        assert tensor.dtype == torch.float32
        assert torch.equal(tensor, torch.full_like(REFERENCE[name], 31.0))


def test_the_mean_leaves_its_reference_alone() -> None:
    reference = {"w": torch.tensor([5.0])}
    running = WeightedMean(reference, Federation())
    running.add({"w": torch.tensor([1.0])}, 2.0)
    assert torch.equal(running.value()["w"], torch.tensor([1.0]))
    assert torch.equal(reference["w"], torch.tensor([5.0]))


def test_the_sum_is_kept_in_double_precision() -> None:
    """In float32 10⁸ + 1 is 10⁸."""
    assert mean([1e8, 1.0, -1e8, 3.0], [1.0] * 4).item() == 1.0


@given(st.lists(FLOATS, min_size=1, max_size=20), st.data())
def test_the_mean_is_that_of_the_definition(values: list[float], data: st.DataObject) -> None:
    weights = data.draw(st.lists(st.floats(1, 1e6), min_size=len(values), max_size=len(values)))
    exact = math.fsum(w * x for w, x in zip(weights, values, strict=True)) / math.fsum(weights)
    assert mean(values, weights).item() == pytest.approx(exact, rel=1e-6, abs=1e-6)
    assert min(values) - 1e-6 <= mean(values, weights).item() <= max(values) + 1e-6


@given(st.lists(FLOATS, min_size=1, max_size=20), st.randoms(use_true_random=False))
def test_the_mean_does_not_depend_on_the_order(values: list[float], random: Random) -> None:
    shuffled = list(values)
    random.shuffle(shuffled)
    uniform = [1.0] * len(values)
    assert mean(shuffled, uniform).item() == pytest.approx(mean(values, uniform).item(), rel=1e-6, abs=1e-6)
