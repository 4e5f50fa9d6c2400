"""Privacy accounting: what a sequence of private steps costs.

The mechanism is always the Poisson-subsampled Gaussian under add-or-remove-one adjacency. Accountants:

* PRV (Gopi, Lee and Wutschitz, 2021, "Numerical composition of differential privacy"), Opacus' implementation: plans
  a study, and refuses within the only one on a ledger.
* A Rényi filter (Feldman and Zrnic, 2021): refuses where studies may have been chosen after others had answered.
* PLD (Doroshenko et al., 2022, "Connect the dots"), Google's dp-accounting: an independent second opinion.
* RDP (Mironov, Talwar and Zhang, 2019): looser; an upper check.

Whatever numbers a mechanism may have, none of them but PLD takes more than a second, or more than 100 MB.
"""

import math
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import lru_cache
from typing import Annotated, cast

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from pydantic.dataclasses import dataclass
from scipy.fft import next_fast_len
from scipy.special import gammaln, log_ndtr

from silogan.common.bounds import MOST_NOISE, STRICT, Noise, Rate
from silogan.common.errors import ConfigError

# PRV's upper bound lies at most about twice this above the true epsilon; see `prv_error`.
PRV_EPSILON_ERROR = 0.01
# Above this RDP value PRV's grid takes minutes and gigabytes, and no guarantee is left to be exact about.
MEANINGLESS_EPSILON = 100.0
_MOST_POINTS = 2**18  # of PRV's grid: a fifth of a second and 40 MB
_DELTA_SHARES = 1000  # PRV may be wrong in δ by a thousandth of it
_NEARLY_FREE = 1e-12  # has a logarithm
_LOG_MU, _LOG_EPSILON, _LOG_TOLERANCE = (-40.0, 10.0), (-25.0, 20.0), 1e-12
_SECANT_STEPS, _SECANT_TOLERANCE, _ROUNDINGS, _FAR = 6, 1e-4, 5, 1.0
# Sites that work side by side ask for the same number at the same time.
_ONE_AT_A_TIME = threading.Lock()
_WHOLE = np.array([*range(2, 64), *(2**x for x in range(6, 15)), *(3 * 2**x for x in range(5, 13))])
_WHOLE.sort()
_ORDERS = np.unique(np.concatenate((1 + np.arange(1, 100) / 10, _WHOLE.astype(float))))
_ALPHA = np.repeat(_WHOLE, _WHOLE - 1).astype(float)
_K = np.concatenate([np.arange(2.0, whole + 1) for whole in _WHOLE])
_FIRST = np.concatenate(([0], np.cumsum(_WHOLE - 1)[:-1]))
_LOG_BINOMIALS = gammaln(_ALPHA + 1) - gammaln(_K + 1) - gammaln(_ALPHA - _K + 1)


@dataclass(frozen=True, order=True, config=STRICT)
class Mechanism:
    """`steps` releases of a Poisson-subsampled Gaussian sum.

    Attributes:
        noise_multiplier: σ, noise standard deviation over the clipping norm, in [1e-3, 1e6].
        sample_rate: q, probability of each unit to be in a batch, in [1e-6, 1].
        steps: number of releases, ≥ 0.

    Raises:
        ValueError: a field has another type, or is out of its range.
    """

    noise_multiplier: Noise
    sample_rate: Rate
    steps: Annotated[int, Field(ge=0, le=2**53)]


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


def filter_order(epsilon: float, delta: float) -> int:
    """The order α at which a budget of (ε, δ) admits most of a Gaussian without sampling, whose RDP is α/2σ².

    A public function of the budget alone: a filter's order must not depend on what was answered.
    """
    left = epsilon - _conversion(_WHOLE, delta)
    return int(_WHOLE[np.argmax(left / _WHOLE)])


