"""What every page says of a guarantee: how strong ε is, its part of a budget, and what it leaves to an attacker."""

import math

from common.pages.words import number, small, upward

FALSE_ALARMS = 0.01
VACUOUS = 0.99
COLOURS = {"conservative": "good", "moderate": "care", "weak": "bad"}


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
    after = "" if share < VACUOUS else " The number alone then guarantees little."
    return (
        f"At ε\u00a0=\u00a0{upward(epsilon)} and δ\u00a0=\u00a0{small(delta)} ({unit} level), an attacker with "
        f"{number(100 * FALSE_ALARMS)} % false positives can identify {found} of those in the data, even if the "
        f"attacker knows all other patients.{after}"
    )
