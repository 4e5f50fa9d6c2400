"""One scale of words for ε, the same in plan, report and audit.

The source is NIST SP 800-226, "Guidelines for Evaluating Differential Privacy Guarantees", final since 6 March 2025.
The two numbers are those of the draft of December 2023 and were not compared with the final text. The advice for each
step is this project's own.
"""

from typing import NamedTuple

CONSERVATIVE, OVERRIDE_ABOVE = 1.0, 20.0
"""ε up to which a guarantee is conservative, and above which a hospital takes part only with a signed override."""


class Strength(NamedTuple):
    """How strong a guarantee is.

    Attributes:
        word: conservative, moderate or weak.
        advice: what to do about it; empty where nothing is.
    """

    word: str
    advice: str = ""

    def __str__(self) -> str:
        """Both, with a colon between them."""
        return f"{self.word}: {self.advice}" if self.advice else self.word


_CONSERVATIVE = Strength("conservative")
_MODERATE = Strength("moderate", "needs a reason")
_WEAK = Strength("weak", "only with a signed override")

SCALE = (
    "After NIST SP 800-226 (final of March 2025; the numbers are those of its draft of 2023): ε up to "
    f"{CONSERVATIVE:g} is {_CONSERVATIVE}; up to {OVERRIDE_ABOVE:g} {_MODERATE}; above that {_WEAK}."
)
"""The whole scale in one sentence."""


def delta_remark(delta: float, records: int | None, unit: str) -> str:
    """What to say of a δ that is too large for a cohort; empty where nothing is, or where the cohort's size is unknown.

    A mechanism that publishes each record in full with probability δ satisfies (0, δ): with δ at or above one over the
    number of records, it is expected to publish at least one (Dwork and Roth, "The Algorithmic Foundations of
    Differential Privacy", 2014, section 2.3).

    Args:
        delta: of the guarantee.
        records: declared size of the cohort, in units of privacy.
        unit: of privacy, patient or record.
    """
    if not records or delta * records < 1:
        return ""
    return (
        f"δ = {delta:g} is weak for {records:,} {unit}s: it allows that one of them is revealed in full; "
        f"choose δ well below 1/{records:,}"
    )


def strength(epsilon: float) -> Strength:
    """How strong a guarantee of `epsilon` is: a word, never a measure, and not to be compared across units or δ.

    Args:
        epsilon: of the whole guarantee, at its δ; what is not a number is weak.
    """
    if epsilon <= CONSERVATIVE:
        return _CONSERVATIVE
    return _MODERATE if epsilon <= OVERRIDE_ABOVE else _WEAK
