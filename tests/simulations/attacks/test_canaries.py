"""Canaries: who is inserted, what stays as it was, and what the evidence says."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from silogan.client.round import Site
from silogan.client.simulated import simulated_site
from silogan.common.config.scenario import parse_scenario
from silogan.common.errors import ConfigError
from silogan.common.modality.image import PIXELS, ImageSchema, to_unit_range
from silogan.common.modality.table import Number, TableSchema
from silogan.common.models.losses import LOSSES
from silogan.common.models.networks import FAMILIES, check_private
from silogan.common.privacy.plan import make_plan
from silogan.common.privacy.statistics import MOST_VALUES, RELEASES, Moments
from silogan.common.wire.messages import STATISTICS, Reply
from silogan.common.wire.study import SiteDeclaration, Study
from silogan.simulations.attacks.canaries import (
    FEWEST,
    MOST,
    Release,
    affordable,
    audited,
    draw,
    evidence,
    sent_with,
    with_canaries,
)
from silogan.simulations.attacks.canary_network import FAMILY, ROWS, auditors_weights, registered
from silogan.simulations.prepare import prepare

SCHEMA = ImageSchema(8, 1, ("a", "b", "c"))
REPLY = Reply("site-1", "training", 1, "")
STATISTICS_REPLY = replace(REPLY, phase="statistics")


@pytest.fixture
def make_site(tmp_path: Path) -> Iterator[Any]:
    def make(images_per_patient: int = 1, **training: Any) -> Site:
        values: dict[str, Any] = {"name": "tiny", "seed": 1, "sites": {"count": 20}, "training": training}
        data = {"image_size": 8, "images_per_patient": images_per_patient}
        scenario = parse_scenario({**values, "data": data, "privacy": {"noise_multiplier": 1.5, "epsilon": 80}})
        return simulated_site(prepare(audited(scenario), tmp_path), tmp_path, 0)

    with registered():
        yield make


def test_coins_are_fair_and_classes_are_each_canary_s_own() -> None:
    canaries = draw(SCHEMA, 4000, seed=2)
    assert abs(canaries.inserted.mean() - 0.5) < 4 * 0.5 / np.sqrt(4000)
    assert canaries.records.labels.tolist() == list(range(3, 4003))
    assert canaries.first_class == 3
    assert canaries.records.stored[PIXELS].min() == 255
    again, other = draw(SCHEMA, 4000, seed=2), draw(SCHEMA, 4000, seed=3)
    assert (again.inserted == canaries.inserted).all()
    assert 0.4 < (other.inserted == canaries.inserted).mean() < 0.6
    unseeded = draw(SCHEMA, 4000, None).inserted, draw(SCHEMA, 4000, None).inserted
    assert 0.4 < (unseeded[0] == unseeded[1]).mean() < 0.6


@pytest.mark.parametrize("each", [1, 3])
def test_hospital_holds_its_own_images_and_those_of_the_inserted(make_site: Any, each: int) -> None:
    site: Site = make_site()
    own = site.read_records()
    canaries = draw(site.study.schema, 50, seed=4)
    found = with_canaries(site, canaries, each).read_records()
    assert torch.equal(found.stored[PIXELS][: len(own)], own.stored[PIXELS])
    added = found.labels[len(own) :] - canaries.first_class
    assert added.tolist() == np.flatnonzero(canaries.inserted).repeat(each).tolist()
    assert torch.equal(found.stored[PIXELS][len(own) :], canaries.records.stored[PIXELS][added])


def test_canary_is_a_patient_of_its_own_where_patients_are_known(make_site: Any) -> None:
    site: Site = make_site(images_per_patient=5)
    own = site.read_records()
    canaries = draw(site.study.schema, 50, seed=4)
    found = with_canaries(site, canaries, records_per_canary=5).read_records()
    assert own.patients is not None
    assert found.patients is not None
    added = found.patients[len(own) :]
    assert set(added.tolist()).isdisjoint(own.patients.tolist())
    codes, counts = added.unique(return_counts=True)
    assert counts.tolist() == [5] * int(canaries.inserted.sum())
    assert all(len(found.labels[len(own) :][added == code].unique()) == 1 for code in codes)


def test_what_is_audited_is_the_scenario_s_own_plan_on_other_networks() -> None:
    warm: dict[str, Any] = {"rounds": 3, "warm_start": {"frequencies": 5, "noise_multiplier": 2.0}}
    scenario = parse_scenario({"name": "tiny", "seed": 1, "training": warm})
    found = audited(scenario)
    assert (found.seed, found.model.family) == (None, FAMILY)
    assert found.training.warm_start is not None
    assert found.training.warm_start.frequencies == 1
    assert found.privacy == scenario.privacy
    training = found.training.model_copy(update={"warm_start": scenario.training.warm_start})
    assert found.model_copy(update={"seed": 1, "model": scenario.model, "training": training}) == scenario
    assert audited(audited(scenario)) == found


def test_a_family_that_is_fitted_stays_and_sees_one_frequency() -> None:
    scenario = parse_scenario({"name": "tiny", "model": {"family": "gaussians"}, "training": {"rounds": 0}})
    assert audited(scenario).model == scenario.model.model_copy(update={"frequencies": 1})


@pytest.mark.parametrize("phase", ["means", "moments"])
def test_a_canary_adds_as_much_as_any_record_to_each_statistic_of_a_fit(tmp_path: Path, phase: str) -> None:
    values = {"name": "tiny", "seed": 1, "sites": {"count": 20}, "model": {"family": "gaussians"}}
    scenario = parse_scenario({**values, "training": {"rounds": 0}, "data": {"image_size": 8}})
    site = simulated_site(prepare(audited(scenario), tmp_path), tmp_path, 0)
    canaries = draw(site.study.schema, 5, seed=4)
    study = with_canaries(site, canaries).study
    planned = next(one for one in study.plan.phases if one.name == phase)
    statistic = RELEASES[phase](study.scenario, study.schema, sent_with(study, planned))
    rows = statistic.rows(study.schema.encode(canaries.records.stored), canaries.records.labels)
    torch.testing.assert_close(rows.norm(dim=1), torch.full((5,), 63 / 64).double(), rtol=1e-6, atol=0)


def test_plan_and_declared_size_stay(make_site: Any) -> None:
    site: Site = make_site()
    extended = with_canaries(site, draw(site.study.schema, 50, seed=4))
    assert extended.study.plan == site.study.plan
    assert not extended.study.plan.seeded
    assert extended.declared_size == site.declared_size
    assert extended.study.schema.num_classes == site.study.schema.num_classes + 50


def test_networks_of_an_audit_are_known_only_while_it_lasts() -> None:
    assert FAMILY not in FAMILIES
    with registered():
        assert FAMILY in FAMILIES
    assert FAMILY not in FAMILIES


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("size", [8, 9, 28])
def test_all_of_a_canary_s_gradient_is_in_its_own_number(loss: str, size: int) -> None:
    clip_norm = 0.7
    schema = ImageSchema(size, 3, ("a", "b", "c"))
    discriminator = auditors_weights(schema, clip_norm).discriminator
    check_private(discriminator)
    images = torch.rand(2, 3, size, size) * 2 - 1
    LOSSES[loss].real(discriminator(images, torch.tensor([1, 2]))).sum().backward()
    rows = discriminator.get_parameter("by_class.weight").grad
    assert rows is not None
    assert rows[0] == 0
    assert (rows[1:] <= -2 * clip_norm).all()  # a step of the optimizer goes up
    others = [p.grad for name, p in discriminator.named_parameters() if name != "by_class.weight"]
    assert all(gradient is None or not gradient.any() for gradient in others)


def test_a_network_of_an_audit_needs_labels() -> None:
    with pytest.raises(ValueError, match="labels"):
        auditors_weights(SCHEMA, 1.0).discriminator(torch.zeros(1, 1, 8, 8), None)


@pytest.mark.parametrize("adam", ["site", "server"])
def test_evidence_of_a_round_is_the_likelihood_ratio_of_its_sums(make_site: Any, adam: str) -> None:
    site: Site = make_site(discriminator_adam=adam, lr_discriminator=0.01, sample_rate=0.5)
    canaries = draw(site.study.schema, 4, seed=4)
    study = with_canaries(site, canaries).study
    plan, sent = study.plan, sent_with(study, study.plan.training)
    assert not sent[ROWS].any()
    sums = torch.tensor([1.0, -2.0, 0.0, 3.0]) * plan.training.clip_norm  # of the clipped gradients, with their noise
    noise = plan.training.noise_multiplier * plan.training.clip_norm
    moved = sums / (plan.training.sample_rate * study.sites[0].declared_size) if adam == "server" else sums / noise
    rows = sent[ROWS].clone()
    rows[canaries.first_class :, 0] += 0.01 * moved
    found = evidence(Release(study, sent, REPLY, {**sent, ROWS: rows}), canaries)
    np.testing.assert_allclose(found, [1 / 1.5**2, -2 / 1.5**2, 0, 3 / 1.5**2], rtol=1e-5)


def test_evidence_of_a_warm_start_is_along_what_the_canary_adds(make_site: Any) -> None:
    site: Site = make_site(warm_start={"noise_multiplier": 2.5})
    canaries = draw(site.study.schema, 5, seed=4)
    study = with_canaries(site, canaries).study
    assert study.scenario.training.warm_start is not None
    moments = Moments(study.schema, study.scenario.training.warm_start)
    images, labels = to_unit_range(canaries.records.stored[PIXELS]), canaries.records.labels
    weights = torch.tensor([1.0, 0.0, 1.0, 0.0, 2.0]).double()
    rows = moments.rows(images, labels)
    total = torch.zeros(moments.slots, moments.width).double().index_add(0, labels, weights.unsqueeze(1) * rows)
    release = Release(study, {}, STATISTICS_REPLY, {STATISTICS: total.flatten().float()})
    np.testing.assert_allclose(evidence(release, canaries), 63 / 64 * weights.numpy() / 2.5**2, rtol=2e-3, atol=1e-9)


def study_of(steps: int) -> Study:
    training = {"rounds": 1, "local_steps": steps}
    scenario = parse_scenario({"name": "tiny", "training": training, "privacy": {"noise_multiplier": 500.0}})
    return Study(scenario, SCHEMA, make_plan(scenario), (SiteDeclaration("site-1", 100),))


def test_canaries_are_as_many_as_the_steps_allow() -> None:
    assert affordable(study_of(1)) == MOST
    assert affordable(study_of(1), records_per_canary=5) == MOST // 5
    assert FEWEST < affordable(study_of(500)) < MOST
    with pytest.raises(ConfigError, match="too many to audit"):
        affordable(study_of(50_000))


@pytest.mark.parametrize(("columns", "share"), [(2, 0.0), (30, 0.0), (30, 0.5), (256, 0.0)])
def test_canaries_are_as_many_as_a_statistic_has_room_for(columns: int, share: float) -> None:
    model = {"family": "mixture", "by_class": True, "singles_share": share}
    scenario = parse_scenario({"name": "tiny", "model": model, "training": {"rounds": 0}})
    named = tuple(Number("number", f"x{number}", 0, 1, edges=(0.25, 0.5)) for number in range(columns))
    study = Study(scenario, TableSchema(("a", "b"), named), make_plan(scenario), (SiteDeclaration("site-1", 100),))
    count = affordable(study)
    sizes = [RELEASES[phase.name](scenario, study.schema, sent_with(study, phase)).width for phase in study.plan.phases]
    held = [width * (count + 2) for width in sizes]
    assert count >= FEWEST
    assert max(held) <= MOST_VALUES
    assert count == MOST or max(held) + max(sizes) > MOST_VALUES


def test_a_statistic_with_room_for_too_few_canaries_is_refused() -> None:
    scenario = parse_scenario({"name": "tiny", "model": {"family": "mixture"}, "training": {"rounds": 0}})
    columns = tuple(Number("number", f"x{number}", 0, 1, edges=(0.5,)) for number in range(256))
    schema = TableSchema(tuple(map(str, range(900))), columns)
    study = Study(scenario, schema, make_plan(scenario), (SiteDeclaration("site-1", 100),))
    with pytest.raises(ConfigError, match="room for too few canaries"):
        affordable(study)
