"""What every page says of a guarantee: how strong ε is, its part of a budget, and what it leaves to an attacker."""

import math
from collections.abc import Sequence

from common.pages.markup import Html, tag
from common.pages.words import equals, number, small, upward
from common.privacy.strength import strength

FALSE_ALARMS = 0.01
VACUOUS = 0.99
COLOURS = {"conservative": "good", "moderate": "care", "weak": "bad"}


def reading(epsilon: float, *, short: bool = False) -> Html:
    """How strong a guarantee of `epsilon` is; if `short` without what to do about it."""
    found = strength(epsilon)
    return tag("span", found.word if short else str(found), class_=f"pill {COLOURS[found.word]}")


def bar(epsilon: float | None, budget: float | None) -> Html | str:
    """ε of its budget, drawn and written."""
    if epsilon is None or not budget:
        return upward(epsilon)
    over = epsilon > budget
    filled = tag("span", style=f"width:{min(100.0, 100 * epsilon / budget):.1f}%", class_="over" if over else None)
    label = f"{upward(epsilon)} of {number(budget, 4)}" + (" (over budget)" if over else "")
    return tag("div", tag("div", filled, class_="bar", aria_hidden="true"), tag("span", label), class_="spent")


def box(title: str, points: Sequence[str], kind: str = "") -> Html:
    """A titled list; `kind` is "yes", "no" or empty."""
    return tag(
        "div", tag("h3", title), tag("ul", *[tag("li", point) for point in points]), class_=f"box {kind}".strip()
    )


def largest_success(epsilon: float, delta: float, false_alarms: float = FALSE_ALARMS) -> float:
    """Most that a membership test can detect, as a share of those whose data was used.

    Args:
        epsilon: of the guarantee.
        delta: of the guarantee.
        false_alarms: share of people whose data was not used that the test accuses all the same.

    Source:
        Kairouz, Oh and Viswanath, "The composition theorem for differential privacy", 2015, theorem 2.1.
    """
    growth = math.exp(min(epsilon, 700.0))
    return min(1.0, growth * false_alarms + delta, 1.0 - (1.0 - delta - false_alarms) / growth)


def against_an_attacker(epsilon: float, delta: float, unit: str) -> str:
    """What the guarantee leaves to somebody who wants to know who is in the data."""
    share = largest_success(epsilon, delta)
    found = f"at most {upward(100 * share)} %" if share < VACUOUS else "up to practically all"
    after = "" if share < VACUOUS else " The number alone then promises little."
    return (
        f"At {equals('ε', upward(epsilon))} and {equals('δ', small(delta))} ({unit} level), somebody who wrongly "
        f"accuses {number(100 * FALSE_ALARMS)} % of those not in the data can rightly recognise {found} of those who "
        f"are, even knowing all other patients.{after}"
    )
