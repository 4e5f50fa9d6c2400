"""Axes that hold what is drawn."""

from hypothesis import example, given
from hypothesis import strategies as st

from silogan.common.pages.charts import ticks


@given(st.floats(-1e6, 1e6), st.floats(0, 1e6))
@example(-1e-5, 15001.0)
def test_ticks_enclose_the_values_in_few_steps(low: float, span: float) -> None:
    marks = ticks(low, low + span)
    assert 2 <= len(marks) <= 6
    assert marks == sorted(set(marks))
    slack = 1e-8 * (marks[1] - marks[0]) + 1e-11 * max(abs(low), abs(low + span))
    assert marks[0] <= low + slack
    assert marks[-1] >= low + span - slack
