"""Canaries: who is inserted, what stays as it was, and what a row's movement says."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from client.app import simulated_site
from client.site import Site
from common.config import parse_scenario
from common.errors import ConfigError
from common.messages import Reply
from common.networks import build
from common.schema import ImageSchema
from simulations.canaries import FEWEST, MOST, Release, affordable, auditors_weights, draw, row_movement, with_canaries
from simulations.prepare import prepare

SCHEMA = ImageSchema(8, 1, ("a", "b", "c"))
REPLY = Reply("site-1", 1, "")
ROWS = "discriminator.by_class.weight"


@pytest.fixture
def make_site(tmp_path: Path) -> Any:
    def make(image_size: int = 8, images_per_patient: int = 1, **model: Any) -> Site:
        data = {"image_size": image_size, "images_per_patient": images_per_patient}
        values: dict[str, Any] = {"name": "tiny", "seed": 1, "data": data, "sites": {"count": 20}}
        privacy = {"noise_multiplier": 1.0, "epsilon": 50}
        model = {"latent_dim": 4, "width": 8, **model}
        scenario = parse_scenario({**values, "privacy": privacy, "model": model})
        return simulated_site(prepare(scenario, tmp_path), tmp_path, 0)

    return make


def test_coins_are_fair_and_images_and_classes_are_each_canary_s_own() -> None:
    canaries = draw(SCHEMA, 4000, seed=2)
    assert abs(canaries.inserted.mean() - 0.5) < 4 * 0.5 / np.sqrt(4000)
    assert canaries.images.labels.tolist() == list(range(3, 4003))
    assert canaries.first_class == 3
    assert set(canaries.images.pixels.unique().tolist()) == {0, 255}
    again, other = draw(SCHEMA, 4000, seed=2), draw(SCHEMA, 4000, seed=3)
    assert (again.inserted == canaries.inserted).all()
    assert 0.4 < (other.inserted == canaries.inserted).mean() < 0.6
    unseeded = draw(SCHEMA, 4000, None).inserted, draw(SCHEMA, 4000, None).inserted
    assert 0.4 < (unseeded[0] == unseeded[1]).mean() < 0.6


@pytest.mark.parametrize("images_per_patient", [1, 3])
def test_hospital_holds_its_own_images_and_those_of_the_inserted(make_site: Any, images_per_patient: int) -> None:
    site: Site = make_site()
    own = site.read_images()
    canaries = draw(site.study.schema, 50, seed=4)
    found = with_canaries(site, canaries, images_per_patient).read_images()
    assert torch.equal(found.pixels[: len(own)], own.pixels)
    added = found.labels[len(own) :] - canaries.first_class
    assert added.tolist() == np.flatnonzero(canaries.inserted).repeat(images_per_patient).tolist()
    assert torch.equal(found.pixels[len(own) :], canaries.images.pixels[added])


def test_canary_is_a_patient_of_its_own_where_patients_are_known(make_site: Any) -> None:
    site: Site = make_site(images_per_patient=5)
    own = site.read_images()
    canaries = draw(site.study.schema, 50, seed=4)
    found = with_canaries(site, canaries, images_per_patient=5).read_images()
    assert own.patients is not None
    assert found.patients is not None
    added = found.patients[len(own) :]
    assert set(added.tolist()).isdisjoint(own.patients.tolist())
    codes, counts = added.unique(return_counts=True)
    assert counts.tolist() == [5] * int(canaries.inserted.sum())
    assert all(len(found.labels[len(own) :][added == code].unique()) == 1 for code in codes)


def test_what_is_audited_is_the_scenario_s_own_plan(make_site: Any) -> None:
    site: Site = make_site()
    audited = with_canaries(site, draw(site.study.schema, 50, seed=4))
    assert audited.study.plan == site.study.plan
    assert audited.declared_size == site.declared_size
    same = {"width": 8, "micro_batch": None}
    scenario = audited.study.scenario
    model = scenario.model.model_copy(update={"width": same["width"]})
    training = scenario.training.model_copy(update={"micro_batch": same["micro_batch"]})
    assert scenario.model_copy(update={"model": model, "training": training}) == site.study.scenario
    assert audited.study.schema.num_classes == site.study.schema.num_classes + 50


def test_discriminator_without_class_rows_cannot_be_audited(make_site: Any) -> None:
    site: Site = make_site(image_size=64, family="seed")
    with pytest.raises(ConfigError, match=r"model\.family: 'seed' has no row"):
        with_canaries(site, draw(site.study.schema, 50, seed=4))


def test_score_is_the_movement_along_the_canary_s_own_features(make_site: Any) -> None:
    site: Site = make_site()
    canaries = draw(site.study.schema, 30, seed=4)
    study = with_canaries(site, canaries).study
    sent = auditors_weights(study, seed=1)
    assert not sent[ROWS].any()
    # the gradient of a logit with respect to the canary's row, by autograd

    discriminator = build(study.scenario.model, study.schema).discriminator
    prefix = "discriminator."
    discriminator.load_state_dict({k.removeprefix(prefix): v for k, v in sent.items() if k.startswith(prefix)})
    pixels = canaries.images.pixels.float() / 127.5 - 1
    discriminator(pixels, canaries.images.labels).sum().backward()
    gradient = discriminator.get_parameter("by_class.weight").grad
    assert gradient is not None
    moved = {**sent, ROWS: sent[ROWS] + 0.5 * gradient}
    scores = row_movement(Release(study, sent, REPLY, moved), canaries)
    features = gradient[canaries.first_class :].norm(dim=1)
    np.testing.assert_allclose(scores, 0.5 * features.numpy(), rtol=1e-4)
    backwards = {**sent, ROWS: sent[ROWS] - 0.5 * gradient}
    np.testing.assert_allclose(row_movement(Release(study, sent, REPLY, backwards), canaries), -scores, rtol=1e-4)


def test_canaries_are_as_many_as_the_steps_allow() -> None:
    assert affordable(1) == MOST
    assert FEWEST < affordable(500) < MOST
    with pytest.raises(ConfigError, match="too many to audit"):
        affordable(10**6)
