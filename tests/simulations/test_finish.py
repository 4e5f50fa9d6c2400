"""How a run is wrapped up; what is measured has tests of its own (tests/server/evaluation/test_evaluation.py)."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from silogan.client.ledger.ledger import Charge
from silogan.client.simulated import open_ledgers, simulated_site
from silogan.common.config.scenario import parse_scenario
from silogan.common.errors import VerificationError
from silogan.common.modality.image import ImageSchema
from silogan.common.models.weights import generator_weights
from silogan.common.privacy.accounting import Mechanism, epsilon
from silogan.common.privacy.plan import make_plan
from silogan.common.wire.study import SiteDeclaration, Study
from silogan.server.app import initial_weights
from silogan.server.release.generator import load_generator
from silogan.server.rounds.checkpoint import Checkpoint
from silogan.simulations.finish import finish, finished_report


def study(**sections: Any) -> Study:
    values: dict[str, Any] = {
        "name": "small",
        "title": "A small study",
        "sites": {"count": 2},
        "model": {"latent_dim": 4, "width": 4},
        "training": {"rounds": 4, "local_steps": 3, "device": "cpu"},
        "privacy": {"noise_multiplier": 1.0, "epsilon": 20, "delta": 1e-5},
        "evaluation": {"enabled": False},
    }
    scenario = parse_scenario(values | sections)
    sites = (SiteDeclaration("Bergen", 710), SiteDeclaration("Oslo", 690))
    return Study(scenario, ImageSchema(8, 1, ("a", "b")), make_plan(scenario), sites)


@pytest.fixture
def run_dir(tmp_path: Path) -> Iterator[Path]:
    before = torch.get_num_threads()
    for name in ("ledgers", "checkpoints", "samples"):
        (tmp_path / name).mkdir()
    yield tmp_path
    torch.set_num_threads(before)


def save_checkpoint(of: Study, run_dir: Path, rounds: int = 2) -> Checkpoint:
    weights = initial_weights(of)
    generator = generator_weights(weights)
    checkpoint = Checkpoint(of.study_id, rounds, weights, generator, training_seconds=12.5)
    checkpoint.save(run_dir)
    open_ledgers(of, run_dir)
    return checkpoint


def wrap_up(of: Study, run_dir: Path, stopped: str | None = None) -> dict[str, Any]:
    return finish(of, run_dir, engine="inprocess", stopped=stopped, started=time.monotonic() - 20)


def test_all_artefacts_are_written_and_the_report_is_what_is_returned(run_dir: Path) -> None:
    small = study()
    checkpoint = save_checkpoint(small, run_dir)
    report = wrap_up(small, run_dir, stopped="the budget is used up")
    assert json.loads((run_dir / "report.json").read_bytes()) == report == finished_report(run_dir)
    assert "A small study" in (run_dir / "report.html").read_text(encoding="utf-8")
    assert (run_dir / "samples" / "final.png").read_bytes().startswith(b"\x89PNG")
    assert (report["rounds"], report["rounds_planned"], report["stopped"]) == (2, 4, "the budget is used up")
    assert report["seconds"]["training"] == 12.5
    assert 20 < report["seconds"]["total"] < 80
    released = load_generator(run_dir / "generator.safetensors").network.state_dict()
    assert all(torch.equal(released[name.removeprefix("generator.")], value) for name, value in checkpoint.ema.items())


def test_each_site_reports_its_own_ledger_with_what_was_never_settled(run_dir: Path) -> None:
    small = study()
    save_checkpoint(small, run_dir)
    for site, rounds in ((0, 2), (1, 3)):
        ledger = simulated_site(small, run_dir, site).open_ledger()
        assert ledger is not None
        for number in range(1, rounds + 1):
            reservation = ledger.reserve(Charge.of(small.plan, "training", number, small.study_id))
            if number < 3:
                ledger.settle(reservation, 3)
    bergen, oslo = wrap_up(small, run_dir)["sites"]
    assert (bergen["name"], bergen["steps"], oslo["name"], oslo["steps"]) == ("Bergen", 6, "Oslo", 9)
    assert bergen["epsilon"] == epsilon([Mechanism(1.0, 0.1, 6)], 1e-5)
    assert oslo["epsilon"] == epsilon([Mechanism(1.0, 0.1, 9)], 1e-5) > bergen["epsilon"]
    assert (oslo["declared_size"], oslo["epsilon_budget"], oslo["unit"]) == (690, 20.0, "record")


def test_without_privacy_nothing_is_claimed_and_no_ledger_is_made(run_dir: Path) -> None:
    plain = study(privacy={"enabled": False})
    save_checkpoint(plain, run_dir)
    report = wrap_up(plain, run_dir)
    assert report["private"] is False
    assert [(site["epsilon"], site["epsilon_budget"], site["steps"]) for site in report["sites"]] == [
        (None, None, 6)
    ] * 2
    assert list((run_dir / "ledgers").iterdir()) == []


def test_what_was_not_measured_says_why(run_dir: Path) -> None:
    small = study()
    save_checkpoint(small, run_dir)
    report = wrap_up(small, run_dir)
    assert report["utility"] == {"accuracy_synthetic": None, "accuracy_real": None}
    assert report["fidelity"] is None
    assert report["utility_reason"] == report["fidelity_reason"] == "evaluation.enabled is false"


def test_a_run_without_a_checkpoint_cannot_be_wrapped_up(run_dir: Path) -> None:
    with pytest.raises(VerificationError, match="has no checkpoint"):
        wrap_up(study(), run_dir)
    assert finished_report(run_dir) is None


def test_a_torn_report_counts_as_none(run_dir: Path) -> None:
    (run_dir / "report.json").write_text('{"name": "sm', encoding="utf-8")
    assert finished_report(run_dir) is None


def test_a_report_warns_of_too_few_records(run_dir: Path) -> None:
    """What `silogan plan` would have said."""
    asked = study(data={"source": "digits"}, model={"family": "gaussians", "frequencies": 8}, training={"rounds": 0})
    few = Study(asked.scenario, asked.schema, asked.plan, (SiteDeclaration("Bergen", 20), SiteDeclaration("Oslo", 20)))
    save_checkpoint(few, run_dir, rounds=0)
    found = wrap_up(few, run_dir)
    assert found["expected"].startswith("too few records: noise alone would show a direction with")
    assert "What to expect" in (run_dir / "report.html").read_text(encoding="utf-8")
