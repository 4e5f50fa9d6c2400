"""What guesses about canaries in a single training run prove of ε: a lower bound, with confidence.

T. Steinke, M. Nasr and M. Jagielski (2023), "Privacy auditing with one (1) training run", arXiv 2305.08846. Each of m
canaries is in the data by a fair coin of its own; an auditor who sees what was released says "in" or "out" of r of them
and nothing of the others. Under (ε, δ)-differential privacy the correct guesses are hardly more than those of r draws
of randomised response at ε, so many correct guesses refute a small ε.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import expit
from scipy.stats import binom

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

CONFIDENCE = 0.95

SHARES = ((0.98, 0.25), (0.5, 0.25), (0.1, 0.1), (0.03, 0.1), (0.01, 0.1), (0.003, 0.1), (0.001, 0.1))
"""How many guesses are tried, as shares of the canaries, and which part of 1 - confidence pays for each.

Fixed before a run is audited, and adding up to 1: the best of all the bounds then holds with the confidence (union
bound). Many guesses show a gross fault, few sure ones what a sound mechanism lets through. Not all canaries: half are
guessed to be in, and the coins seldom put exactly half in.
"""

_LARGEST_EPSILON = 60.0


@dataclass(frozen=True)
class Bound:
    """The best lower bound among those of several numbers of guesses.

    Attributes:
        epsilon: lower bound on ε, at least 0.
        guesses: r, canaries that were guessed, half "in" and half "out".
        correct: how many of the guesses were right.
    """

    epsilon: float
    guesses: int
    correct: int


def p_value(*, canaries: int, guesses: int, correct: int, epsilon: float, delta: float) -> float:
    """The most probable that so many correct guesses are under (ε, δ)-differential privacy (theorem 5.2, appendix D).

    β + 2mδα with W ~ Binomial(r, e^ε / (1 + e^ε)), β = P[W ≥ v] and α = maxᵢ P[v > W ≥ v - i] / i.

    Args:
        canaries: m, each inserted by a fair coin of its own.
        guesses: r, from 0 to m.
        correct: v, from 0 to r.
        epsilon: ε ≥ 0.
        delta: δ, from 0 to 1.
    """
    accuracy = float(expit(epsilon))
    beta = float(binom.sf(correct - 1, guesses, accuracy))
    if delta == 0 or correct == 0:
        return beta
    below = np.cumsum(binom.pmf(np.arange(correct - 1, -1, -1), guesses, accuracy))
    alpha = float((below / np.arange(1, correct + 1)).max())
    return min(1.0, beta + 2 * canaries * delta * alpha)


def lower_bound(*, canaries: int, guesses: int, correct: int, delta: float, confidence: float = CONFIDENCE) -> float:
    """The ε up to which so many correct guesses are less probable than 1 - `confidence`; 0 if there is none.

    See `p_value` for the arguments. Without δ, and with every guess correct, it is log(p / (1 - p)), where
    p = (1 - confidence)^(1/r).
    """

    def excess(epsilon: float) -> float:
        found = p_value(canaries=canaries, guesses=guesses, correct=correct, epsilon=epsilon, delta=delta)
        return found - (1 - confidence)

    if guesses == 0 or excess(0.0) >= 0:
        return 0.0
    return cast(float, brentq(excess, 0.0, _LARGEST_EPSILON, xtol=1e-6))


def best_bound(scores: Sequence[Floats], inserted: Flags, delta: float, confidence: float = CONFIDENCE) -> Bound:
    """The largest lower bound over `SHARES` and all scores; it holds with `confidence`, however many are tried.

    Args:
        scores: one or more float64[m], large where a canary seems to be in.
        inserted: bool[m], which canaries are in, each by a fair coin of its own.
        delta: δ of the claim that is audited.
        confidence: probability, at least, that the true ε is not below the bound.
    """
    found: list[Bound] = []
    for score in scores:
        order = np.argsort(score, kind="stable")
        for share, part in SHARES:
            each = int(share * len(score) / 2)
            guesses, correct = 2 * each, _correct(inserted[order], each)
            split = 1 - (1 - confidence) * part / len(scores)
            epsilon = lower_bound(canaries=len(score), guesses=guesses, correct=correct, delta=delta, confidence=split)
            found.append(Bound(epsilon, guesses, correct))
    return max(found, key=lambda bound: bound.epsilon)


def largest_bound(canaries: int, delta: float, confidence: float = CONFIDENCE) -> float:
    """The most that `best_bound` can show with so many canaries and one score: every guess is right."""
    inserted = np.arange(canaries) >= canaries // 2
    return best_bound([inserted.astype(np.float64)], inserted, delta, confidence).epsilon


def _correct(inserted: Flags, each: int) -> int:
    """Correct guesses, where canaries are ordered by score: the first `each` are called out, the last `each` in."""
    return int((~inserted[:each]).sum() + inserted[len(inserted) - each :].sum())
