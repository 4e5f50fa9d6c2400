"""Releases beside training: a noisy sum over the site's units, charged in the same book before it is computed.

What a statistic, an evaluation on real data or an image made from single patients would give away is bounded like a
training step: each unit's part is clipped, noise is added to the sum, and the ledger has charged it beforehand.
"""

from torch import Tensor

from client.ledger import Charge, Ledger, Purpose
from client.randomness import Randomness


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
