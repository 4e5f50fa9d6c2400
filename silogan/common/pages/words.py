"""Numbers formatted for readers.

Privacy loss is always rounded up (`epsilon`), and the rest of a budget down (`left`): nothing may promise more than was
proven.
"""

import math
from datetime import datetime
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal

NOTHING = "—"
SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def upward(value: float | None, digits: int = 3) -> str:
    """`value` to that many significant digits, rounded up: 9.9812 is 9.99."""
    if value is None or math.isnan(value):
        return NOTHING
    if math.isinf(value):
        return "∞"
    return f"{_rounded(value, digits, ROUND_CEILING).normalize():f}"


def epsilon(value: float | None) -> str:
    """A privacy loss ε, rounded up at three decimals: 9.99684 is 9.997.

    This is the one rule for pages, terminals and audits. It never reads smaller than it is, and with `left` beside it
    the two add up to a budget of at most three decimals.
    """
    return _at_three_decimals(value, ROUND_CEILING)


def left(value: float | None) -> str:
    """What is left of a budget, or a lower bound on ε, rounded down at three decimals: 0.00316 is 0.003."""
    return _at_three_decimals(value, ROUND_FLOOR)


def budget(value: float | None) -> str:
    """A budget as somebody gave it, without rounding."""
    if value is None or not math.isfinite(value):
        return upward(value)
    return f"{Decimal(str(value)).normalize():f}"


def small(value: float | None) -> str:
    """A small probability as a power of ten, rounded up to two digits: 0.00034 is 3.4 · 10⁻⁴."""
    if value is None or not math.isfinite(value):
        return NOTHING
    if value == 0:
        return "0"
    rounded = _rounded(value, 2, ROUND_CEILING)
    exponent = rounded.adjusted()
    power = f"10{str(exponent).translate(SUPERSCRIPT)}"
    factor = rounded.scaleb(-exponent).normalize()
    return power if factor == 1 else f"{factor:f} · {power}"


def number(value: float | None, digits: int = 3) -> str:
    """`value` to that many significant digits, without an exponent from 10⁻⁵ to 10⁶."""
    if value is None or math.isnan(value):
        return NOTHING
    if math.isinf(value):
        return "∞"
    if float(value).is_integer() or abs(value) >= 10**digits:
        return f"{value:,.0f}" if abs(value) < 1e6 else f"{value:.{digits}g}"
    return f"{value:.{digits}g}"


def measured(value: float | None) -> str:
    """A measured figure to three significant digits, zeros at its end too, so that a column reads evenly: 0.950."""
    if value is None or not math.isfinite(value) or abs(value) >= 1000:
        return number(value)
    return f"{value:#.3g}".rstrip(".") if value else "0"


def percent(value: float | None) -> str:
    """A share in 0-1 as a percentage with one decimal."""
    return NOTHING if value is None or not math.isfinite(value) else f"{100 * value:.1f} %"


def duration(seconds: float | None) -> str:
    """Seconds as hours, minutes and seconds."""
    if seconds is None or not math.isfinite(seconds):
        return NOTHING
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def memory(amount: int | None) -> str:
    """Bytes as binary megabytes or gigabytes."""
    if not amount:
        return NOTHING
    return f"{amount / 2**30:.1f} GiB" if amount >= 2**30 else f"{amount / 2**20:.0f} MiB"


def whole(amount: int | None) -> str:
    """A whole number with its thousands apart."""
    return NOTHING if amount is None else f"{amount:,}"


def css(text: str) -> str:
    """`text` as a string of a style sheet; whatever may end one is written as its code (CSS Syntax 3, 4.3.7)."""
    return '"' + "".join(one if one.isalnum() or one == " " else f"\\{ord(one):x} " for one in text) + '"'


def counted(amount: int, noun: str) -> str:
    """The noun with its number: 1 hospital, 4 hospitals."""
    return f"{amount:,} {noun}" if amount == 1 else f"{amount:,} {noun}s"


def moment(iso: str) -> str:
    """An ISO-8601 time in UTC as a date and a time of day; unchanged if it is not one."""
    try:
        at = datetime.fromisoformat(iso)
    except ValueError:
        return iso
    return f"{at.day} {at:%B %Y, %H:%M} UTC"


def _at_three_decimals(value: float | None, rounding: str) -> str:
    if value is None or not math.isfinite(value):
        return upward(value)
    return f"{Decimal(str(value)).quantize(Decimal('0.001'), rounding=rounding).normalize():f}"


def _rounded(value: float, digits: int, rounding: str) -> Decimal:
    # `str` gives the shortest decimal that is this float, so 9.98 stays 9.98 and is not pushed to 9.99 by its last bit.
    exact = Decimal(str(value))
    return exact.quantize(Decimal(1).scaleb(exact.adjusted() - digits + 1), rounding=rounding)
