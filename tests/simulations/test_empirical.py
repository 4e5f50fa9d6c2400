"""The empirical audit finds what is broken on purpose, and nothing in the product.

The quick tests have few canaries, which cannot show a large ε; there a fault is seen by reaching the most that so many
can show. The slow ones have as many as the figures in simulations/benchmarks/results, and print them.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import pytest

from common.config import Scenario, load_scenario
from common.errors import PrivacyRefusal
from simulations.canaries import row_movement
from simulations.empirical import audit_one_run
from tests.simulations.breakages import clipping_off, leaked_losses, losses_leaked, noise_off, wrong_divisor

pytestmark = pytest.mark.usefixtures("threads_kept")

SCENARIO = Path(__file__).resolve().parents[2] / "simulations" / "scenarios" / "audit-digits.yaml"
FEW = 4000
BREAKAGES = [noise_off, clipping_off, wrong_divisor, losses_leaked]

Break = Callable[[], AbstractContextManager[None]]


@pytest.fixture
def scenario() -> Scenario:
    return load_scenario(SCENARIO)


def of_five_images() -> tuple[Scenario, Scenario]:
    """The scenario with five images a patient, accounted by the record and by the patient."""
    five = "data.images_per_patient=5"
    by_patient = (five, "privacy.unit=patient", "privacy.records_per_patient=5")
    return load_scenario(SCENARIO, [five, "privacy.unit=record"]), load_scenario(SCENARIO, list(by_patient))


def test_honest_run_shows_less_than_was_charged_yet_something(scenario: Scenario) -> None:
    rounds: list[tuple[int, int]] = []
    found = audit_one_run(scenario, canaries=FEW, progress=lambda *done: rounds.append(done))
    assert found.holds
    assert 0.5 < found.epsilon_lower_bound < 5
    assert 0.7 < found.auc < 0.9  # a Gaussian mechanism of this ε tells even the best attack no more
    assert found.true_positive_rate > 0.05
    assert found.epsilon_analytic <= scenario.privacy.epsilon
    assert found.epsilon_analytic == pytest.approx(scenario.privacy.epsilon, abs=0.02)
    assert (found.unit, found.canaries, found.confidence) == ("record", FEW, 0.95)
    assert rounds == [(number, scenario.training.rounds) for number in range(1, scenario.training.rounds + 1)]
    assert found.to_json()["holds"] is True


@pytest.mark.parametrize("broken", BREAKAGES)
def test_broken_run_shows_all_that_so_many_canaries_can(scenario: Scenario, broken: Break) -> None:
    scores = (row_movement, leaked_losses) if broken is losses_leaked else (row_movement,)
    with broken():
        found = audit_one_run(scenario, canaries=FEW, scores=scores)
    assert found.auc > 0.999
    # two scores pay for each other: log 2
    assert found.epsilon_lower_bound > found.largest_lower_bound - 0.7


def test_leak_that_is_not_there_costs_the_honest_run_nothing(scenario: Scenario) -> None:
    found = audit_one_run(scenario, canaries=FEW, scores=(row_movement, leaked_losses))
    assert found.holds
    assert found.auc < 0.9


def test_five_images_tell_more_of_their_patient_only_where_each_is_accounted_by_itself() -> None:
    records, patients = (audit_one_run(scenario, canaries=FEW, images_per_patient=5) for scenario in of_five_images())
    assert (records.unit, patients.unit) == ("record", "patient")
    assert records.epsilon_analytic == patients.epsilon_analytic
    assert records.auc > 0.99
    assert records.epsilon_lower_bound > records.largest_lower_bound - 0.7
    assert patients.auc < 0.9
    assert 0.5 < patients.epsilon_lower_bound < 5


def test_run_without_privacy_is_refused(scenario: Scenario) -> None:
    privacy = scenario.privacy.model_copy(update={"enabled": False})
    with pytest.raises(PrivacyRefusal, match="NON-PRIVATE"):
        audit_one_run(scenario.model_copy(update={"privacy": privacy}))


def test_nothing_is_left_behind(scenario: Scenario, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    audit_one_run(scenario, canaries=1000)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("broken", [nullcontext, *BREAKAGES])
def test_figures(scenario: Scenario, broken: Break) -> None:
    scores = (row_movement, leaked_losses) if broken is losses_leaked else (row_movement,)
    with broken():
        found = audit_one_run(scenario, scores=scores)
    print(f"{broken.__name__}: {found}")  # noqa: T201
    if broken is nullcontext:
        assert 2 < found.epsilon_lower_bound < found.epsilon_analytic
    else:
        assert found.epsilon_lower_bound > 10 > found.epsilon_analytic


@pytest.mark.slow
def test_figures_of_patients() -> None:
    by_record, by_patient = of_five_images()
    records = audit_one_run(by_record, images_per_patient=5)
    patients = audit_one_run(by_patient)
    print(f"by record: {records}\nby patient: {patients}")  # noqa: T201
    assert records.epsilon_lower_bound > 10 > records.epsilon_analytic
    assert patients.images_per_patient == 5
    assert 2 < patients.epsilon_lower_bound < patients.epsilon_analytic
