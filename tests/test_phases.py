"""A plan may have any number of phases: studies of three, and of one release alone, from the proposal to the audit."""

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch

import silogan.client.round
from silogan.client.ledger.chain import read_entries
from silogan.client.ledger.entries import Approve, Charge, Reserve, Settle, of_kind
from silogan.client.ledger.register import Registration
from silogan.client.node.explanation import explain
from silogan.client.node.node import Cost
from silogan.client.round import run_round
from silogan.client.simulated import simulated_site
from silogan.common.config.scenario import Scenario, parse_scenario
from silogan.common.errors import Code, ConfigError, FederationError, PrivacyRefusal, VerificationError
from silogan.common.modality.image import ImageSchema
from silogan.common.privacy.accounting import epsilon, information
from silogan.common.privacy.plan import MEANS, PHASES, STATISTICS, Phase, make_plan
from silogan.common.privacy.statistics import RELEASES, CentredMoments, Means, asked_for
from silogan.common.wire.messages import Instruction
from silogan.common.wire.run_folder import ledger_path
from silogan.common.wire.study import Study
from silogan.server.fitting.release import FITS
from silogan.server.release.generate import generate
from silogan.server.rounds.checkpoint import Checkpoint
from silogan.simulations.audit import as_plain, audit_all
from silogan.simulations.prepare import prepare
from silogan.simulations.simulate import simulate

TRAINING: dict[str, Any] = {
    "rounds": 2, "local_steps": 3, "sample_rate": 0.05, "generator_batch_size": 8, "d_steps_per_g_step": 2,
    "device": "cpu", "warm_start": {"frequencies": 4, "steps": 3, "share": 0.25},
}  # fmt: skip
FITTED: dict[str, Any] = {
    "name": "fitted", "seed": 5, "sites": {"count": 2}, "model": {"family": "gaussians", "frequencies": 4, "edge": 1},
    "training": {"rounds": 0}, "privacy": {"epsilon": 10.0, "delta": 1e-4}, "evaluation": {"enabled": False},
}  # fmt: skip
SITES = ("site-1", "site-2")
DIGITS = ImageSchema(8, 1, tuple("0123456789"))


def second_release(scenario: Scenario) -> Phase:
    """As a scenario that has one would ask for it."""
    k = scenario.privacy.records_per_patient
    return Phase("labels", "statistics", 0.15, 0.0, 1.0, 1.0, steps_per_round=1, rounds=1, records_per_patient=k)


