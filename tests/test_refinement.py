"""The GAN stage of tables, from plan to report: private steps through the same door, and a mixture at the end."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from silogan.client.ledger.chain import read_entries
from silogan.client.ledger.entries import Charge, Reserve, Settle, of_kind
from silogan.client.round import run_round
from silogan.client.simulated import simulated_site
from silogan.client.training.isolation import check_isolation
from silogan.client.training.trainer import generator_optimizer
from silogan.common.config.scenario import Scenario, parse_scenario
from silogan.common.errors import ConfigError, PrivacyRefusal
from silogan.common.modality.breast_cancer import schema
from silogan.common.modality.table import CodeSet
from silogan.common.modality.table_options import Mixture
from silogan.common.models.losses import LOSSES
from silogan.common.models.networks import blueprint, build
from silogan.common.models.networks.row_critic import RowCritic
from silogan.common.models.weights import part_of, weights_of
from silogan.common.privacy.accounting import epsilon
from silogan.common.privacy.plan import make_plan, plan_problem
from silogan.common.wire.messages import Instruction
from silogan.common.wire.run_folder import CONTROL_FOLDER, REPORT_PAGE, ledger_path
from silogan.common.wire.study import Study
from silogan.server.fitting.table_choices import signal, signal_of_singles
from silogan.server.release.generate import generate
from silogan.server.rounds.checkpoint import Checkpoint
from silogan.simulations.attacks.adversary import search
from silogan.simulations.attacks.canaries import Canaries, Release, evidence
from silogan.simulations.attacks.contribution import ProductContribution
from silogan.simulations.attacks.empirical import audit_one_run
from silogan.simulations.attacks.one_run import Floats
from silogan.simulations.audit import audit_all
from silogan.simulations.control import control_of
from silogan.simulations.planner import outlook
from silogan.simulations.prepare import prepare, reopen
from silogan.simulations.simulate import simulate

pytestmark = pytest.mark.usefixtures("threads_kept", "one_thread")

REFINE: dict[str, Any] = {"rounds": 2, "generator_steps": 2, "batch": 16, "width": 16, "share": 0.2}
ROUNDS = [("singles", 1), ("pairs", 1), ("training", 1), ("training", 2)]


def scenario(**sections: Any) -> Scenario:
    return parse_scenario(
        {
            "name": "refined",
            "seed": 1,
            "data": {"source": "breast-cancer"},
            "sites": {"count": 2},
            "model": {"family": "mixture", "components": 4, "steps": 20, "bins": 2, "singles_share": 0.25},
            "training": {"rounds": 0, "refine": REFINE},
            "privacy": {"epsilon": 10.0, "delta": 1e-4},
            "evaluation": {"samples": 300, "real_ceiling": False},
            **sections,
        }
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """The folder of a run, and its report."""
    run_dir = tmp_path_factory.mktemp("refined") / "run"
    return run_dir, simulate(scenario(), run_dir)


# --- the scenario ---------------------------------------------------------------------------------------------------


def test_a_critic_cannot_read_code_sets() -> None:
    with_codes = replace(schema(), code_sets=(CodeSet("codes", "dx", ("E11", "I10"), 1),))
    model = scenario().model
    with pytest.raises(ConfigError, match=r"^training\.refine: has a critic that cannot read code sets; leave it out$"):
        build(model, with_codes)


def test_the_section_alone_switches_it_on_and_sets_what_it_needs() -> None:
    found = parse_scenario({"name": "x", "model": {"family": "mixture"}, "training": {"rounds": 0, "refine": {}}})
    refine, training = found.training.refine, found.training
    assert refine is not None
    assert isinstance(found.model, Mixture)
    assert (training.rounds, training.local_steps, training.sample_rate) == (refine.rounds, 1, refine.sample_rate)
    assert (training.discriminator_adam, training.server_generator_steps) == ("server", refine.generator_steps)
    assert (found.privacy.clip_norm, found.model.critic) == (refine.clip_norm, refine.width) == (0.1, 16)
    assert parse_scenario(found.model_dump(mode="json")) == found
    off = parse_scenario({"name": "x", "model": {"family": "mixture"}, "training": {"rounds": 0}})
    assert (off.training.refine, off.training.rounds, off.privacy.clip_norm) == (None, 0, 1.0)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"model": {"family": "dcgan"}}, "training.refine needs model.family=gaussians or mixture, not dcgan"),
        ({"model": {"family": "mixture", "by_hospital": True}}, "sees no hospital: it needs model.by_hospital=false"),
        ({"training": {"refine": REFINE, "warm_start": {}}}, "training.refine begins at a fit: it needs no"),
        ({"training": {"refine": REFINE, "guard": {}}}, "no training.warm_start and no training.guard"),
        ({"training": {"refine": REFINE, "rounds": 7}}, "training.rounds=7 contradicts training.refine, which sets"),
        ({"privacy": {"clip_norm": 2.0}}, "privacy.clip_norm=2.0 contradicts training.refine, which sets it to 0.1"),
        (
            {"training": {"rounds": 0}, "model": {"family": "mixture", "critic": 16}},
            "model.critic needs training.refine",
        ),
        ({"training": {"rounds": 2}}, "model.family=mixture is not trained"),
        ({"training": {"refine": {"share": 1.0}}}, "training.refine.share: "),
        ({"training": {"refine": {"width": 20}}}, "training.refine.width: input should be a multiple of 16, not 20"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(values: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        scenario(**values)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


# --- the plan -------------------------------------------------------------------------------------------------------


def test_the_critic_takes_its_share_from_the_release() -> None:
    plan = make_plan(scenario())
    assert [phase.name for phase in plan.phases] == ["singles", "pairs", "training"]
    assert [phase.share for phase in plan.phases] == pytest.approx([0.25 * 0.8, 0.75 * 0.8, 0.2])
    assert (plan.training.clip_norm, plan.training.steps) == (0.1, 2)
    assert 9.9 < epsilon(plan.mechanisms(), plan.delta) <= 10


def test_a_hospital_derives_the_same_plan_and_sees_another_share(finished: tuple[Path, dict[str, Any]]) -> None:
    study = Study.load(finished[0])
    assert plan_problem(study.scenario, study.plan) is None
    greedier = scenario(training={"refine": {**REFINE, "share": 0.3}})
    model = {**study.scenario.model.model_dump(mode="json")}
    assert "share" in str(plan_problem(scenario(training=greedier.training.model_dump(), model=model), study.plan))


def test_numbers_are_cut_by_what_is_left_for_the_release(finished: tuple[Path, dict[str, Any]]) -> None:
    sites, control = Study.load(finished[0]).sites, control_of(scenario())
    assert any("no better than its control" in reason for reason in outlook(scenario(), 100).choices)
    assert not any("control" in reason for reason in outlook(control, 100).choices)
    for of in (
        lambda asked: signal(asked, schema(), sites, 2, by_class=True),
        lambda asked: signal_of_singles(asked, schema(), sites, 0.1),
    ):
        assert of(scenario()) == pytest.approx(of(control) * 0.8**0.5)


# --- a run ----------------------------------------------------------------------------------------------------------


def test_every_round_is_charged_once_and_the_audit_finds_nothing(finished: tuple[Path, dict[str, Any]]) -> None:
    run_dir, report = finished
    study = Study.load(run_dir)
    for site in study.sites:
        entries = read_entries(ledger_path(run_dir, site.name))
        assert [(charge.phase, charge.round) for _, charge in of_kind(entries, Reserve)] == ROUNDS
        assert len(list(of_kind(entries, Settle))) == len(ROUNDS)
    assert [found.findings for found in audit_all([ledger_path(run_dir, "site-1")])] == [()]
    assert {site["steps"] for site in report["sites"]} == {4}
    ledger = simulated_site(study, run_dir, 0).open_ledger()
    assert ledger is not None
    with pytest.raises(PrivacyRefusal, match="round 2 of training: was already answered"):
        ledger.reserve(Charge.of(study.plan, "training", 2, study.study_id))


def test_what_is_released_is_a_mixture_that_the_critic_has_moved(
    finished: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    run_dir, _ = finished
    found = Checkpoint.latest(run_dir)
    assert found is not None
    mixture, blocks = part_of(found.ema, "generator"), schema().blocks
    assert {name for name in mixture if not name.startswith("bayes.")} == {"chances", "classes", "cells"}
    for block in blocks:
        torch.testing.assert_close(mixture["cells"][:, block].sum(dim=1), torch.ones(4))
    torch.testing.assert_close(mixture["chances"].sum(), torch.tensor(1.0))
    first = torch.stack([mixture["cells"][:, block].max(dim=1).values for block in blocks])
    assert len(first.unique()) > len(blocks)
    out = tmp_path / "rows.csv"
    generate(run_dir, count=200, out=out, file_format=None, labels=None, seed=1, where="'mean radius' > 15")
    header, *rows = out.read_text(encoding="utf-8").splitlines()
    place = header.split(",").index("mean radius")
    assert len(rows) == 200
    assert all(float(row.split(",")[place]) > 15 for row in rows)


def test_a_site_gets_the_mixture_for_fakes_and_trains_the_critic_alone(tmp_path: Path) -> None:
    study = prepare(scenario(), tmp_path)
    site = simulated_site(study, tmp_path, 0)
    gan = build(study.scenario.model, study.schema)
    sent = weights_of(gan)
    asked = Instruction(study.study_id, study.plan.plan_id, "training", 1)
    _, answered = run_round(site, asked, {name: tensor.clone() for name, tensor in sent.items()})
    assert answered.keys() == sent.keys()
    for name, tensor in answered.items():
        assert torch.equal(tensor, sent[name]) == name.startswith("generator."), name
    assert generator_optimizer(gan.generator, study.scenario.training) is None


def test_hostile_mixtures_only_change_fakes(tmp_path: Path) -> None:
    """Chances that are no chances: the site answers, with finite weights, and what a row adds is clipped as ever."""
    study = prepare(scenario(), tmp_path)
    site = replace(simulated_site(study, tmp_path, 0), state_folder=tmp_path / "own")
    gan = build(study.scenario.model, study.schema)
    sent = weights_of(gan)
    for number, value in enumerate((0.0, -3e38), start=1):
        hostile = {
            name: torch.full_like(t, value if t.is_floating_point() else int(max(value, -9e18)))
            if name.startswith("generator.")
            else t
            for name, t in sent.items()
        }
        asked = Instruction(study.study_id, study.plan.plan_id, "training", number)
        _, answered = run_round(site, asked, {name: tensor.clone() for name, tensor in hostile.items()})
        assert all(bool(tensor.isfinite().all()) for tensor in answered.values())


# --- the control ----------------------------------------------------------------------------------------------------


def test_a_simulation_runs_its_control_and_shows_both(finished: tuple[Path, dict[str, Any]]) -> None:
    run_dir, report = finished
    study, control = Study.load(run_dir), Study.load(run_dir / CONTROL_FOLDER)
    assert [(phase.name, phase.share) for phase in control.plan.phases] == [("singles", 0.25), ("pairs", 0.75)]
    assert control.plan.epsilon == study.plan.epsilon
    assert control.sites == study.sites
    parts = [(folder / "partition.npz").read_bytes() for folder in (run_dir, run_dir / CONTROL_FOLDER)]
    assert parts[0] == parts[1]
    found = report["refinement"]
    assert found["refined"].keys() == found["control"].keys() == {"logistic", "boosting", "one_way", "two_way"}
    assert found["use"] in ("with", "without")
    assert found["advice"] in (run_dir / REPORT_PAGE).read_text(encoding="utf-8")


def test_a_finished_run_is_known_again_and_one_that_is_overwritten_takes_its_control_along(
    finished: tuple[Path, dict[str, Any]],
) -> None:
    run_dir, report = finished
    assert reopen(scenario(), run_dir) == Study.load(run_dir)
    assert simulate(scenario(), run_dir, resume=True)["refinement"] == report["refinement"]
    quiet = simulate(scenario(evaluation={"enabled": False}), run_dir, overwrite=True)
    assert not (run_dir / CONTROL_FOLDER).exists()
    assert "No control was measured" in quiet["refinement"]["advice"]


# --- attacks --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("views", [1, 3])
def test_a_row_adds_at_most_c_whatever_critic_is_sent(views: int) -> None:
    asked = scenario()
    contribution = ProductContribution(schema(), asked.training.loss, asked.privacy.clip_norm)
    critic = build(asked.model, schema()).discriminator
    found = search(contribution, critic, schema(), seconds=60, views=views, seed=3, most=50)
    assert found.holds
    assert found.largest > 0.9


@pytest.mark.parametrize("views", [1, 3])
@pytest.mark.parametrize("cells", [51, 1920])
def test_the_machine_keeps_the_rows_of_this_critic_apart(views: int, cells: int) -> None:
    """Of layers that are not whole vectors wide, this machine refuses some."""
    critic = RowCritic(cells, 3, 16)
    precision = torch.autocast("cpu", torch.bfloat16, enabled=False)
    check_isolation(critic, LOSSES["nonsaturating"], (cells + 9,), block=32, views=views, precision=precision)


def of_the_critic(release: Release, canaries: Canaries) -> Floats:
    return evidence(release, canaries) if release.phase.takes_batches else np.zeros(len(canaries))


def test_canaries_are_seen_in_the_critics_steps_as_far_as_their_noise_allows() -> None:
    """A fifth of the information of ε = 10, μ² = 4.82, in Gaussian sums is an AUC of Φ(√(0.96 / 2)) = 0.756."""
    asked = scenario(training={"refine": {**REFINE, "sample_rate": 1.0}})
    audit = audit_one_run(asked, canaries=1500, scores=(of_the_critic,))
    assert audit.holds
    assert audit.auc == pytest.approx(0.756, abs=0.05)


def test_a_critic_has_no_weights_where_none_is_asked_for() -> None:
    assert blueprint(control_of(scenario()).model, schema()).discriminator.state_dict() == {}
