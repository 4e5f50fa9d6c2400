"""Trade-off curves of tests whether a unit was present, and families of curves ordered by strength.

A mechanism is f-differentially private (Dong, Roth and Su, 2022, "Gaussian differential privacy") if every event of
probability x without the unit has at most probability f̄(x) = 1 - f(x) with it, and the other way round. Audits need the
inverse: an event of probability y with the unit has at least probability f̄⁻¹(y) without it. Whatever is rounded here is
rounded down, so that an audit rejects no curve that it should not.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import lru_cache, reduce
from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import log_ndtr, ndtr, ndtri

from silogan.common.privacy.accounting import Mechanism, merge

if TYPE_CHECKING:
    from dp_accounting.pld.privacy_loss_distribution import PrivacyLossDistribution

Floats = NDArray[np.float64]

_DISCRETISATION = 2e-3
"""Grid of privacy losses of a subsampled plan; Google's accountant rounds them up."""

_MOST_LOSS = 60.0
_LOSSES = np.concatenate((-np.linspace(0, _MOST_LOSS, 1501)[:0:-1], np.linspace(0, _MOST_LOSS, 1501)))


# One trade-off curve, as f̄⁻¹: the least probability, without the unit, of an event that has this one with it; never too
# large.
Curve = Callable[[float], float]


class Family(ABC):
    """Curves ordered by strength: the larger it is, the more a mechanism may reveal. Strength 0 reveals nothing."""

    most: float
    """Largest strength that is tried."""

    @abstractmethod
    def curve(self, strength: float) -> Curve:
        """The curve of a strength in (0, most]."""

    @abstractmethod
    def epsilon(self, strength: float, delta: float) -> float:
        """ε at `delta` of the mechanisms that just have this curve."""


def gaussian_curve(mu: float) -> Curve:
    """The curve G_μ of one Gaussian release: f̄(x) = Φ(Φ⁻¹(x) + μ) (Dong, Roth and Su, 2022, eq. 6).

    Args:
        mu: μ ≥ 0, distance of the two means in standard deviations.
    """
    return lambda probability: float(ndtr(ndtri(min(probability, 1.0)) - mu))


class Gaussians(Family):
    """All μ: what a sequence of Gaussian releases with q = 1 comes to, μ² = Σ 1/σ² (the same, corollary 3.3)."""

    most = 100.0

    def curve(self, strength: float) -> Curve:
        """See `Family`; the strength is μ."""
        return gaussian_curve(strength)

    def epsilon(self, strength: float, delta: float) -> float:
        """See `Family`: δ(ε) = Φ(-ε/μ + μ/2) - e^ε Φ(-ε/μ - μ/2) (the same, corollary 2.13)."""
        if strength <= 0 or 2 * float(ndtr(strength / 2)) - 1 <= delta:
            return 0.0

        def excess(epsilon: float) -> float:
            first, second = -epsilon / strength + strength / 2, -epsilon / strength - strength / 2
            return float(ndtr(first) - np.exp(epsilon + log_ndtr(second))) - delta

        most = strength * (strength / 2 - float(ndtri(delta)))  # where the first term alone is δ
        return cast(float, brentq(excess, 0.0, most, xtol=1e-9))


def plan_curve(losses: Floats, deltas: Floats) -> Curve:
    """The curve of Poisson-subsampled Gaussian releases, from their δ(ε) at many ε (the same, proposition 2.13).

    f̄⁻¹(y) = max over ε of (y - δ(ε))·e^-ε; fewer ε, or larger δ, give less.

    Args:
        losses: ε of either sign, increasing.
        deltas: upper bounds of δ(ε).
    """
    slopes = np.exp(-losses)
    return lambda probability: max(0.0, float(((probability - deltas) * slopes).max()))


class ScaledPlans(Family):
    """A plan's own mechanisms with less noise than they claim: strength s is noise of 1/s times what is planned.

    Args:
        mechanisms: the plan's; strength 1 is the plan itself.
    """

    most = 4.0  # a quarter of the noise; beyond, the distribution of losses takes minutes

    def __init__(self, mechanisms: Iterable[Mechanism]) -> None:
        self._mechanisms = merge(mechanisms)

    def curve(self, strength: float) -> Curve:
        """See `Family`."""
        return _curve(self._scaled(strength))

    def epsilon(self, strength: float, delta: float) -> float:
        """See `Family`; rounded up by Google's accountant, by at most about its grid."""
        if strength <= 0:
            return 0.0
        return float(_loss_distribution(self._scaled(strength)).get_epsilon_for_delta(delta))

    def _scaled(self, strength: float) -> tuple[Mechanism, ...]:
        return tuple(replace(m, noise_multiplier=m.noise_multiplier / strength) for m in self._mechanisms)


def family_of(mechanisms: Iterable[Mechanism]) -> Family:
    """The hypotheses about a plan: Gaussian where every unit takes part in every step, else the plan's own curves."""
    merged = merge(mechanisms)
    if all(mechanism.sample_rate == 1 for mechanism in merged):
        return Gaussians()
    return ScaledPlans(merged)


@lru_cache(maxsize=64)
def _curve(mechanisms: tuple[Mechanism, ...]) -> Curve:
    positive = _LOSSES[len(_LOSSES) // 2 :]
    deltas = np.asarray(_loss_distribution(mechanisms).get_delta_for_epsilon(positive.tolist()), dtype=np.float64)
    # δ(-ε) = 1 - e^-ε (1 - δ(ε)), since what holds with the unit and without it holds the other way round
    mirrored = 1 - np.exp(-positive[1:]) * (1 - deltas[1:])
    return plan_curve(_LOSSES, np.concatenate((mirrored[::-1], deltas)))


@lru_cache(maxsize=64)
def _loss_distribution(mechanisms: tuple[Mechanism, ...]) -> "PrivacyLossDistribution":
    # Imported here, for it takes seconds and most audits do without.
    from dp_accounting.pld import privacy_loss_distribution as pld  # noqa: PLC0415

    parts = [
        pld.from_gaussian_mechanism(
            m.noise_multiplier, sampling_prob=m.sample_rate, value_discretization_interval=_DISCRETISATION
        ).self_compose(m.steps)
        for m in mechanisms
    ]
    return reduce(lambda total, part: total.compose(part), parts)