@pytest.fixture
def three_phases(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("silogan.common.privacy.plan.PHASES", [PHASES[0], second_release, PHASES[-1]])
    monkeypatch.setitem(RELEASES, "labels", RELEASES[STATISTICS])
    monkeypatch.setitem(FITS, "labels", FITS[MEANS])


def scenario(**training: Any) -> Scenario:
    return parse_scenario({
        "name": "phases",
        "seed": 5,
        "sites": {"count": 2},
        "model": {"latent_dim": 8, "width": 8},
        "training": {**TRAINING, **training},
        "privacy": {"epsilon": 10.0, "delta": 1e-4},
        "evaluation": {"enabled": False},
    })  # fmt: skip


def charged(run_dir: Path, site: str) -> list[tuple[str, int, bool]]:
    """Phase and round of each charge of a ledger, and whether it was settled."""
    entries = read_entries(ledger_path(run_dir, site))
    settled = {settle.reservation for _, settle in of_kind(entries, Settle)}
    return [(charge.phase, charge.round, seq in settled) for seq, charge in of_kind(entries, Reserve)]


def assert_clean(run_dir: Path, study: Study) -> None:
    """The audit finds nothing, and ε is all that was planned and no more than was approved."""
    plain = as_plain(audit_all([run_dir]))
    assert (plain["ok"], plain["findings"]) == (True, [])
    for cohort in plain["cohorts"]:
        assert cohort["epsilon_prv"] == study.plan.epsilon_after() == epsilon(study.plan.mechanisms(), 1e-4)
        assert 9.9 < cohort["epsilon_prv"] <= study.plan.epsilon


@pytest.mark.usefixtures("three_phases")
def test_a_study_of_three_phases_is_planned_approved_run_and_audited(tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    report = simulate(scenario(), run_dir)
    study = Study.load(run_dir)
    names = ["statistics", "labels", "training"]
    assert [phase.name for phase in study.plan.phases] == names
    assert [phase.share for phase in study.plan.phases] == pytest.approx([0.25, 0.15, 0.6])
    for phase in study.plan.phases[:2]:  # q = 1: μ² is 1/σ²
        assert phase.noise_multiplier**-2 == pytest.approx(phase.share * information(10.0, 1e-4), rel=0.02)
    assert [phase["name"] for phase in report["phases"]] == names
    for site in SITES:
        ((_, approved),) = of_kind(read_entries(ledger_path(run_dir, site)), Approve)
        assert approved.plan == study.plan
        rounds = [("statistics", 1, True), ("labels", 1, True), ("training", 1, True), ("training", 2, True)]
        assert charged(run_dir, site) == rounds
    found = Checkpoint.latest(run_dir)
    assert found is not None
    assert (found.round, found.phases) == (2, names[:2])
    assert_clean(run_dir, study)


@pytest.mark.usefixtures("three_phases")
def test_each_phase_and_round_of_three_is_answered_once(tmp_path: Path, ask_again: Callable[..., None]) -> None:
    run_dir = tmp_path / "run"
    simulate(scenario(), run_dir)
    ask_again(Study.load(run_dir), run_dir)


@pytest.fixture
def ask_again() -> Callable[..., None]:
    """Asks a site whose own state is lost for everything once more: its ledger refuses, and nothing more is charged."""

    def ask(study: Study, run_dir: Path) -> None:
        site = simulated_site(study, run_dir, 0)
        before = charged(run_dir, site.name)
        ledger = site.open_ledger()
        assert ledger is not None
        for phase in study.plan.phases:
            for number in range(1, phase.last_round + 1):
                with pytest.raises(PrivacyRefusal, match=f"round {number} of {phase.name}: was already answered"):
                    ledger.reserve(Charge.of(study.plan, phase.name, number, study.study_id))
        empty = replace(site, state_folder=run_dir.parent / "lost")
        asked = Instruction(study.study_id, study.plan.plan_id, "statistics", 1)
        with pytest.raises(PrivacyRefusal, match="already answered"):
            run_round(empty, replace(asked, lr_factor=0.5), {})  # another request than the one that was answered
        assert charged(run_dir, site.name) == before

    return ask


def test_a_release_alone_is_planned_approved_run_and_audited(tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    alone = scenario(rounds=0, warm_start={"frequencies": 4, "steps": 3})
    report = simulate(alone, run_dir)
    study = Study.load(run_dir)
    (release,) = study.plan.phases
    assert (release.name, release.share) == ("statistics", 1.0)
    assert (report["rounds"], report["rounds_planned"]) == (0, 0)
    assert report["phases"] == [asdict(release)]
    assert {site["steps"] for site in report["sites"]} == {1}
    for site in SITES:
        assert charged(run_dir, site) == [("statistics", 1, True)]
    assert (run_dir / "generator.safetensors").is_file()
    assert_clean(run_dir, study)


@pytest.mark.usefixtures("three_phases")
def test_every_phase_is_explained_to_the_hospital() -> None:
    wanted = scenario()
    study = Study(wanted, DIGITS, make_plan(wanted), ())
    cohort = Registration("digits", "bergen", "digits", wanted.data, DIGITS, "record", 300, ())
    said = dict(explain(study, cohort, "hub", Cost(0.0, 1.0, 10.0, 10.0, 0, 10.0, 1e-4, ())))
    assert {"statistics", "labels", "training"} < said.keys()
    for phase in study.plan.phases:
        assert f"noise σ = {phase.noise_multiplier:g}" in said[phase.name]
        assert f"{phase.share:.0%} of the information that ε = 10 pays for" in said[phase.name]


def test_fitted_gaussians_are_planned_approved_run_drawn_and_audited(tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    report = simulate(parse_scenario(FITTED), run_dir)
    study = Study.load(run_dir)
    assert [(phase.name, phase.share) for phase in study.plan.phases] == [("means", 0.1), ("moments", 0.9)]
    assert {site["steps"] for site in report["sites"]} == {2}
    for site in SITES:
        assert charged(run_dir, site) == [("means", 1, True), ("moments", 1, True)]
    found = Checkpoint.latest(run_dir)
    assert found is not None
    assert {name: released.sites for name, released in found.released.items()} == {"means": 2, "moments": 2}
    assert found.weights["generator.roots"].abs().max() > 0
    assert_clean(run_dir, study)
    drawn = generate(run_dir, count=12, out=tmp_path / "images", file_format=None, labels=None, seed=1)
    assert "12 synthetic images" in str(drawn)


def test_centres_that_no_honest_coordinator_sends_cost_nothing(tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    simulate(parse_scenario(FITTED), run_dir)
    study = Study.load(run_dir)
    site = replace(simulated_site(study, run_dir, 0), state_folder=tmp_path / "lost")
    before = charged(run_dir, site.name)
    asked = Instruction(study.study_id, study.plan.plan_id, "moments", 1)
    centres, radius = torch.zeros(10, 16), torch.tensor(1.0)
    wrong: list[dict[str, torch.Tensor]] = [
        {},
        {"centres": centres},
        {"centres": centres, "radius": -radius},
        {"centres": centres + torch.inf, "radius": radius},
        {"centres": centres[:, :15], "radius": radius},
        {"centres": centres.double(), "radius": radius},
    ]
    for sent in wrong:
        with pytest.raises(FederationError, match="incoming weights") as caught:
            run_round(site, asked, sent)
        assert caught.value.code == Code.MESSAGE
    with pytest.raises(FederationError, match="incoming weights"):
        run_round(site, replace(asked, phase="means"), {"centres": centres, "radius": radius})
    assert charged(run_dir, site.name) == before


@pytest.mark.parametrize(
    ("section", "values"),
    [("training", {"rounds": 1}), ("training", {"rounds": 0, "warm_start": {}}), ("model", {"frequencies": 9})],
)
def test_gaussians_that_cannot_be_fitted_are_refused(tmp_path: Path, section: str, values: dict[str, Any]) -> None:
    plain = {**FITTED, section: {**FITTED[section], **values}}
    with pytest.raises(ConfigError, match=r"gaussians|model\.frequencies"):
        simulate(parse_scenario(plain), tmp_path / "run")


def test_cells_are_a_phase_of_their_own_and_their_cuts_are_checked_before_the_charge(tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    simulate(parse_scenario({**FITTED, "model": {**FITTED["model"], "cells": 2}}), run_dir)
    study = Study.load(run_dir)
    phases = [("means", 1, True), ("moments", 1, True), ("cells", 1, True)]
    assert [charged(run_dir, site) for site in SITES] == [phases, phases]
    assert_clean(run_dir, study)
    found = Checkpoint.latest(run_dir)
    assert found is not None
    assert found.weights["generator.roots"].shape == (20, 16, 16)
    assert found.weights["generator.roots"].abs().amax(dim=(1, 2)).min() > 0

    site = replace(simulated_site(study, run_dir, 0), state_folder=tmp_path / "lost")
    asked = Instruction(study.study_id, study.plan.plan_id, "cells", 1)
    around = {"centres": torch.zeros(10, 16), "radius": torch.tensor(1.0)}
    cuts = {"cuts": torch.zeros(10, 1, 16), "levels": torch.zeros(10, 1)}
    for wrong in ({}, {"cuts": cuts["cuts"]}, {**cuts, "levels": torch.full((10, 1), torch.nan)}):
        with pytest.raises(FederationError, match="incoming weights"):
            run_round(site, asked, {**around, **wrong})
    assert charged(run_dir, site.name) == phases


def test_a_machine_that_mixes_records_in_a_statistic_is_refused_before_the_charge(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = prepare(parse_scenario(FITTED), tmp_path)
    site, honest = simulated_site(study, tmp_path, 0), Means.rows

    def mixing(self: Means, records: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        rows = honest(self, records, labels)
        rows[0] *= 1 + 2**-50
        return rows

    monkeypatch.setattr(Means, "rows", mixing)
    with pytest.raises(VerificationError, match="is not private: what it computes for a record depends on"):
        run_round(site, Instruction(study.study_id, study.plan.plan_id, "means", 1), {})
    assert charged(tmp_path, site.name) == []


def test_a_statistic_that_no_machine_can_hold_is_refused_before_the_charge(tmp_path: Path) -> None:
    """Two hundred classes of eight cells and 32 frequencies would be 6.7 GB in each hospital."""
    asked = parse_scenario({**FITTED, "model": {"family": "gaussians", "frequencies": 32, "cells": 8}})
    schema = ImageSchema(32, 1, tuple(f"class-{number}" for number in range(200)))
    sent = {"centres": torch.zeros(200, 1024), "radius": torch.ones(()), "cuts": torch.zeros(200, 3, 1024)}
    with pytest.raises(ValueError, match="are for 841,320,000 values, above 33,554,432"):
        asked_for("cells", asked, schema, {**sent, "levels": torch.zeros(200, 3)})


def test_wide_rows_are_formed_a_few_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rows of a phase are as many at a time as memory is for, and the sum does not depend on it."""
    seen: list[int] = []
    found: list[torch.Tensor] = []
    honest = CentredMoments.placed

    def placed(self: CentredMoments, *batch: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        seen.append(len(batch[0]))
        return honest(self, *batch)

    monkeypatch.setattr(CentredMoments, "placed", placed)
    for values in (silogan.client.round.ROW_VALUES, 1):
        seen.clear()
        monkeypatch.setattr("silogan.client.round.ROW_VALUES", values)
        run_dir = tmp_path / f"run-{values}"
        simulate(parse_scenario(FITTED), run_dir)
        state = Checkpoint.latest(run_dir)
        assert state is not None
        found.append(state.released["moments"].total)
        assert max(seen) == (32 if values == 1 else 320)
    assert torch.equal(*found)
