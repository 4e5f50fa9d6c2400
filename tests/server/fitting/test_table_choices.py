"""What a study of tables leaves open is chosen by public numbers, and what it names stays."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from silogan.common.config.scenario import Scenario, parse_scenario
from silogan.common.modality.code_set import CodeSet
from silogan.common.modality.table import Number, TableSchema
from silogan.common.modality.table_options import Mixture
from silogan.common.privacy.plan import make_plan
from silogan.common.wire.study import SiteDeclaration, Study
from silogan.server.fitting.choices import ADVISERS, judge, with_choices
from silogan.server.fitting.table_choices import (
    CLEAR,
    CLEAR_SINGLES,
    FAINT,
    MOST_BINS,
    TOLD,
    signal,
    signal_of_codes,
    signal_of_singles,
)


def scenario(epsilon: float = 10.0, **model: Any) -> Scenario:
    return parse_scenario({
        "name": "open",
        "model": {"family": "mixture", **model},
        "training": {"rounds": 0},
        "privacy": {"epsilon": epsilon, "delta": 1e-4},
    })  # fmt: skip


def sites(count: int, size: int) -> list[SiteDeclaration]:
    return [SiteDeclaration(f"site-{number}", size) for number in range(count)]


def schema(columns: int, classes: int = 2) -> TableSchema:
    named = tuple(Number("number", f"x{number}", 0, 1) for number in range(columns))
    return TableSchema(tuple(str(label) for label in range(classes)), named)


def chosen(asked: Scenario, columns: int, hospitals: tuple[int, int], classes: int = 2) -> Mixture:
    model = with_choices(asked, schema(columns, classes), sites(*hospitals)).model
    assert isinstance(model, Mixture)
    return model


@pytest.mark.parametrize(
    ("epsilon", "columns", "hospitals", "expected"),
    [
        (10.0, 13, (4, 184), (5, True, 0.0)),
        (1.0, 13, (4, 184), (2, True, 0.0)),
        (10.0, 13, (8, 3256), (16, True, 0.1)),
        (1.0, 13, (8, 3256), (9, True, 0.0)),
        (10.0, 30, (4, 114), (3, True, 0.0)),
        (1.0, 13, (4, 20), (2, False, 0.0)),
        (1.0, 1, (4, 2000), (14, False, 0.1)),
    ],
)
def test_what_is_chosen(
    epsilon: float, columns: int, hospitals: tuple[int, int], expected: tuple[int, bool, float]
) -> None:
    model = chosen(scenario(epsilon), columns, hospitals)
    assert (model.bins, model.by_class, model.singles_share) == expected


@given(st.floats(0.1, 50), st.integers(2, 60), st.integers(1, 50), st.integers(10, 50_000), st.integers(1, 20))
def test_more_is_chosen_only_while_it_is_clear(
    epsilon: float, columns: int, count: int, size: int, classes: int
) -> None:
    model, of, held = (
        chosen(scenario(epsilon), columns, (count, size), classes),
        schema(columns, classes),
        sites(count, size),
    )
    asked = scenario(epsilon, singles_share=model.singles_share)
    assert model.bins is not None
    assert model.by_class is not None
    assert model.bins == 2 or signal(asked, of, held, model.bins, by_class=model.by_class) >= CLEAR
    assert model.bins == MOST_BINS or signal(asked, of, held, model.bins + 1, by_class=model.by_class) < CLEAR
    assert model.by_class == (signal(asked, of, held, 2, by_class=True) >= FAINT)
    assert bool(model.singles_share) == (signal_of_singles(scenario(epsilon), of, held, 0.1) >= CLEAR_SINGLES)


def test_what_the_scenario_names_stays_and_a_second_choice_changes_nothing() -> None:
    named = chosen(scenario(bins=5, by_class=False, singles_share=0.3), 13, (4, 200))
    assert (named.bins, named.by_class, named.singles_share) == (5, False, 0.3)
    first = with_choices(scenario(), schema(13), sites(4, 200))
    assert with_choices(first, schema(13), sites(4, 200)) == first


def test_visits_neither_raise_nor_lower_what_is_clear() -> None:
    """A patient's rows together count as one, so that patients are counted and not visits."""
    asked = scenario()
    several = asked.model_copy(update={"privacy": asked.privacy.model_copy(update={"records_per_patient": 8})})
    of, held = schema(13), sites(4, 200)
    assert signal(several, of, held, 3, by_class=True) == signal(asked, of, held, 3, by_class=True)
    assert with_choices(several, of, held).model == with_choices(asked, of, held).model


def test_without_privacy_all_is_clear() -> None:
    open_to_all = scenario().model_copy(update={"privacy": scenario().privacy.model_copy(update={"enabled": False})})
    model = chosen(open_to_all, 13, (4, 200))
    assert (model.bins, model.by_class) == (MOST_BINS, True)


def coded(codes: int, most: int = 8) -> TableSchema:
    return replace(schema(3), code_sets=(CodeSet("codes", "dx", tuple(map(str, range(codes))), most),))


@pytest.mark.parametrize(
    ("epsilon", "codes", "hospitals", "counted"),
    [
        (10.0, 120, (4, 12_500), True),
        (1.0, 120, (4, 12_500), True),
        (10.0, 120, (4, 1250), True),
        (3.0, 120, (4, 1250), False),
        (1.0, 120, (4, 1250), False),
        (1.0, 512, (4, 12_500), False),
        (10.0, 512, (4, 50_000), True),
        (1.0, 8, (4, 250), True),
    ],
)
def test_pairs_of_codes_are_counted_where_public_numbers_say_that_they_tell_something(
    epsilon: float, codes: int, hospitals: tuple[int, int], counted: bool
) -> None:
    asked, of, there = scenario(epsilon), coded(codes), sites(*hospitals)
    made = with_choices(asked, of, there)
    assert isinstance(made.model, Mixture)
    assert made.model.code_pairs is counted
    assert (signal_of_codes(made, of, there, by_class=False) >= TOLD) is counted
    assert with_choices(made, of, there) == made
    (said,) = [one for one in ADVISERS["mixture"].reasons(asked.model, made.model) if "code_pairs" in one]
    assert said.startswith(f"model.code_pairs: {str(counted).lower()}, ")
    judged = judge(Study(made, of, make_plan(made), tuple(there)))
    assert judged is not None
    assert ("times their noise and are counted" in judged.expected) is counted
    assert ("and are not counted, but single codes are" in judged.expected) is not counted


def test_code_pairs_stay_as_named_and_are_nothing_to_tables_without_codes() -> None:
    named = with_choices(scenario(code_pairs=False), coded(120), sites(4, 100_000)).model
    assert isinstance(named, Mixture)
    assert named.code_pairs is False
    plain = with_choices(scenario(), schema(3), sites(4, 1000))
    assert isinstance(plain.model, Mixture)
    assert plain.model.code_pairs is None
    assert not any("code_pairs" in one for one in ADVISERS["mixture"].reasons(scenario().model, plain.model))
    judged = judge(Study(plain, schema(3), make_plan(plain), tuple(sites(4, 1000))))
    assert judged is not None
    assert "codes" not in judged.expected
