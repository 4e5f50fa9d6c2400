"""Memorisation: copies are found in whatever dress, and a generator that knows the population alone is not accused."""

import json
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from silogan.common.config.scenario import Evaluation
from silogan.common.modality.image import PIXELS, ImageSchema
from silogan.common.models.networks.detail import Detail
from silogan.server.evaluation import memorisation as module
from silogan.server.evaluation.base import Comparison, Labelled
from silogan.server.evaluation.memorisation import MOST_AUC, MOST_EXCESS, edits_of_public, memorisation

SIZE = 12
BASE = torch.randn(8, SIZE**2, generator=torch.Generator().manual_seed(1)) * 25


def population(count: int, seed: int) -> Tensor:
    """Images uint8[N, 1, 12, 12] of people in general."""
    hidden = torch.randn(count, len(BASE), generator=torch.Generator().manual_seed(seed))
    return (128 + hidden @ BASE).round().clamp(0, 255).byte().view(count, 1, SIZE, SIZE)


def noisy(images: Tensor, scale: float) -> Tensor:
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(9)) * scale
    return (images + noise).round().clamp(0, 255).byte()


def compared(synthetic: Tensor | None, train: Tensor, held_out: Tensor, detail: Detail | None = None) -> dict[str, Any]:
    def labelled(images: Tensor) -> Labelled:
        return Labelled({PIXELS: images}, torch.zeros(len(images), dtype=torch.int64))

    drawn, schema = None if synthetic is None else {PIXELS: synthetic}, ImageSchema(SIZE, 1, ("a",))
    cpu, both = torch.device("cpu"), (labelled(train), labelled(held_out))
    asked = Comparison(drawn, None, *both, schema, Evaluation(), 0, cpu, detail=detail)
    return memorisation(asked, {})


TRAIN, HELD_OUT = population(50, 1), population(100, 2)
OTHERS = population(400, 3)
COPIES = TRAIN[torch.arange(400) % 50]


def test_a_generator_of_people_in_general_passes() -> None:
    found = compared(OTHERS, TRAIN, HELD_OUT)
    assert (found["measured"], found["passed"], found["findings"]) == (True, True, [])
    for space in found["spaces"]:
        assert space["share"]["low"] < space["expected"] < space["share"]["high"]
        assert space["expected"] == 50 / 150
        assert space["auc"]["low"] < 0.5 < space["auc"]["high"]
        assert 0.8 < space["ratio"] < 1.25


@pytest.mark.parametrize("scale", [0.0, 8.0])
def test_copies_of_fifty_images_are_found_even_under_noise(scale: float) -> None:
    found = compared(noisy(COPIES, scale), TRAIN, HELD_OUT)
    assert found["passed"] is False
    assert len(found["findings"]) == 4
    assert found["findings"][0] == (
        "100% of synthetic images are nearest to a training image by pixels, where 33% would be by chance"
    )
    for space in found["spaces"]:
        assert space["excess"]["low"] > MOST_EXCESS
        assert space["auc"]["low"] > MOST_AUC
        assert space["ratio"] < 0.3


def test_copies_of_a_part_of_many_training_images_are_found() -> None:
    """For which equally many training and held-out images would not do."""
    found = compared(COPIES, torch.cat((TRAIN, population(450, 4))), HELD_OUT)
    assert found["passed"] is False


def test_copies_of_held_out_images_are_no_memorisation() -> None:
    found = compared(COPIES, HELD_OUT, TRAIN)
    assert found["passed"] is True
    assert [space["ratio"] for space in found["spaces"]] == [None, None]


def test_many_draws_of_the_same_few_images_do_not_narrow_the_interval() -> None:
    few, many = (compared(COPIES[:count], TRAIN, HELD_OUT)["spaces"][0]["share"] for count in (50, 400))
    assert many["low"] == pytest.approx(few["low"]) == pytest.approx(0.025 ** (1 / 50))


@pytest.mark.parametrize("which", ["synthetic", "train", "held_out"])
def test_too_few_images_are_not_called_passed(which: str) -> None:
    images = {"synthetic": OTHERS, "train": TRAIN, "held_out": HELD_OUT}
    images[which] = images[which][:49]
    found = compared(images["synthetic"], images["train"], images["held_out"])
    assert (found["measured"], found["passed"]) == (False, None)
    assert "fewer than 50" in found["reason"]


def test_a_release_without_records_is_not_measured() -> None:
    assert compared(None, TRAIN, HELD_OUT)["reason"] == "the release draws no records"


