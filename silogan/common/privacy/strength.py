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


def strength(epsilon: float) -> Strength:
    """How strong a guarantee of `epsilon` is: a word, never a measure, and not to be compared across units or δ.

    Args:
        epsilon: of the whole guarantee, at its δ; what is not a number is weak.
    """
    if epsilon <= CONSERVATIVE:
        return _CONSERVATIVE
    return _MODERATE if epsilon <= OVERRIDE_ABOVE else _WEAK
