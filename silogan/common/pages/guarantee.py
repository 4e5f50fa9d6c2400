"""What every page says about a guarantee: how strong ε is, and what an attacker can still learn."""

import math

from silogan.common.pages.words import epsilon as in_words
from silogan.common.pages.words import number, small, upward

FALSE_ALARMS = 0.01
VACUOUS = 0.99
COLOURS = {"conservative": "good", "moderate": "care", "weak": "bad"}


def largest_success(epsilon: float, delta: float, false_alarms: float = FALSE_ALARMS) -> float:
    """The largest true positive rate of a membership test.

    Args:
        epsilon: of the guarantee.
        delta: of the guarantee.
        false_alarms: the test's false positive rate.

    Source:
        Kairouz, Oh and Viswanath, "The composition theorem for differential privacy", 2015, theorem 2.1.
    """
    growth = math.exp(min(epsilon, 700.0))
    return min(1.0, growth * false_alarms + delta, 1.0 - (1.0 - delta - false_alarms) / growth)


def against_an_attacker(epsilon: float, delta: float, unit: str) -> str:
    """What an attacker who wants to know who is in the data can still achieve."""
    share = largest_success(epsilon, delta)
    found = f"at most {upward(100 * share)} %" if share < VACUOUS else "up to practically all"
    after = "" if share < VACUOUS else " The number alone then guarantees little."
    return (
        f"At ε\u00a0=\u00a0{in_words(epsilon)} and δ\u00a0=\u00a0{small(delta)} ({unit} level), an attacker with "
        f"{number(100 * FALSE_ALARMS)} % false positives can identify {found} of those in the data, even if the "
        f"attacker knows all other patients.{after}"
    )
