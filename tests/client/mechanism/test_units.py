"""Bags of a patient's records: of that patient alone, at most k, none twice, all equally likely, drawn anew."""

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare
from torch import Tensor

from silogan.client.mechanism.randomness import Randomness
from silogan.client.mechanism.units import MOST_UNITS, Units
from silogan.common.seeding import derive_key


def units_of(codes: list[int], views: int = 2) -> Units:
    return Units(len(codes), torch.tensor(codes, dtype=torch.int64), views)


def seeded(seed: int = 0) -> Randomness:
    return Randomness(derive_key(seed, "units"))


class Chosen(Randomness):
    """Takes the units it is told to."""

    def __init__(self, units: list[int]) -> None:
        super().__init__(bytes(32))
        self._units = units

    def poisson_sample(self, *_: object) -> Tensor:
        return torch.tensor(self._units, dtype=torch.int64)


@given(st.lists(st.integers(0, 9), max_size=40), st.integers(1, 6), st.data())
def test_a_bag_holds_records_of_its_patient_and_no_more_than_k(codes: list[int], most: int, data: Any) -> None:
    owners = sorted(set(codes))
    chosen = sorted(data.draw(st.sets(st.sampled_from(range(len(owners)))) if owners else st.just(set())))
    positions, present = units_of(codes, most).sample(1.0, Chosen(chosen))
    assert positions.shape == present.shape == (len(chosen), most), "whatever the patients have"
    found = [codes[row[0]] for row in positions.tolist()]
    assert sorted(found) == [owners[unit] for unit in chosen]
    for owner, row, counts in zip(found, positions.tolist(), present.tolist(), strict=True):
        assert {codes[position] for position in row} == {owner}
        taken = [position for position, counted in zip(row, counts, strict=True) if counted]
        assert len(set(taken)) == len(taken) == min(most, codes.count(owner))


@pytest.mark.parametrize("source", [Randomness.secure(), seeded()], ids=["secure", "seeded"])
def test_all_sets_of_k_records_are_equally_likely_and_drawn_anew(source: Any) -> None:
    codes = [7] * 4 + [3] * 5
    units = units_of(codes)
    seen: dict[int, dict[tuple[int, ...], int]] = {7: {}, 3: {}}
    for _ in range(3000):
        for row in units.sample(1.0, source).positions.tolist():
            pair = tuple(sorted(row))
            seen[codes[row[0]]][pair] = seen[codes[row[0]]].get(pair, 0) + 1
    assert sorted(map(len, seen.values())) == [6, 10]  # of four, and of five
    for counts in seen.values():
        assert chisquare(list(counts.values())).pvalue > 1e-9


def test_patients_are_sampled_whatever_the_number_of_their_images() -> None:
    codes = [0] * 30 + [1, 2, 3]
    units, randomness = units_of(codes, 1), seeded()
    taken = torch.zeros(4000, 4)
    for row in taken:
        row[torch.tensor(codes)[units.sample(0.3, randomness).positions[:, 0]]] = 1
    assert (taken.mean(dim=0) - 0.3).abs().max() < 8 * 0.46 / 4000**0.5
    assert (torch.corrcoef(taken.T) - torch.eye(4)).abs().max() < 8 / 4000**0.5


def test_records_are_units_of_their_own_where_nobody_says_whose_they_are() -> None:
    ours, plain = seeded(4), seeded(4)
    for _ in range(2):
        positions, present = Units(50, None, 1).sample(0.5, ours)
        expected = plain.poisson_sample(50, 0.5)
        assert positions.flatten().equal(expected[plain.permutation(len(expected))])
        assert bool(present.all())


def test_the_order_of_a_sample_is_random() -> None:
    units, randomness = Units(6, None, 1), seeded()
    first = torch.stack([units.sample(1.0, randomness).positions[0, 0] for _ in range(6000)])
    assert chisquare(first.bincount(minlength=6).tolist()).pvalue > 1e-9


def test_more_units_than_the_proof_holds_for_are_refused() -> None:
    Units(MOST_UNITS, None, 1)
    with pytest.raises(ValueError, match="more than 524288 units"):
        Units(MOST_UNITS + 1, None, 1)
