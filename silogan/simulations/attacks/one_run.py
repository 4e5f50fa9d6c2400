"""A lower bound on ε, with confidence, from guesses about canaries in a single training run.

Each of m canaries is in the data by a fair coin of its own (T. Steinke, M. Nasr and M. Jagielski, 2023, "Privacy
auditing with one (1) training run"); an auditor who sees what was released says "in" or "out" of c' of them, and
nothing of the others. S. Mahloujifar, L. Melis and K. Chaudhuri (2024), "Auditing f-differential privacy in one run",
arXiv 2410.22235, bound how probable so many correct guesses are under a trade-off curve f; all of it, where bounds from
one (ε, δ) lose m·δ.

Their theorem 3.1, for coins (k = 2) and T = {i+1, ..., c'}: if p_j is the probability of exactly j correct guesses,

    Σ_{j>i} (j/m) p_j  ≤  f̄( Σ_{j≥i} ((c' - j)/m) p_j ),            f̄ = 1 - f.

For the left side is the mean over the canaries of the probability that the guess about this one is right, and more than
i are right in all. Turn the coin of this one alone: the same guess is then wrong, and at least i of the others are
right. f-differential privacy says what the first probability is at most, given the second, f̄ is concave and increasing,
and where j guesses are right at most c' - j are wrong.

`refuted` is their algorithm 3, written with the tail s_i = Σ_{j≥i} p_j. Summing by parts,

    Σ_{j>i} j p_j = (i+1) s_{i+1} + Σ_{j>i+1} s_j,      Σ_{j≥i} (c' - j) p_j = (c' - i) s_i - Σ_{j>i} s_j,

so the theorem says

    s_i  ≥  ( m · f̄⁻¹( ((i+1) s_{i+1} + Σ_{j>i+1} s_j) / m ) + Σ_{j>i} s_j ) / (c' - i).

The right side grows with each s_j, so replacing them by lower bounds, from s_c ≥ τ downwards, gives lower bounds (their
theorem 3.2). If s_0 would have to exceed 1, c correct guesses are less probable than τ, and the curve is refuted.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from silogan.simulations.attacks.tradeoff import Curve, Family

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

CONFIDENCE = 0.95

SHARES = ((0.015, 0.7), (0.1, 0.15), (0.6, 0.15))
"""How many guesses are tried, as shares of the canaries, and which part of 1 - confidence pays for each.

Fixed before a run is audited, and adding up to 1: the best of all the bounds then holds with the confidence (union
bound). A curve forbids little of what has a probability of a few percent, so few sure guesses show most; many show
most of a gross fault, or where there are few canaries.
"""

_ROUNDING = 1e-9
"""What s_0 must exceed 1 by: more than the rounding of a sum of as many terms as there are guesses."""


@dataclass(frozen=True)
class Bound:
    """The best lower bound among those of several numbers of guesses.

    Attributes:
        strength: of the strongest curve of the family that is refuted, 0 if none is.
        guesses: c', canaries that were guessed, half "in" and half "out".
        correct: how many of the guesses were right.
    """

    strength: float
    guesses: int
    correct: int


def refuted(curve: Curve, *, canaries: int, guesses: int, correct: int, probability: float) -> bool:
    """Whether at least so many correct guesses have at most this probability, whatever mechanism has the curve.

    Args:
        curve: f, the hypothesis.
        canaries: m, each inserted by a fair coin of its own.
        guesses: c', from 0 to m; an auditor who guesses fewer is covered.
        correct: c, from 0 to c'.
        probability: τ in (0, 1).
    """
    tail, beyond = probability, 0.0  # s_{i+1}, and the sum of s_j over j > i + 1
    for i in range(correct - 1, -1, -1):
        with_the_canary = ((i + 1) * tail + beyond) / canaries
        beyond += tail
        raised = (canaries * curve(with_the_canary) + beyond) / (guesses - i)
        if raised > 1 + _ROUNDING:
            return True
        if raised <= tail:  # then neither side changes any more
            return False
        tail = raised
    return False


def lower_bound(family: Family, *, canaries: int, guesses: int, correct: int, probability: float) -> float:
    """The largest strength, to three digits and rounded down, whose curve is refuted; 0 if there is none.

    See `refuted` for the arguments.
    """

    def holds_not(strength: float) -> bool:
        curve = family.curve(strength)
        return refuted(curve, canaries=canaries, guesses=guesses, correct=correct, probability=probability)

    low, high = family.most * 2.0**-14, family.most
    if not holds_not(low):
        return 0.0
    while high > 1.001 * low:
        middle = (low * high) ** 0.5
        low, high = (middle, high) if holds_not(middle) else (low, middle)
    return low


def best_bound(scores: Sequence[Floats], inserted: Flags, family: Family, confidence: float = CONFIDENCE) -> Bound:
    """The largest lower bound over `SHARES` and all scores; it holds with `confidence`, however many are tried.

    Args:
        scores: one or more float64[m], large where a canary seems to be in.
        inserted: bool[m], which canaries are in, each by a fair coin of its own.
        family: the hypotheses.
        confidence: probability, at least, that the mechanism's curve is not in the family with a smaller strength.
    """
    found: list[Bound] = []
    for score in scores:
        order = np.argsort(score, kind="stable")
        for share, part in SHARES:
            each = int(share * len(score) / 2)
            guesses, correct = 2 * each, _correct(inserted[order], each)
            probability = (1 - confidence) * part / len(scores)
            told = {"canaries": len(score), "guesses": guesses, "correct": correct}
            strength = lower_bound(family, **told, probability=probability)
            found.append(Bound(strength, guesses, correct))
    return max(found, key=lambda bound: bound.strength)


def largest_bound(canaries: int, family: Family, confidence: float = CONFIDENCE) -> float:
    """The largest strength that `best_bound` can show with so many canaries and one score: every guess is right."""
    inserted = np.arange(canaries) >= canaries // 2
    return best_bound([inserted.astype(np.float64)], inserted, family, confidence).strength


def _correct(inserted: Flags, each: int) -> int:
    """Correct guesses, where canaries are ordered by score: the first `each` are called out, the last `each` in."""
    return int((~inserted[:each]).sum() + inserted[len(inserted) - each :].sum())
