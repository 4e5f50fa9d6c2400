"""Row 9: a mechanism with too little noise, which one-run audits from one (ε, δ) passed, is found by the audit."""

from pathlib import Path

import pytest

from silogan.common.config.scenario import load_scenario
from silogan.simulations.attacks.empirical import audit_one_run

pytestmark = pytest.mark.usefixtures("threads_kept")

SCENARIO = Path(__file__).resolve().parents[2] / "simulations" / "scenarios" / "audit-digits.yaml"


@pytest.mark.parametrize(("noise", "canaries"), [(0.5, 40_000), (1 / 3, 8000), (0.25, 8000)])
def test_less_noise_than_planned_is_found(noise: float, canaries: int) -> None:
    """On 97d0510 the bounds were 6.1, 7.9 and 9.2 of 10, with 300,000 canaries."""
    found = audit_one_run(load_scenario(SCENARIO), canaries=canaries, noise=noise)
    assert found.epsilon_lower_bound > found.epsilon_analytic
    assert not found.holds
