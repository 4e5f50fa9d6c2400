"""`silogan audit --empirical`: what attackers make of a scenario, by canaries and by membership inference."""

from dataclasses import dataclass
from typing import Any

from rich.console import Console

from common.config import Scenario
from common.errors import VerificationError
from simulations.empirical import EmpiricalAudit, audit_one_run, refuse_without_privacy
from simulations.membership import Membership, infer_of_scenario


@dataclass(frozen=True)
class Attacks:
    """A scenario under attack.

    Attributes:
        empirical: the lower bound on ε that canaries prove, beside the analytic ε.
        membership: membership inference on the run of the scenario as it is.
    """

    empirical: EmpiricalAudit
    membership: Membership

    def to_json(self) -> dict[str, Any]:
        """What `silogan audit --json` prints of it."""
        return {
            "epsilon_lower_bound": self.empirical.epsilon_lower_bound,
            "confidence": self.empirical.confidence,
            "empirical": self.empirical.to_json(),
            "membership": self.membership.to_json(),
        }

    def check(self) -> None:
        """Passes if the lower bound leaves the analytic ε possible.

        Raises:
            VerificationError: it does not: the software does not do what its plan says.
        """
        found = self.empirical
        if not found.holds:
            problem = f"ε is at least {found.epsilon_lower_bound:.2f}, not at most {found.epsilon_analytic:.2f}"
            raise VerificationError("empirical audit", problem, "release nothing, and report it as a fault of silogan")


def attack(scenario: Scenario, console: Console) -> Attacks:
    """Attacks a scenario.

    Args:
        scenario: what to train, twice: once with canaries and narrow networks, once as it is.
        console: where to show progress.

    Raises:
        PrivacyRefusal: the scenario is without privacy.
        SiloganError: it cannot be audited, or trained.
    """
    refuse_without_privacy(scenario)
    with console.status("training with canaries") as status:
        empirical = audit_one_run(
            scenario, progress=lambda done, rounds: status.update(f"training with canaries, round {done} of {rounds}")
        )
    return Attacks(empirical, infer_of_scenario(scenario, console))
