"""Bags of a patient's records: of that patient alone, at most k, none twice, all equally likely, drawn anew."""

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare
from torch import Tensor

from client.data import Images
from client.randomness import SecureRandomness, SeededRandomness
from client.units import Bags, Units
from common.config import Unit
from common.errors import DataError
from common.plan import PrivacyPlan


def plan(*, unit: Unit = "patient", most: int = 2, rate: float = 1.0) -> PrivacyPlan:
    return PrivacyPlan(True, True, unit, 8.0, 1e-5, 1.5, rate, 0.7, 30, 9, most)


def images(codes: list[int] | None, count: int = 0) -> Images:
    count = count if codes is None else len(codes)
    patients = None if codes is None else torch.tensor(codes, dtype=torch.int64)
    blank = torch.zeros(count, 1, 8, 8, dtype=torch.uint8)
    return Images(blank, torch.zeros(count, dtype=torch.int64), patients=patients)


def seeded(seed: int = 0) -> SeededRandomness:
    return SeededRandomness(torch.Generator().manual_seed(seed))


class Chosen(SeededRandomness):
    """Takes the units it is told to."""

    def __init__(self, units: list[int]) -> None:
        super().__init__(torch.Generator().manual_seed(0))
        self._units = units

    def poisson_sample(self, *_: object) -> Tensor:
        return torch.tensor(self._units, dtype=torch.int64)


@given(st.lists(st.integers(0, 9), max_size=40), st.integers(1, 6), st.data())
def test_a_bag_holds_records_of_its_patient_and_no_more_than_k(codes: list[int], most: int, data: Any) -> None:
    owners = sorted(set(codes))
    chosen = sorted(data.draw(st.sets(st.sampled_from(range(len(owners)))) if owners else st.just(set())))
    units = Units(images(codes), plan(most=most))
    positions, present = units.sample(Chosen(chosen))
    assert positions.shape == present.shape == (len(chosen), units.views)
    assert units.views == min(most, max(map(codes.count, owners), default=1))
    for unit, row, counts in zip(chosen, positions.tolist(), present.tolist(), strict=True):
        owner = owners[unit]
        assert {codes[position] for position in row} == {owner}
        taken = [position for position, counted in zip(row, counts, strict=True) if counted]
        assert len(set(taken)) == len(taken) == min(most, codes.count(owner))


@pytest.mark.parametrize("source", [SecureRandomness(torch.device("cpu")), seeded()], ids=["secure", "seeded"])
def test_all_sets_of_k_records_are_equally_likely_and_drawn_anew(source: Any) -> None:
    units = Units(images([7] * 4 + [3] * 5), plan(most=2))
    seen: dict[int, dict[tuple[int, ...], int]] = {0: {}, 1: {}}
    for _ in range(3000):
        bags: Bags = units.sample(source)
        for unit, row in enumerate(bags.positions.tolist()):
            pair = tuple(sorted(row))
            seen[unit][pair] = seen[unit].get(pair, 0) + 1
    assert sorted(map(len, seen.values())) == [6, 10]  # of four, and of five
    for counts in seen.values():
        assert chisquare(list(counts.values())).pvalue > 1e-9


def test_patients_are_sampled_whatever_the_number_of_their_images() -> None:
    codes = [0] * 30 + [1, 2, 3]
    units, randomness = Units(images(codes), plan(rate=0.3)), seeded()
    taken = torch.zeros(4000, 4)
    for row in taken:
        row[torch.tensor(codes)[units.sample(randomness).positions[:, 0]]] = 1
    assert (taken.mean(dim=0) - 0.3).abs().max() < 8 * 0.46 / 4000**0.5
    assert (torch.corrcoef(taken.T) - torch.eye(4)).abs().max() < 8 / 4000**0.5


def test_records_are_the_poisson_sample_itself_and_draw_nothing_more() -> None:
    ours, plain = seeded(4), seeded(4)
    for known in (images([0] * 50), images(None, 50)):
        units = Units(known, plan(unit="record", rate=0.5))
        for _ in range(2):
            positions, present = units.sample(ours)
            assert positions.flatten().equal(plain.poisson_sample(50, 0.5))
            assert bool(present.all())
    assert units.views == 1


def test_unknown_patients_are_refused() -> None:
    with pytest.raises(DataError, match="images: do not say whose they are"):
        Units(images(None, 5), plan())


@given(st.lists(st.integers(0, 9), min_size=1, max_size=40))
def test_every_unit_counts_for_one(codes: list[int]) -> None:
    shares = Units(images(codes), plan()).shares()
    for code in set(codes):
        own = shares[torch.tensor([one == code for one in codes])]
        assert float(own.sum()) == pytest.approx(1)
        assert float(own.max() - own.min()) == 0
    assert torch.equal(Units(images(None, 5), plan(unit="record", most=1)).shares(), torch.ones(5, dtype=torch.float64))
