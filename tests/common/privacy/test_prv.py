"""Opacus' accountant, loaded without Opacus' networks, is Opacus' accountant."""

import pytest
from opacus.accountants.analysis import prv as whole

from silogan.common.privacy import prv

SETTINGS = ((1.1, 0.05, 300), (2.0, 0.2, 40), (0.9, 0.01, 1), (5.0, 0.5, 2))
DELTA, ERROR = 1e-5, 0.01


def test_the_code_that_runs_is_opacus_own() -> None:
    for ours, theirs in (
        (prv.discretize, whole.discretize),
        (prv.DiscretePRV.compute_epsilon, whole.DiscretePRV.compute_epsilon),
    ):
        assert ours.__code__.co_filename == theirs.__code__.co_filename


@pytest.mark.parametrize("kinds", [1, 2, 3, 4])
def test_figures_are_those_of_opacus_as_a_whole(kinds: int) -> None:
    found: list[tuple[float, ...]] = []
    for module in (prv, whole):
        domain = module.Domain(-16383 * 5e-4, 16384 * 5e-4, 32768)
        steps = [module.discretize(prv.PRV(sigma, q, domain), domain) for sigma, q, _ in SETTINGS[:kinds]]
        composed = module.compose_heterogeneous(steps, [count for _, _, count in SETTINGS[:kinds]])
        found.append(tuple(composed.compute_epsilon(DELTA, DELTA / 1000, ERROR)))
    assert found[0] == pytest.approx(found[1], rel=1e-9)
