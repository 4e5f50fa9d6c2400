"""The arithmetic of privacy: what a sequence of private steps costs.

The mechanism is always the Poisson-subsampled Gaussian under add-or-remove-one adjacency. Three accountants are at
hand:

* PRV (Gopi, Lee and Wutschitz, 2021, "Numerical composition of differential privacy"), Opacus' implementation: plans
  and refuses.
* PLD (Doroshenko et al., 2022, "Connect the dots"), Google's dp-accounting: an independent second opinion.
* RDP (Mironov, Talwar and Zhang, 2019): looser; an upper check.
"""

import math
import threading
import warnings
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import cast

import numpy as np
from numpy.typing import NDArray
from opacus.accountants import PRVAccountant
from opacus.accountants.analysis import rdp
from opacus.accountants.analysis.prv import Domain, PoissonSubsampledGaussianPRV
from scipy.optimize import brentq

from common.errors import ConfigError

# PRV sizes its grid by a rough RDP bound and warns that the bound is rough; its own result does not depend on it.
warnings.filterwarnings("ignore", message="Optimal order is the", module="opacus")

# PRV's upper bound lies at most about twice this above the true epsilon.
PRV_EPSILON_ERROR = 0.01
# Above this RDP value PRV's grid takes minutes and gigabytes, and no guarantee is left to be exact about.
MEANINGLESS_EPSILON = 100.0
_NEARLY_FREE = 1e-12  # has a logarithm
_MOST_NOISE = 1e6
# Sites that work side by side ask for the same number at the same time.
_ONE_AT_A_TIME = threading.Lock()
_RDP_ORDERS = [1 + x / 10 for x in range(1, 100)] + [float(x) for x in range(11, 64)] + [2.0**x for x in range(6, 15)]


@dataclass(frozen=True, order=True)
class Mechanism:
    """`steps` releases of a Poisson-subsampled Gaussian sum.

    Attributes:
        noise_multiplier: σ, noise standard deviation over the clipping norm, > 0.
        sample_rate: q, probability of each unit to be in a batch, in (0, 1].
        steps: number of releases, ≥ 0.
    """

    noise_multiplier: float
    sample_rate: float
    steps: int


def merge(mechanisms: Iterable[Mechanism]) -> tuple[Mechanism, ...]:
    """Equal mechanisms joined, in a fixed order: accountants slow down with every entry; order does not matter."""
    steps: Counter[tuple[float, float]] = Counter()
    for mechanism in mechanisms:
        steps[mechanism.noise_multiplier, mechanism.sample_rate] += mechanism.steps
    return tuple(Mechanism(sigma, q, count) for (sigma, q), count in sorted(steps.items()) if count > 0)


def epsilon(mechanisms: Iterable[Mechanism], delta: float) -> float:
    """Upper bound on ε at `delta` for all mechanisms together.

    PRV; RDP where ε is beyond meaning anyway, or where ε or δ is too small for PRV's floating point.

    Privacy:
        Holds for units added or removed, each contributing at most the clipping norm to a step.
    """
    with _ONE_AT_A_TIME:
        return _epsilon_prv(merge(mechanisms), delta)


def epsilon_rdp(mechanisms: Iterable[Mechanism], delta: float) -> float:
    """Upper bound on ε through Rényi differential privacy."""
    return _epsilon_rdp(merge(mechanisms), delta)


def epsilon_pld(mechanisms: Iterable[Mechanism], delta: float, discretization: float = 1e-4) -> float:
    """Upper bound on ε by Google's accountant (pessimistic, on a grid of `discretization`)."""
    # Imported here, for it takes seconds and training does without.
    from dp_accounting import DpEvent, GaussianDpEvent, PoissonSampledDpEvent, SelfComposedDpEvent  # noqa: PLC0415
    from dp_accounting.pld import PLDAccountant  # noqa: PLC0415

    accountant = PLDAccountant(value_discretization_interval=discretization)
    for mechanism in merge(mechanisms):
        step: DpEvent = PoissonSampledDpEvent(mechanism.sample_rate, GaussianDpEvent(mechanism.noise_multiplier))
        accountant.compose(SelfComposedDpEvent(step, mechanism.steps))
    return float(accountant.get_epsilon(delta))


