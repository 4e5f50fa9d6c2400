"""Releases beside training: noisy sums over the site's units, charged in the same book before they are computed.

What a statistic, an evaluation on real data or an image made from single patients would give away is bounded like a
training step: each unit's part is clipped, noise is added to the sum, and the ledger has charged it beforehand.
"""

import torch
from torch import Tensor

from client.data import Images, to_unit_range
from client.ledger import Charge, Ledger, Purpose
from client.randomness import Randomness
from client.units import Units
from common.moments import Moments

_AT_A_TIME = 4096  # images that are in memory as floats


def noisy_moments(
    images: Images, units: Units, moments: Moments, *, noise_multiplier: float, randomness: Randomness
) -> Tensor:
    """Releases the sum over the site's units of what they add to the classes' moments, and Gaussian noise.

    Args:
        images: the site's training images.
        units: the units among them.
        moments: what a record adds.
        noise_multiplier: σ; 0 only in a run without privacy.
        randomness: source of the noise.

    Returns:
        float32[moments.size].

    Privacy:
        Unit: of `units`, which counts for the mean of what its records add. Neighbouring: add or remove one.
        Sensitivity: 1 (`common/moments.py`). One Gaussian release with q = 1, for which the caller has charged
        `Charge.for_warm_start`. The result may leave.
    """
    shares = units.shares().to(images.labels.device)
    total = torch.zeros(moments.size, dtype=torch.float64, device=images.labels.device)
    for start in range(0, len(images), _AT_A_TIME):
        part = slice(start, start + _AT_A_TIME)
        total += moments.total(to_unit_range(images.pixels[part]), images.labels[part], shares[part])
    noise = randomness.normal(moments.size).to(total)
    return (total + noise_multiplier * noise).float()


def noisy_sum(
    ledger: Ledger,
    values: Tensor,
    *,
    study_id: str,
    plan_id: str,
    purpose: Purpose,
    clip_norm: float,
    noise_multiplier: float,
    randomness: Randomness,
) -> Tensor:
    """Releases Σᵢ vᵢ·min(1, C/‖vᵢ‖) + N(0, σ²C²) (Dwork and Roth, 2014, appendix A).

    Args:
        ledger: the cohort's; its hospital must have approved the study.
        values: float[N, ...], one row a unit; a row that is not finite counts as zero.
        study_id: the run that asks.
        plan_id: its privacy plan.
        purpose: what for.
        clip_norm: C > 0.
        noise_multiplier: σ, at least what the hospital's policy demands.
        randomness: source of the noise.

    Returns:
        float[...].

    Raises:
        PrivacyRefusal: the ledger does not allow it; nothing was computed.

    Privacy:
        Unit: one row. Neighbouring: add or remove one. Sensitivity: C. One Gaussian release with q = 1. The result may
        leave; N must not, nor a mean by it: divide by the declared size.
    """
    charge = Charge(study_id, plan_id, 1, 1, noise_multiplier, 1.0, clip_norm, purpose=purpose)
    reservation = ledger.reserve(charge)
    rows = values.flatten(1)
    norms = rows.norm(dim=1, keepdim=True)
    clipped = rows.mul((clip_norm / norms).clamp(max=1)).masked_fill(~norms.isfinite(), 0.0)
    noise = randomness.normal(rows.shape[1]).to(rows)
    released = clipped.sum(dim=0) + noise_multiplier * clip_norm * noise
    ledger.settle(reservation, 1)
    return released.view(values.shape[1:])
