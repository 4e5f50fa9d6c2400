"""`silogan audit --empirical`: all attacks in one answer, and the exit code where a promise is broken."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console
from typer.testing import CliRunner

import silogan.simulations.attacks.attacks
from silogan import cli
from silogan.common.config.scenario import Scenario, load_scenario
from silogan.common.errors import PrivacyRefusal, UsageError, VerificationError
from silogan.simulations.attacks.adversary import Crafted, Search
from silogan.simulations.attacks.attacks import Attacks, attack
from silogan.simulations.attacks.empirical import EmpiricalAudit, Power
from silogan.simulations.attacks.membership import AttackResult, Membership
from silogan.simulations.attacks.roc import Estimate
from tests.simulations.attacks.test_empirical import SCENARIO

pytestmark = pytest.mark.usefixtures("threads_kept")

FOUND = EmpiricalAudit(
    epsilon_lower_bound=3.25,
    confidence=0.95,
    epsilon_analytic=9.5,
    delta=1e-7,
    unit="record",
    canaries=20_000,
    records_per_canary=1,
    guesses=600,
    correct=580,
    largest_lower_bound=8.4,
    auc=0.78,
    true_positive_rate=0.1,
    power=(Power(0.75, 9.25, caught=False), Power(0.5, 12.5, caught=True)),
)
SEARCH = Search(0.99, 1234, Crafted("extreme", 1, (1, 2), 3, 4, (5, 6), 0), seed=0)
RESULT = AttackResult(Estimate(0.512, 0.49, 0.53), Estimate(0.013, 0.004, 0.03))
ATTACKS = Attacks(FOUND, SEARCH, Membership({"discriminator": RESULT}))
BROKEN = replace(ATTACKS, empirical=replace(FOUND, epsilon_lower_bound=10.5))
UNCLIPPED = replace(ATTACKS, adversary=replace(SEARCH, largest=2.4e7))


@pytest.fixture
def silent() -> Console:
    return Console(quiet=True)


def invoke(*words: object) -> Any:
    return CliRunner().invoke(cli.app, ["audit", *map(str, words)])


def found_by(monkeypatch: pytest.MonkeyPatch, attacks: Attacks) -> None:
    monkeypatch.setattr(silogan.simulations.attacks.attacks, "attack", lambda *_, **_options: attacks)


def test_lower_bound_above_the_analytic_one_is_a_fault() -> None:
    ATTACKS.check()
    with pytest.raises(VerificationError, match=r"ε is at least 10\.50, not at most 9\.50") as fault:
        BROKEN.check()
    assert fault.value.exit_code == 6


def test_patients_of_a_plan_for_records_are_told_apart_from_a_fault() -> None:
    several = replace(BROKEN, empirical=replace(BROKEN.empirical, records_per_canary=5))
    with pytest.raises(VerificationError, match=r"for patients of 5 records: .*; set privacy\.unit to patient$"):
        several.check()
    with pytest.raises(VerificationError, match="report this as a fault of SiloGAN"):
        replace(several, empirical=replace(several.empirical, unit="patient")).check()


def test_record_that_adds_more_than_it_may_is_a_fault() -> None:
    with pytest.raises(VerificationError, match=r"one record adds 2\.4e\+07 times the clipping norm"):
        UNCLIPPED.check()
    assert not UNCLIPPED.holds
    assert replace(UNCLIPPED, adversary=None).holds


def test_json_has_the_bound_its_power_and_all_attacks(monkeypatch: pytest.MonkeyPatch) -> None:
    found_by(monkeypatch, ATTACKS)
    done = invoke("--empirical", SCENARIO, "--json")
    assert done.exit_code == 0
    printed = json.loads(done.stdout)
    assert (printed["ok"], printed["epsilon_lower_bound"], printed["confidence"]) == (True, 3.25, 0.95)
    assert printed["empirical"]["epsilon_analytic"] == 9.5
    assert printed["power"] == [
        {"noise": 0.75, "epsilon_lower_bound": 9.25, "caught": False},
        {"noise": 0.5, "epsilon_lower_bound": 12.5, "caught": True},
    ]
    assert (printed["largest_contribution"], printed["weights_tried"]) == (0.99, 1234)
    assert printed["adversary"]["worst"]["family"] == "extreme"
    assert printed["empirical"]["holds"] is True
    assert printed["membership"]["discriminator"]["auc"] == {"value": 0.512, "low": 0.49, "high": 0.53}
    assert (printed["findings"], printed["cohorts"]) == ([], [])


def test_table_shows_both_bounds_and_no_count_of_patients(monkeypatch: pytest.MonkeyPatch) -> None:
    found_by(monkeypatch, ATTACKS)
    shown = " ".join(invoke("--empirical", SCENARIO).stdout.split())
    for words in ("3.25", "9.5 ", "95% confidence", "20,000 canaries can show ε up to 8.4", "0.490 to 0.530"):
        assert words in shown
    assert "Noise x 0.75 shows ε of at least 9.25: not caught." in shown
    assert "Noise x 0.5 shows ε of at least 12.5: caught." in shown
    assert "tried 1,234 sets of weights: one record adds at most 0.99 times the clipping norm" in shown


@pytest.mark.parametrize("broken", [BROKEN, UNCLIPPED])
def test_broken_promise_is_printed_and_ends_in_a_verification_error(
    monkeypatch: pytest.MonkeyPatch, broken: Attacks
) -> None:
    found_by(monkeypatch, broken)
    done = invoke("--empirical", SCENARIO, "--json")
    assert isinstance(done.exception, VerificationError)
    assert json.loads(done.stdout)["ok"] is False


def test_something_must_be_audited() -> None:
    assert isinstance(invoke().exception, UsageError)
    for option in (("--set", "privacy.epsilon=3"), ("--records-per-canary", "5")):
        assert str(invoke(SCENARIO, *option).exception).startswith(f"{option[0]}: needs a scenario")


def test_no_weights_are_crafted_where_no_critic_is_trained(monkeypatch: pytest.MonkeyPatch, silent: Console) -> None:
    monkeypatch.setattr(silogan.simulations.attacks.attacks, "audit_one_run", lambda *_, **__: FOUND)
    monkeypatch.setattr(silogan.simulations.attacks.attacks, "infer_of_scenario", lambda *_: ATTACKS.membership)
    rows = load_scenario(SCENARIO.with_name("breast-cancer-visits.yaml"))
    assert attack(rows, silent, power=False, adversary_seconds=1.0).adversary is None


def test_scenario_without_privacy_is_refused_before_anything_is_trained(silent: Console, tmp_path: Path) -> None:
    values = yaml.safe_load(SCENARIO.read_text())
    values["privacy"]["enabled"] = False
    path = tmp_path / "plain.yaml"
    path.write_text(yaml.safe_dump(values))
    assert isinstance(invoke("--empirical", path).exception, PrivacyRefusal)


@pytest.mark.parametrize("thorough", [True, False])
def test_attacks_are_made_on_one_scenario(monkeypatch: pytest.MonkeyPatch, silent: Console, thorough: bool) -> None:
    asked: list[tuple[str, str]] = []

    def canaries(scenario: Any, *, records_per_canary: int | None) -> EmpiricalAudit:
        assert records_per_canary is None
        asked.append(("canaries", scenario.name))
        return replace(FOUND, power=())

    def power(audit: EmpiricalAudit, scenario: Any) -> EmpiricalAudit:
        asked.append(("power", scenario.name))
        return replace(audit, power=FOUND.power)

    def membership(scenario: Any, console: Console) -> Membership:
        asked.append(("membership", scenario.name))
        return ATTACKS.membership

    monkeypatch.setattr(silogan.simulations.attacks.attacks, "audit_one_run", canaries)
    monkeypatch.setattr(silogan.simulations.attacks.attacks, "with_power", power)
    monkeypatch.setattr(silogan.simulations.attacks.attacks, "infer_of_scenario", membership)

    seconds = 0.1 if thorough else 0.0
    found = attack(load_scenario(SCENARIO), silent, power=thorough, adversary_seconds=seconds)
    assert [name for name, _ in asked] == ["canaries", *(["power"] if thorough else []), "membership"]
    assert {scenario for _, scenario in asked} == {"audit-digits"}
    assert (found.adversary is not None) is thorough
    if found.adversary is None:
        assert (found.to_json()["largest_contribution"], found.to_json()["weights_tried"]) == (None, 0)
        assert found.empirical.power == ()
    else:
        assert found.adversary.tried > 0
        assert found.empirical == FOUND


def test_options_of_the_command_reach_the_attack(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[dict[str, Any]] = []
    scenarios: list[Scenario] = []

    def noted(scenario: Scenario, _console: Console, **options: Any) -> Attacks:
        scenarios.append(scenario)
        given.append(options)
        return ATTACKS

    monkeypatch.setattr(silogan.simulations.attacks.attacks, "attack", noted)
    invoke("--empirical", SCENARIO, "--no-power", "--adversary", "3", "--records-per-canary", "5")
    invoke("--empirical", SCENARIO, "--set", "privacy.epsilon=3")
    usual = {"adversary_seconds": silogan.simulations.attacks.attacks.ADVERSARY_SECONDS, "records_per_canary": None}
    assert given == [
        {"power": False, "adversary_seconds": 3.0, "records_per_canary": 5},
        {"power": True, **usual},
    ]
    assert [one.privacy.epsilon for one in scenarios] == [10, 3]
