"""What a study leaves open is chosen by public numbers, and what it names stays."""

from contextlib import nullcontext
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from silogan.common.config.scenario import Scenario, parse_scenario
from silogan.common.errors import ConfigError
from silogan.common.modality.image import ImageSchema
from silogan.common.modality.image_options import Gaussians
from silogan.common.wire.study import SiteDeclaration
from silogan.server.fitting.choices import with_choices
from silogan.server.fitting.image_choices import MOST_BLUR, blur


def scenario(epsilon: float = 10.0, delta: float = 1e-5, **model: Any) -> Scenario:
    return parse_scenario({
        "name": "open",
        "model": {"family": "gaussians", **model},
        "training": {"rounds": 0},
        "privacy": {"epsilon": epsilon, "delta": delta},
    })  # fmt: skip


def sites(count: int, size: int) -> list[SiteDeclaration]:
    return [SiteDeclaration(f"site-{number}", size) for number in range(count)]


def schema(size: int, classes: int) -> ImageSchema:
    return ImageSchema(size, 1, tuple(str(label) for label in range(classes)))


@pytest.mark.parametrize(
    ("epsilon", "delta", "shape", "hospitals", "expected"),
    [
        (10.0, 1e-5, (28, 10), (10, 6000), (16, 4)),
        (1.0, 1e-5, (28, 10), (10, 6000), (14, 1)),
        (10.0, 1e-4, (28, 2), (4, 1000), (16, 2)),
        (1.0, 1e-4, (28, 2), (4, 1000), (8, 1)),
        (10.0, 1e-4, (8, 10), (4, 350), (8, 1)),
        (10.0, 1e-4, (28, 2), (4, 50), (8, 1)),
    ],
)
def test_what_is_chosen(
    epsilon: float,
    delta: float,
    shape: tuple[int, int],
    hospitals: tuple[int, int],
    expected: tuple[int, int],
) -> None:
    model = with_choices(scenario(epsilon, delta), schema(*shape), sites(*hospitals)).model
    assert isinstance(model, Gaussians)
    assert (model.frequencies, model.cells) == expected
    assert model.draws == (hospitals != (4, 50))


@given(st.floats(0.1, 50), st.integers(1, 50), st.integers(10, 50_000), st.integers(1, 20))
def test_more_is_chosen_only_while_the_noise_stays_below(epsilon: float, count: int, size: int, classes: int) -> None:
    found = with_choices(scenario(epsilon), schema(28, classes), sites(count, size))
    model = found.model
    assert isinstance(model, Gaussians)
    assert model.frequencies is not None
    assert model.cells is not None
    if model.frequencies > 8 or model.cells > 1:
        assert blur(found, schema(28, classes), sites(count, size), model.frequencies, model.cells) <= MOST_BLUR


def test_what_the_scenario_names_stays_and_a_second_choice_changes_nothing() -> None:
    named = with_choices(scenario(frequencies=5, cells=8), schema(28, 2), sites(4, 100)).model
    assert isinstance(named, Gaussians)
    assert (named.frequencies, named.cells) == (5, 8)
    once = with_choices(scenario(), schema(28, 2), sites(4, 1000))
    assert with_choices(once, schema(28, 2), sites(4, 1000)) == once


def test_small_images_are_seen_whole_and_other_families_are_left_alone() -> None:
    model = with_choices(scenario(), schema(6, 2), sites(4, 100)).model
    assert isinstance(model, Gaussians)
    assert model.frequencies == 6
    trained = parse_scenario({"name": "trained"})
    assert with_choices(trained, schema(28, 2), sites(4, 100)) is trained


@pytest.mark.parametrize(
    ("model", "refused"),
    [
        ({"means_share": 0.9, "moments_share": 0.5}, True),
        ({"means_share": 0.5, "moments_share": 0.5, "cells": 2}, True),
        ({"means_share": 0.9, "moments_share": 0.5, "cells": 1}, False),
    ],
)
def test_shares_that_leave_nothing_for_the_cells_are_refused(model: dict[str, float], refused: bool) -> None:
    with pytest.raises(ConfigError, match="leave no budget") if refused else nullcontext():
        with_choices(scenario(**model), schema(28, 2), sites(4, 1000))