def epsilon_filtered(mechanisms: Iterable[Mechanism], delta: float, order: int) -> float:
    """Upper bound on ε at `delta` for mechanisms each of which may have been chosen after the ones before had answered.

    Args:
        mechanisms: all that were, or are to be, run.
        delta: of the guarantee, in (0, 1).
        order: α, from `filter_order`; fixed before the first of them ran.

    Privacy:
        Feldman and Zrnic (2021, "Individual privacy accounting via a Rényi filter", theorem 3.1): if the RDP parameters
        at one fixed order α, chosen adaptively, never sum to more than B, all together are (α, B)-RDP. The sum may
        be anything below B when it is asked for; the guarantee is B, so a refusal must compare with a budget
        that was set beforehand. B as (ε, δ): Balle et al. (2020), theorem 21, and Canonne, Kamath and Steinke (2020).
        Of the two directions of add or remove, the one that is summed is the larger (Mironov, Talwar and Zhang, 2019,
        theorem 5).
    """
    merged = merge(mechanisms)
    if not merged:
        return 0.0
    at = int(np.searchsorted(_ORDERS, order))
    total = sum(m.steps * float(_rdp_curve(m.noise_multiplier, m.sample_rate)[at]) for m in merged)
    return max(0.0, total + float(_conversion(_ORDERS, delta)[at]))


def epsilon_pld(mechanisms: Iterable[Mechanism], delta: float, discretization: float = 1e-4) -> float:
    """Upper bound on ε by Google's accountant (pessimistic, on a grid of `discretization`)."""
    return _epsilon_pld(merge(mechanisms), delta, discretization)


@lru_cache(maxsize=256)  # hospitals of one study have one plan, and each takes seconds
def _epsilon_pld(merged: tuple[Mechanism, ...], delta: float, discretization: float) -> float:
    # Imported here, for it takes seconds and training does without.
    from dp_accounting import DpEvent, GaussianDpEvent, PoissonSampledDpEvent, SelfComposedDpEvent  # noqa: PLC0415
    from dp_accounting.pld import PLDAccountant  # noqa: PLC0415

    accountant = PLDAccountant(value_discretization_interval=discretization)
    for mechanism in merged:
        step: DpEvent = PoissonSampledDpEvent(mechanism.sample_rate, GaussianDpEvent(mechanism.noise_multiplier))
        accountant.compose(SelfComposedDpEvent(step, mechanism.steps))
    return float(accountant.get_epsilon(delta))


@lru_cache(maxsize=256)
def information(epsilon: float, delta: float) -> float:
    """μ² = 1/σ² of the one Gaussian sum, without sampling, that costs exactly (`epsilon`, `delta`).

    A sum of noise σ tells 1/σ² of a unit, and what several tell adds up (Dong, Roth and Su, 2022, corollary 3.3), which
    ε does not: half of an ε is only 28 to 33% of the information. Hence budgets are shared out in μ².
    """

    def excess(log_mu: float) -> float:
        return _log_delta(epsilon, math.exp(log_mu)) - math.log(delta)

    return math.exp(2 * _root(excess, _LOG_MU))


@lru_cache(maxsize=256)
def epsilon_of_information(mu_squared: float, delta: float) -> float:
    """The inverse of `information` for one δ: ε of a Gaussian sum with σ = 1/μ."""

    def excess(log_epsilon: float) -> float:
        return _log_delta(math.exp(log_epsilon), math.sqrt(mu_squared)) - math.log(delta)

    if excess(_LOG_EPSILON[0]) <= 0:  # δ alone pays for it
        return math.exp(_LOG_EPSILON[0])
    return math.exp(_root(excess, _LOG_EPSILON))


def _root(excess: Callable[[float], float], between: tuple[float, float]) -> float:
    from scipy.optimize import bisect  # noqa: PLC0415  (see `_epsilon_prv`; the faster brentq stands no infinity)

    return cast(float, bisect(excess, *between, xtol=_LOG_TOLERANCE))


def _log_delta(epsilon: float, mu: float) -> float:
    """Logarithm of the smallest δ at which a Gaussian sum with σ = 1/μ has this ε (Balle and Wang, 2018, theorem 8)."""
    above = float(log_ndtr(mu / 2 - epsilon / mu))
    below = epsilon + float(log_ndtr(-mu / 2 - epsilon / mu))
    return above + math.log(-math.expm1(below - above)) if below < above else -math.inf


