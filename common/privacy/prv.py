"""Opacus' PRV accountant without the rest of Opacus, which would import torch and take seconds.

The code that runs is Opacus' own, from its installed files: they are imported here under a package of another name, of
which only the folders are Opacus'. A command that needs an ε therefore starts without torch.
"""

import math
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from opacus.accountants.analysis.prv import (
        Domain,
        PoissonSubsampledGaussianPRV,
        TruncatedPrivacyRandomVariable,
        compose_heterogeneous,
        discretize,
    )
else:
    _NAME = "_silogan_opacus"
    _found = find_spec("opacus")  # looks for it, and imports nothing
    _package, _rdp = ModuleType(_NAME), ModuleType(f"{_NAME}.rdp")
    _package.__path__ = [str(Path(_found.origin).parent / "accountants")]
    _rdp.RDPAccountant = None  # needs torch; only a function that is not used here asks for it
    sys.modules |= {module.__name__: module for module in (_package, _rdp)}
    _prv = import_module(f"{_NAME}.analysis.prv")
    Domain, PoissonSubsampledGaussianPRV = _prv.Domain, _prv.PoissonSubsampledGaussianPRV
    TruncatedPrivacyRandomVariable = _prv.TruncatedPrivacyRandomVariable
    compose_heterogeneous, discretize = _prv.compose_heterogeneous, _prv.discretize

__all__ = ["PRV", "Domain", "compose_heterogeneous", "discretize"]

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


def _log(value: float) -> float:
    return math.log(value) if value > 0 else -math.inf
