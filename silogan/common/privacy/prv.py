"""Opacus' PRV accountant without the rest of Opacus, which would import torch and take seconds.

The code that runs is Opacus' own, from its installed files: they are imported here under packages of other names, of
which only the folders are Opacus'. A command that needs an ε therefore starts without torch. The composition alone is
written again (`compose_heterogeneous`): Opacus' imports scipy.signal, half a second for one convolution.
"""

import math
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import NDArray
from scipy import fft

if TYPE_CHECKING:
    from opacus.accountants.analysis.prv import (
        DiscretePRV,
        Domain,
        PoissonSubsampledGaussianPRV,
        TruncatedPrivacyRandomVariable,
        discretize,
    )
else:
    _NAME = "_silogan_opacus"
    _folder = Path(find_spec("opacus").origin).parent / "accountants"  # looks for it, and imports nothing
    for _part in ("", ".analysis", ".analysis.prv"):
        _package = ModuleType(_NAME + _part)
        _package.__path__ = [str(_folder.joinpath(*_part.split(".")))]
        sys.modules[_package.__name__] = _package
    _rdp = ModuleType(f"{_NAME}.rdp")
    _rdp.RDPAccountant = None  # needs torch; only a function that is not used here asks for it
    sys.modules[_rdp.__name__] = _rdp
    _prvs = import_module(f"{_NAME}.analysis.prv.prvs")
    DiscretePRV, Domain, discretize = _prvs.DiscretePRV, _prvs.Domain, _prvs.discretize
    PoissonSubsampledGaussianPRV = _prvs.PoissonSubsampledGaussianPRV
    TruncatedPrivacyRandomVariable = _prvs.TruncatedPrivacyRandomVariable

__all__ = ["PRV", "Domain", "compose_heterogeneous", "discretize"]

_rfft = cast(Callable[..., NDArray[np.complex128]], fft.rfft)
_irfft = cast(Callable[..., NDArray[np.float64]], fft.irfft)
_TAIL, _QUADRATURE = 12.0, 4001  # standard deviations of a Gaussian to each side, and points among them


class PRV(TruncatedPrivacyRandomVariable):
    """Opacus' privacy random variable with an exact mean: T steps make T times of its error.

    Opacus integrates its distribution function to 1e-8, a thousand quadrature points at a time.
    """

    def __init__(self, noise_multiplier: float, sample_rate: float, domain: Domain) -> None:
        self._sigma, self._q = noise_multiplier, sample_rate
        super().__init__(PoissonSubsampledGaussianPRV(sample_rate, noise_multiplier), domain.t_min, domain.t_max)

    def mean(self) -> float:
        """KL((1 - q)·N(0, σ²) + q·N(1, σ²) ‖ N(0, σ²)) by the trapezoidal rule, which is exact for such integrals.

        What truncation takes away, less than δ in a million, is left in.
        """
        q, sigma = self._q, self._sigma
        u, width = np.linspace(-_TAIL, _TAIL, _QUADRATURE, retstep=True)
        density = np.exp(-u * u / 2) * width / math.sqrt(2 * math.pi)
        return sum(
            share
            * float(np.sum(density * np.logaddexp(_log(1 - q), math.log(q) + (u + (centre - 0.5) / sigma) / sigma)))
            for share, centre in ((1 - q, 0.0), (q, 1.0))
        )


def compose_heterogeneous(steps: Sequence[DiscretePRV], counts: Sequence[int]) -> DiscretePRV:
    """Steps of several kinds, each taken so many times (Gopi, Lee and Wutschitz, 2021), as in Opacus.

    A kind is composed with itself by a power of its transform, which wraps around; then one kind with the next.

    Args:
        steps: one a kind, on domains of one even length and mesh.
        counts: how often each is taken, at least once.
    """
    found = list(map(_with_itself, steps, counts))
    while len(found) > 1:  # by pairs, so that each is cut to the domain as seldom as can be
        left_over = [found.pop()] if len(found) % 2 else []
        found = left_over + list(map(_one_with_another, found[::2], found[1::2]))
    return found[0]


def _with_itself(step: DiscretePRV, count: int) -> DiscretePRV:
    probabilities = _irfft(_rfft(step.pmf) ** count)
    shift = count - 1 + (len(probabilities) // 2 if count % 2 == 0 else 0)
    return DiscretePRV(np.roll(probabilities, shift), step.domain.shift_right(step.domain.shifts * (count - 1)))


def _one_with_another(one: DiscretePRV, other: DiscretePRV) -> DiscretePRV:
    """Their convolution without wrapping, of which the middle is kept."""
    length = len(one.pmf) + len(other.pmf) - 1
    padded = cast(int, fft.next_fast_len(length, real=True))
    whole = _irfft(_rfft(one.pmf, padded) * _rfft(other.pmf, padded), padded)
    first = (length - len(one.pmf)) // 2
    return DiscretePRV(whole[first : first + len(one.pmf)], one.domain.shift_right(other.domain.shifts))


def _log(value: float) -> float:
    return math.log(value) if value > 0 else -math.inf
