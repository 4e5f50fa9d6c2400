"""The GAN stage of images, from plan to report: private steps through the same door, and what refines the images."""

from pathlib import Path
from typing import Any

import pytest
import torch

from silogan.client.ledger.chain import read_entries
from silogan.client.ledger.entries import Reserve, of_kind
from silogan.client.round import run_round
from silogan.client.simulated import simulated_site
from silogan.common.config.scenario import Scenario, parse_scenario
from silogan.common.errors import ConfigError, FederationError
from silogan.common.modality.image_options import Gaussians
from silogan.common.models.weights import part_of
from silogan.common.privacy.accounting import epsilon
from silogan.common.privacy.plan import make_plan
from silogan.common.wire.messages import Instruction
from silogan.common.wire.run_folder import CONTROL_FOLDER, GENERATOR_FILE, REPORT_PAGE, ledger_path
from silogan.common.wire.study import Study
from silogan.server.fitting.critic import critic_weights
from silogan.server.fitting.image_choices import blur
from silogan.server.release.generator import load_generator
from silogan.server.rounds.checkpoint import Checkpoint
from silogan.simulations.audit import audit_all
from silogan.simulations.control import control_of
from silogan.simulations.planner import outlook
from silogan.simulations.simulate import simulate

pytestmark = pytest.mark.usefixtures("threads_kept", "one_thread")

REFINE: dict[str, Any] = {"rounds": 2, "batch": 8, "width": 16, "share": 0.2}
ROUNDS = [("means", 1), ("moments", 1), ("training", 1), ("training", 2)]


