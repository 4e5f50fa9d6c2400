"""`silogan audit --empirical`: attacks a scenario by canaries, crafted weights and membership inference."""

import secrets
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Console

from silogan.client.data import read
from silogan.common.config.scenario import Scenario
from silogan.common.errors import VerificationError
from silogan.common.models.networks import build
from silogan.common.progress import begin
from silogan.simulations.attacks.adversary import Search, search
from silogan.simulations.attacks.contribution import ProductContribution
from silogan.simulations.attacks.empirical import EmpiricalAudit, audit_one_run, refuse_without_privacy, with_power
from silogan.simulations.attacks.membership import Membership, infer_of_scenario
from silogan.simulations.live import live_view

ADVERSARY_SECONDS = 20.0
"""How long a hostile coordinator searches, unless told otherwise."""


@dataclass(frozen=True)
class Attacks:
    """A scenario under attack.

    Attributes:
        empirical: the lower bound on ε that canaries prove, beside the analytic ε.
        adversary: what weights of a hostile coordinator's choice make of one record; None where nothing was tried.
        membership: membership inference on the run of the scenario as it is.
    """

    empirical: EmpiricalAudit
    adversary: Search | None
    membership: Membership

    @property
    def holds(self) -> bool:
        """Whether no finding contradicts the plan."""
        return self.empirical.holds and (self.adversary is None or self.adversary.holds)

    def to_json(self) -> dict[str, Any]:
        """The result as printed by `silogan audit --json`."""
        adversary, empirical = self.adversary, self.empirical.to_json()
        return {
            **{key: empirical[key] for key in ("epsilon_lower_bound", "confidence", "power")},
            "largest_contribution": None if adversary is None else adversary.largest,
            "weights_tried": 0 if adversary is None else adversary.tried,
            "adversary": None if adversary is None else asdict(adversary),
            "empirical": empirical,
            "membership": self.membership.to_json(),
        }

    def check(self) -> None:
        """Passes if no finding contradicts the plan.

        Raises:
            VerificationError: the software does not do what its plan says.
        """
        found, adversary = self.empirical, self.adversary
        hint = "release nothing, and report this as a fault of SiloGAN"
        if not found.holds:
            problem = f"ε is at least {found.epsilon_lower_bound:.2f}, not at most {found.epsilon_analytic:.2f}"
            if found.unit == "record" and found.records_per_canary > 1:
                problem += f", for patients of {found.records_per_canary} records: the plan protects single records"
                raise VerificationError("empirical audit", problem, "set privacy.unit to patient")
            raise VerificationError("empirical audit", problem, hint)
        if adversary is not None and not adversary.holds:
            problem = f"one record adds {adversary.largest:.4g} times the clipping norm under crafted weights"
            raise VerificationError("empirical audit", problem, hint)


def attack(
    scenario: Scenario,
    console: Console,
    *,
    power: bool = True,
    adversary_seconds: float = ADVERSARY_SECONDS,
    records_per_canary: int | None = None,
) -> Attacks:
    """Attacks a scenario.

    Args:
        scenario: what to train, with canaries and once as it is.
        console: where to show progress.
        power: whether to audit less noise too: two more runs with canaries.
        adversary_seconds: how long to search for weights under which clipping fails; not at all if 0, or where there is
            no critic.
        records_per_canary: see `audit_one_run`.

    Raises:
        PrivacyRefusal: the scenario is without privacy.
        SiloganError: it cannot be audited, or trained.
    """
    refuse_without_privacy(scenario)
    with live_view(console):
        empirical = audit_one_run(scenario, records_per_canary=records_per_canary)
        if power:
            empirical = with_power(empirical, scenario)
        begin("searching", "for weights under which clipping fails")
        searched = adversary_seconds and (not scenario.model.fitted or scenario.training.refine is not None)
        adversary = _search(scenario, adversary_seconds) if searched else None
    return Attacks(empirical, adversary, infer_of_scenario(scenario, console))


def _search(scenario: Scenario, seconds: float) -> Search:
    schema = read(scenario.data).schema
    return search(
        ProductContribution(schema, scenario.training.loss, scenario.privacy.clip_norm),
        build(scenario.model, schema).discriminator,
        schema,
        seconds=seconds,
        views=scenario.privacy.records_per_patient,
        seed=secrets.randbits(32) if scenario.seed is None else scenario.seed,
    )