def test_the_same_comparison_gives_the_same_json() -> None:
    first, second = (compared(OTHERS, TRAIN, HELD_OUT) for _ in range(2))
    assert json.dumps(first, allow_nan=False) == json.dumps(second, allow_nan=False)


@pytest.mark.parametrize("size", [8, 12, 33, 70])
def test_every_size_has_points_of_bounded_number(size: int) -> None:
    images = torch.randint(0, 256, (3, 3, size, size), dtype=torch.uint8)
    for points in module.SPACES.values():
        found = points(images)
        assert found.shape[0] == 3
        assert found.shape[1] <= 3 * 32**2
        assert found.isfinite().all()


@given(st.integers(1, 400), st.integers(0, 400))
@settings(max_examples=50)
def test_interval_of_a_share_contains_it_and_has_the_tails_of_the_binomial(number: int, hits: int) -> None:
    """Against the definition: at either end, what was seen or more extreme has a chance of 2.5 %."""
    hits = min(hits, number)
    found = module.clopper_pearson(hits / number, number)
    assert 0 <= found.low <= found.value <= found.high <= 1
    binomial = torch.distributions.Binomial(number, torch.tensor([found.low, found.high], dtype=torch.float64))
    chances = binomial.log_prob(torch.arange(number + 1, dtype=torch.float64)[:, None]).exp()
    if hits > 0:
        assert float(chances[hits:, 0].sum()) == pytest.approx(0.025, rel=1e-3)
    if hits < number:
        assert float(chances[: hits + 1, 1].sum()) == pytest.approx(0.025, rel=1e-3)


@given(st.lists(st.integers(0, 9), min_size=2, max_size=30), st.lists(st.integers(0, 9), min_size=2, max_size=30))
@settings(max_examples=50)
def test_area_is_the_chance_that_a_member_scores_higher(members: list[int], others: list[int]) -> None:
    found = module.area_under_curve(torch.tensor(members).float(), torch.tensor(others).float())
    wins = sum((one > other) + (one == other) / 2 for one in members for other in others)
    assert found.value == pytest.approx(wins / len(members) / len(others))
    assert found.low <= found.value <= found.high


def test_images_with_the_detail_of_public_ones_are_called_edits() -> None:
    detail = Detail((1, SIZE, SIZE), 4)
    public = torch.randint(60, 190, (80, 1, SIZE, SIZE), generator=torch.Generator().manual_seed(5), dtype=torch.uint8)
    detail.images[:80] = public
    brighter = (public.repeat(2, 1, 1, 1) + 20).byte()
    found = edits_of_public(brighter, HELD_OUT, detail)
    assert found["edits"]["value"] == 1
    assert found["edits"]["low"] > 0.95
    assert found["control"]["value"] == 0
    assert compared(brighter, TRAIN, HELD_OUT, detail)["public"] == found


def attack(low: float, *, name: str = "singling out") -> dict[str, Any]:
    return {"name": name, "excess": {"value": low + 0.05, "low": low, "high": low + 0.1}}


def rows(figures: dict[str, Any]) -> dict[str, Any]:
    nothing = Labelled({"age": torch.zeros(3)}, torch.zeros(3))
    schema = ImageSchema(SIZE, 1, ("a",))
    asked = Comparison({"age": torch.zeros(3)}, None, nothing, nothing, schema, Evaluation(), 0, torch.device("cpu"))
    return memorisation(asked, figures)


def test_of_rows_the_attacks_decide() -> None:
    passed = rows({"table": {"risks": [attack(0.0), {"name": "linking", "excess": None}]}})
    assert (passed["measured"], passed["passed"], passed["spaces"]) == (True, True, [])
    failed = rows({"table": {"risks": [attack(0.0), attack(0.3, name="linking")]}})
    assert failed["findings"] == ["linking succeeds in 35% of cases beyond its control"]
    off = rows({"table": {"risks": None, "risks_reason": "evaluation.risks is false"}})
    assert (off["measured"], off["reason"]) == (False, "evaluation.risks is false")


def test_closeness_says_what_is_above_its_threshold_alone() -> None:
    fine = module.Interval(0.1, 0.0, 0.2)
    space = module.Closeness("pixels", fine, 0.1, fine, 1.0, module.Interval(0.5, 0.4, 0.6))
    assert space.findings() == []
    told = replace(space, auc=module.Interval(0.7, 0.65, 0.75)).findings()
    assert told == ["training images are told from others with an AUC of 0.70 by pixels, where 0.5 is chance"]