@lru_cache(maxsize=256)
def find_noise_multiplier(
    target_epsilon: float, delta: float, sample_rate: float, steps: int, beside: tuple[Mechanism, ...] = ()
) -> float:
    """The smallest σ, to four digits and rounded up, whose `steps` and what is `beside` cost at most `target_epsilon`.

    Brent's method on log ε over log σ, where the curve is nearly straight; RDP, which is cheap, brackets the root.

    Raises:
        ConfigError: the target is below what RDP shows for any noise (about 0.004 at δ = 1e-5), or what is `beside`
            alone costs as much.
    """
    if beside and _epsilon_prv(merge(beside), delta) >= target_epsilon:
        alone = _epsilon_prv(merge(beside), delta)
        raise ConfigError(
            "privacy.epsilon",
            f"{target_epsilon:g} does not pay for the warm start alone (ε = {alone:.3g})",
            "raise it, or the warm start's noise_multiplier",
        )

    def all_of_it(sigma: float) -> tuple[Mechanism, ...]:
        return merge((*beside, Mechanism(sigma, sample_rate, steps)))

    def excess(log_sigma: float, accountant: Callable[..., float]) -> float:
        cost = accountant(all_of_it(math.exp(log_sigma)), delta)
        return math.log(max(cost, _NEARLY_FREE) / target_epsilon)

    low = high = 0.0
    while excess(high, _epsilon_rdp) > 0:
        high += math.log(2)
        if high > math.log(_MOST_NOISE):
            raise ConfigError("privacy.epsilon", f"no noise is accountable for {target_epsilon:g}", "raise it")
    while excess(low, _epsilon_rdp) <= 0:
        low -= math.log(2)
    loose = _root(excess, low, high, _epsilon_rdp, tolerance=1e-3)
    lowest = loose - 0.25
    while excess(lowest, _epsilon_prv) <= 0:
        lowest -= 0.25
    sigma = math.exp(_root(excess, lowest, loose + 0.01, _epsilon_prv, tolerance=1e-4))
    unit = 10.0 ** (math.floor(math.log10(sigma)) - 3)
    digits = math.ceil(sigma / unit)
    while _epsilon_prv(all_of_it(digits * unit), delta) > target_epsilon:
        digits += 1
    return float(f"{digits * unit:.4g}")


def _root(
    function: Callable[..., float], low: float, high: float, accountant: Callable[..., float], *, tolerance: float
) -> float:
    return cast(float, brentq(function, low, high, args=(accountant,), xtol=tolerance))


@lru_cache(maxsize=4096)
def _epsilon_prv(mechanisms: tuple[Mechanism, ...], delta: float) -> float:
    loose = _epsilon_rdp(mechanisms, delta)
    if not mechanisms or loose > MEANINGLESS_EPSILON:
        return loose
    accountant = _PRVAccountant()
    accountant.history = [(m.noise_multiplier, m.sample_rate, m.steps) for m in mechanisms]
    try:
        with np.errstate(divide="ignore"):  # log(1 - q) at q = 1
            tight = float(accountant.get_epsilon(delta, eps_error=PRV_EPSILON_ERROR))
    except ValueError:  # "floating point errors will dominate"
        return loose
    return min(loose, max(0.0, tight))  # a large δ alone may pay for more than there is


@lru_cache(maxsize=4096)
def _epsilon_rdp(mechanisms: tuple[Mechanism, ...], delta: float) -> float:
    if not mechanisms:
        return 0.0
    total = np.sum([m.steps * _rdp_curve(m.noise_multiplier, m.sample_rate) for m in mechanisms], axis=0)
    return max(0.0, float(rdp.get_privacy_spent(orders=_RDP_ORDERS, rdp=total, delta=delta)[0]))


@lru_cache(maxsize=256)
def _rdp_curve(noise_multiplier: float, sample_rate: float) -> NDArray[np.float64]:
    """Rényi divergence of one step at each of `_RDP_ORDERS`; those of more steps are multiples of it."""
    return np.asarray(rdp.compute_rdp(q=sample_rate, noise_multiplier=noise_multiplier, steps=1, orders=_RDP_ORDERS))


class _PRVAccountant(PRVAccountant):
    """Opacus' accountant, which spends most of its time on RDP curves to size its grid; here they are remembered."""

    def _get_domain(
        self,
        prvs: list[PoissonSubsampledGaussianPRV],
        num_self_compositions: list[int],
        eps_error: float,
        delta_error: float,
    ) -> Domain:
        """Gopi, Lee and Wutschitz (2021), remark 5.6."""
        mechanisms = [
            Mechanism(prv.noise_multiplier, prv.sample_rate, steps)
            for prv, steps in zip(prvs, num_self_compositions, strict=True)
        ]
        count = sum(num_self_compositions)
        of_all = _epsilon_rdp(merge(mechanisms), delta_error / 4)
        of_one = [_epsilon_rdp((replace(m, steps=1),), delta_error / (8 * count)) for m in mechanisms]
        reach = max(of_all, *of_one, eps_error) + 3
        mesh_size = eps_error / math.sqrt(count * math.log(12 / delta_error) / 2)
        return Domain.create_aligned(-reach, reach, mesh_size)