def scenario(**sections: Any) -> Scenario:
    return parse_scenario(
        {
            "name": "refined",
            "seed": 1,
            "data": {"source": "digits"},
            "sites": {"count": 2},
            "model": {"family": "gaussians", "frequencies": 4, "cells": 1, "edge": 1.0, "draws": True},
            "training": {"rounds": 0, "refine": REFINE},
            "privacy": {"epsilon": 10.0, "delta": 1e-4},
            "evaluation": {"samples": 300, "epochs": 1, "real_ceiling": False},
            **sections,
        }
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """The folder of a run, and its report."""
    run_dir = tmp_path_factory.mktemp("refined") / "run"
    return run_dir, simulate(scenario(), run_dir)


def test_the_section_alone_switches_it_on_with_values_for_images() -> None:
    values = {"name": "x", "model": {"family": "gaussians"}, "training": {"rounds": 0, "refine": {"rounds": 3}}}
    found = parse_scenario(values)
    refine, training = found.training.refine, found.training
    assert refine is not None
    assert isinstance(found.model, Gaussians)
    assert (training.rounds, training.sample_rate, training.local_steps) == (3, 0.1, 1)
    assert (found.privacy.clip_norm, found.model.critic, refine.momentum) == (1.0, 128, 0.6)
    assert parse_scenario(found.model_dump(mode="json")) == found
    off = parse_scenario({"name": "x", "model": {"family": "gaussians"}, "training": {"rounds": 0}})
    assert (off.training.refine, off.training.rounds) == (None, 0)


def test_public_images_do_not_go_with_it() -> None:
    with pytest.raises(ConfigError, match=r"training\.refine needs no model\.public"):
        scenario(model={"family": "gaussians", "public": {"path": "xrays"}})


@pytest.mark.parametrize(("cells", "phases"), [(1, ["means", "moments"]), (2, ["means", "moments", "cells"])])
def test_the_critic_takes_its_share_from_every_phase_of_the_release(cells: int, phases: list[str]) -> None:
    model = {**scenario().model.model_dump(exclude={"critic"}), "cells": cells}
    refined = scenario(model=model)
    plan, control = make_plan(refined), make_plan(control_of(refined))
    assert [phase.name for phase in plan.phases] == [*phases, "training"]
    assert [phase.name for phase in control.phases] == phases
    shares = [0.8 * phase.share for phase in control.phases]
    assert [phase.share for phase in plan.phases] == pytest.approx([*shares, 0.2])
    assert (plan.training.clip_norm, plan.training.steps) == (1.0, 2)
    assert 9.9 < epsilon(plan.mechanisms(), plan.delta) <= 10


def test_what_is_left_open_is_chosen_by_what_is_left_for_the_release(finished: tuple[Path, dict[str, Any]]) -> None:
    study = Study.load(finished[0])
    ours, without = (blur(one, study.schema, study.sites, 4, 1) for one in (study.scenario, control_of(study.scenario)))
    assert ours == pytest.approx(without / 0.8**0.5)
    assert any("training.refine" in reason for reason in outlook(scenario(), None).choices)


def test_every_round_is_charged_once_and_the_audit_finds_nothing(finished: tuple[Path, dict[str, Any]]) -> None:
    run_dir, report = finished
    for site in Study.load(run_dir).sites:
        entries = read_entries(ledger_path(run_dir, site.name))
        assert [(charge.phase, charge.round) for _, charge in of_kind(entries, Reserve)] == ROUNDS
    assert [found.findings for found in audit_all([ledger_path(run_dir, "site-1")])] == [()]
    assert {site["steps"] for site in report["sites"]} == {4}


def test_what_is_released_refines_what_was_fitted_and_draws_the_same_again(
    finished: tuple[Path, dict[str, Any]],
) -> None:
    run_dir, _ = finished
    found, control = Checkpoint.latest(run_dir), Checkpoint.latest(run_dir / CONTROL_FOLDER)
    assert found is not None
    assert control is not None
    assert part_of(found.ema, "generator.refiner")["leave.weight"].any()
    assert not part_of(control.ema, "generator.refiner")
    assert part_of(control.weights, "discriminator") == {}
    generators = [load_generator(run_dir / GENERATOR_FILE) for _ in range(2)]
    one, other = (g.sample(None, 20, torch.Generator().manual_seed(3))["pixels"] for g in generators)
    assert torch.equal(one, other)
    labels = generators[0].labels_of({"pixels": one})
    assert labels.shape == (20,)


def test_the_map_of_the_critic_stays_as_the_server_has_set_it(finished: tuple[Path, dict[str, Any]]) -> None:
    """It is that of images of the fit, which is what the first round's generator draws."""
    run_dir, _ = finished
    study, found = Study.load(run_dir), Checkpoint.latest(run_dir)
    assert found is not None
    fresh = {**found.weights, "generator.refiner.leave.weight": torch.zeros(1, 64, 3, 3)}
    fresh["generator.refiner.leave.bias"] = torch.zeros(1)
    expected = critic_weights(study, fresh)
    assert expected.keys() == {f"discriminator.standardised.{name}" for name in ("centre", "scale")}
    for name, tensor in expected.items():
        assert torch.equal(found.weights[name], tensor)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_map_that_is_not_finite_is_refused_before_anything_is_read(
    finished: tuple[Path, dict[str, Any]], value: float, tmp_path: Path
) -> None:
    run_dir, _ = finished
    study, found = Study.load(run_dir), Checkpoint.latest(run_dir)
    assert found is not None
    sent = {name: tensor.clone() for name, tensor in found.weights.items()}
    sent["discriminator.standardised.scale"][3] = value
    asked = Instruction(study.study_id, study.plan.plan_id, "training", 2)
    with pytest.raises(FederationError, match="are not finite in the discriminator"):
        run_round(simulated_site(study, run_dir, 0), asked, sent)


def test_a_simulation_runs_its_control_and_shows_both(finished: tuple[Path, dict[str, Any]]) -> None:
    run_dir, report = finished
    found = report["refinement"]
    assert found["refined"].keys() == found["control"].keys() == {"accuracy", "accuracy_relabelled"}
    assert found["use"] in ("with", "without")
    assert "accuracy" in found["advice"]
    assert found["advice"] in (run_dir / REPORT_PAGE).read_text(encoding="utf-8")
