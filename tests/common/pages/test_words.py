"""Numbers in words: privacy loss is never rounded down."""

import math
import re
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from silogan.common.pages.words import (
    budget,
    css,
    duration,
    epsilon,
    left,
    measured,
    memory,
    moment,
    number,
    percent,
    small,
    upward,
)


@given(st.floats(0, 1e6))
def test_privacy_loss_is_never_rounded_down(value: float) -> None:
    assert value <= float(epsilon(value)) <= value + 0.001 + 1e-9
    assert value >= float(left(value)) >= value - 0.001 - 1e-9


@given(st.integers(1, 10**6), st.floats(0, 1))
def test_what_is_spent_and_what_is_left_add_up_to_the_budget(thousandths: int, share: float) -> None:
    whole = Decimal(thousandths) / 1000
    spent = Decimal(share) * whole
    assert Decimal(epsilon(float(spent))) + Decimal(left(float(whole - spent))) in (whole, whole + Decimal("0.001"))


def test_a_nearly_spent_budget_reads_the_same_everywhere() -> None:
    assert (epsilon(9.99684), left(0.00316), budget(10.0)) == ("9.997", "0.003", "10")
    assert [epsilon(x) for x in (1e-9, 0.0, math.inf, math.nan, None)] == ["0.001", "0", "∞", "—", "—"]
    assert [left(x) for x in (0.0009, math.inf, None)] == ["0", "∞", "—"]
    assert [budget(x) for x in (1.23456, 1e-5, 100.0, None)] == ["1.23456", "0.00001", "100", "—"]


@given(st.floats(1e-6, 1e6))
def test_shares_are_rounded_up_at_three_digits(value: float) -> None:
    assert value <= float(upward(value)) <= value * 1.011


def test_measured_figures_of_a_column_read_evenly() -> None:
    given = (0.95, 1.01, 0.0, 1.0, 0.00481, 123.4, 1234.5, math.nan, None)
    assert [measured(x) for x in given] == ["0.950", "1.01", "0", "1.00", "0.00481", "123", "1,234", "—", "—"]


@given(st.text())
def test_nothing_ends_a_string_of_a_style_sheet(text: str) -> None:
    found = css(text)
    assert found[0] == found[-1] == '"'
    assert not set(found[1:-1]) & set("\"'\n;{}<>&")
    assert re.sub(r"\\([0-9a-f]+) ", lambda code: chr(int(code[1], 16)), found[1:-1]) == text


def test_numbers_read_as_people_write_them() -> None:
    assert [upward(x) for x in (9.9812, 9.98, 0.5, 123.4, math.inf, None)] == ["9.99", "9.98", "0.5", "124", "∞", "—"]
    assert [small(x) for x in (1e-5, 3.4e-4, 0.0, None)] == ["10⁻⁵", "3.4 · 10⁻⁴", "0", "—"]
    assert [number(x) for x in (0.1782, 3.0, 1234.5, None)] == ["0.178", "3", "1,234", "—"]
    assert [duration(x) for x in (9.91, 151.2, 7265.0)] == ["9.9 s", "2 min 31 s", "2 h 1 min"]
    assert [memory(x) for x in (0, 5 * 2**20, 3 * 2**30)] == ["—", "5 MiB", "3.0 GiB"]
    assert percent(0.8213) == "82.1 %"
    assert moment("2026-03-03T14:02:11+00:00") == "3 March 2026, 14:02 UTC"
    assert moment("yesterday") == "yesterday"