@lru_cache(maxsize=256)
def find_noise_multiplier(
    target_epsilon: float, delta: float, sample_rate: float, steps: int, beside: tuple[Mechanism, ...] = ()
) -> float:
    """The smallest σ, to four digits and rounded up, whose `steps` and what is `beside` cost at most `target_epsilon`.

    RDP, which is cheap, mostly gives a σ that is enough. From there the secant method on log ε over log σ, where the
    curve is nearly straight, goes down to what PRV finds enough: a handful of evaluations, whatever the numbers are.

    Raises:
        ConfigError: the target is below what RDP shows for any noise (about 0.004 at δ = 1e-5), or what is `beside`
            alone costs as much.
    """
    if beside and _epsilon_prv(merge(beside), delta) >= target_epsilon:
        alone = _epsilon_prv(merge(beside), delta)
        raise ConfigError(
            "privacy.epsilon",
            f"{target_epsilon:g} does not pay for the phases before training (ε = {alone:.3g})",
            "raise it, or training.warm_start.noise_multiplier",
        )

    def excess(log_sigma: float, accountant: Callable[..., float]) -> float:
        """Logarithm of ε over the target."""
        mechanisms = merge((*beside, Mechanism(math.exp(log_sigma), sample_rate, steps)))
        return math.log(max(accountant(mechanisms, delta), _NEARLY_FREE) / target_epsilon)

    quick = _epsilon_rdp if _epsilon_rdp(merge(beside), delta) < target_epsilon else _epsilon_prv
    enough = _enough(excess, quick, target_epsilon)
    for log_sigma in (_secant(excess, enough), enough):
        for sigma in _rounded_up(math.exp(log_sigma)):
            if excess(math.log(sigma), _epsilon_prv) <= 0:
                return sigma
    raise ConfigError("privacy.epsilon", f"no noise_multiplier reaches ε = {target_epsilon:g}", "raise it")


def _enough(excess: Callable[..., float], accountant: Callable[..., float], target_epsilon: float) -> float:
    """Log σ at which an accountant reaches the target: RDP, or PRV where RDP alone sees nothing left."""
    from scipy.optimize import brentq  # noqa: PLC0415  (see `_epsilon_prv`)

    low = high = 0.0
    while excess(high, accountant) > 0:
        high += math.log(2)
        if high > math.log(MOST_NOISE / 2):
            raise ConfigError("privacy.epsilon", f"no noise_multiplier reaches ε = {target_epsilon:g}", "raise it")
    while excess(low, accountant) <= 0:
        low -= math.log(2)
    tolerance = 1e-6 if accountant is _epsilon_rdp else 1e-3
    return cast(float, brentq(excess, low, high, args=(accountant,), xtol=tolerance)) + 10 * tolerance


def _secant(excess: Callable[..., float], enough: float) -> float:
    """Log σ, to 1e-4, at which PRV reaches the target; not above `enough`."""
    before, there = enough, excess(enough, _epsilon_prv)
    found = max(enough + there, enough - _FAR)  # σ and ε are about inversely proportional
    for _ in range(_SECANT_STEPS):
        here = excess(found, _epsilon_prv)
        if found == before or here == there:
            break
        next_one = found - here * (found - before) / (here - there)
        before, found, there = found, min(max(next_one, enough - _FAR), enough), here
        if abs(found - before) < _SECANT_TOLERANCE:
            break
    return found


def _rounded_up(sigma: float) -> Iterator[float]:
    """σ rounded up to four digits, and the next few numbers of four digits."""
    unit = 10.0 ** (math.floor(math.log10(sigma)) - 3)
    digits = math.ceil(sigma / unit)
    for more in range(_ROUNDINGS):
        yield float(f"{(digits + more) * unit:.4g}")


@lru_cache(maxsize=4096)
def _epsilon_prv(mechanisms: tuple[Mechanism, ...], delta: float) -> float:
    loose = _epsilon_rdp(mechanisms, delta)
    if not mechanisms or loose > MEANINGLESS_EPSILON or not _has_digits(mechanisms, delta):
        return loose
    # Imported here, for it takes half a second, which a command that asks for no ε can do without.
    from silogan.common.privacy.prv import PRV, Domain, compose_heterogeneous, discretize  # noqa: PLC0415

    error = prv_error(mechanisms, delta)
    mesh = _mesh(mechanisms, delta, error)
    half = cast(int, next_fast_len(math.ceil(_reach(mechanisms, delta) / mesh)))
    domain = Domain((1 - half) * mesh, half * mesh, 2 * half)  # 0 where Opacus' convolution looks for it
    try:
        with np.errstate(all="ignore"):  # log(1 - q) at q = 1
            steps = [discretize(PRV(m.noise_multiplier, m.sample_rate, domain), domain) for m in mechanisms]
            composed = compose_heterogeneous(steps, [mechanism.steps for mechanism in mechanisms])
            tight = float(composed.compute_epsilon(delta, delta / _DELTA_SHARES, error)[2])
    except (ValueError, RuntimeError):  # "floating point errors will dominate", "discrete mean differs"
        return loose
    return min(loose, max(0.0, tight)) if math.isfinite(tight) else loose


def prv_error(mechanisms: Iterable[Mechanism], delta: float) -> float:
    """The error of PRV's grid; its upper bound lies at most about twice this above the true ε.

    `PRV_EPSILON_ERROR`, or what as many points as are affordable give: the mesh shrinks with the square root of the
    number of steps. ε stays an upper bound, but of tens of thousands of steps it is a little looser.
    """
    merged = merge(mechanisms)
    points = 2 * _reach(merged, delta) / _mesh(merged, delta, PRV_EPSILON_ERROR)
    return PRV_EPSILON_ERROR * max(1.0, points * len(merged) / _MOST_POINTS)


def _has_digits(mechanisms: tuple[Mechanism, ...], delta: float) -> bool:
    """Whether the rounding of an FFT, which grows with the power that it is raised to, is far below δ."""
    steps = sum(m.steps for m in mechanisms)
    return steps * math.log2(_MOST_POINTS) * np.finfo(float).eps < delta / _DELTA_SHARES


def _reach(mechanisms: tuple[Mechanism, ...], delta: float) -> float:
    """Half the width of PRV's grid: Gopi, Lee and Wutschitz (2021), remark 5.6."""
    count, delta_error = sum(m.steps for m in mechanisms), delta / _DELTA_SHARES
    of_all = _epsilon_rdp(mechanisms, delta_error / 4)
    of_one = [_epsilon_rdp((replace(m, steps=1),), delta_error / (8 * count)) for m in mechanisms]
    return max(of_all, *of_one, PRV_EPSILON_ERROR) + 3


def _mesh(mechanisms: tuple[Mechanism, ...], delta: float, eps_error: float) -> float:
    count = sum(m.steps for m in mechanisms)
    return eps_error / math.sqrt(count * math.log(12 * _DELTA_SHARES / delta) / 2)


@lru_cache(maxsize=4096)
def _epsilon_rdp(mechanisms: tuple[Mechanism, ...], delta: float) -> float:
    if not mechanisms:
        return 0.0
    total = np.sum([m.steps * _rdp_curve(m.noise_multiplier, m.sample_rate) for m in mechanisms], axis=0)
    return max(0.0, float(np.min(total + _conversion(_ORDERS, delta))))


def _conversion(orders: NDArray[np.float64], delta: float) -> NDArray[np.float64]:
    """What RDP at each order costs more as (ε, δ)-DP: Balle et al. (2020), theorem 21; Canonne et al. (2020)."""
    return np.log1p(-1 / orders) - (math.log(delta) + np.log(orders)) / (orders - 1)


@lru_cache(maxsize=1024)
def _rdp_curve(noise_multiplier: float, sample_rate: float) -> NDArray[np.float64]:
    """Rényi divergence of one step at each of `_ORDERS`; those of more steps are multiples of it.

    At whole orders α it is log(A)/(α - 1) with A = Σₖ C(α, k) q^k (1 - q)^(α-k) exp((k² - k)/2σ²) (Mironov, Talwar and
    Zhang, 2019, section 3.3), summed as A = 1 + Σₖ C(α, k) q^k (1 - q)^(α-k) (exp((k² - k)/2σ²) - 1), in which nothing
    cancels. log A is convex in α and 0 at α = 1, so that between whole orders the chord is an upper bound (Wang, Balle
    and Kasiviswanathan, 2019); the Gaussian without sampling, α/2σ², is another.
    """
    plain = _ORDERS / (2 * noise_multiplier**2)
    if sample_rate == 1:
        return plain
    exponent = (_K * _K - _K) / (2 * noise_multiplier**2)
    terms = _LOG_BINOMIALS + _K * math.log(sample_rate) + (_ALPHA - _K) * math.log1p(-sample_rate)
    terms += exponent + np.log(-np.expm1(-exponent))
    highest = np.maximum.reduceat(terms, _FIRST)
    sums = highest + np.log(np.add.reduceat(np.exp(terms - np.repeat(highest, _WHOLE - 1)), _FIRST))
    log_a = np.interp(_ORDERS, [1, *_WHOLE], [0.0, *np.logaddexp(0.0, sums)])
    return np.minimum(log_a / (_ORDERS - 1), plain)
