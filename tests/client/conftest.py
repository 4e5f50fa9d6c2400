"""A tiny study, its images and its sites: 8x8 pixels, two classes, and σ given so that none must be searched for."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from silogan.client.data import Records
from silogan.client.ledger.policy import Policy
from silogan.client.round import Site
from silogan.client.simulated import open_ledgers, simulated_site
from silogan.common.config.scenario import Scenario, parse_scenario
from silogan.common.modality.image import PIXELS, ImageSchema
from silogan.common.models.networks import build, initialise
from silogan.common.models.weights import weights_of
from silogan.common.privacy.plan import make_plan
from silogan.common.wire.messages import Weights
from silogan.common.wire.run_folder import LEDGER_FOLDER
from silogan.common.wire.study import SiteDeclaration, Study

SCHEMA = ImageSchema(8, 1, ("benign", "malignant"))
DECLARED_SIZE = 40
SECTIONS: dict[str, dict[str, Any]] = {
    "model": {"latent_dim": 4, "width": 2},
    "training": {
        "rounds": 4,
        "local_steps": 3,
        "sample_rate": 0.25,
        "generator_batch_size": 4,
        "d_steps_per_g_step": 2,
        "device": "cpu",
    },
    "privacy": {"epsilon": 8.0, "delta": 1e-4, "noise_multiplier": 1.0},
}

MakeStudy = Callable[..., Study]
MakeSite = Callable[..., Site]


@pytest.fixture(autouse=True)
def _one_thread(one_thread: None) -> None:
    """For every test here."""


@pytest.fixture
def make_scenario() -> Callable[..., Scenario]:
    """`make_scenario(seed=None, training={"rounds": 2}, ...)`: the tiny scenario with some of its keys changed."""

    def make(*, seed: int | None = 3, **sections: dict[str, Any]) -> Scenario:
        merged = {name: {**SECTIONS.get(name, {}), **sections.get(name, {})} for name in {**SECTIONS, **sections}}
        return parse_scenario({"name": "tiny", "seed": seed, **merged})

    return make


@pytest.fixture
def make_study(make_scenario: Callable[..., Scenario]) -> MakeStudy:
    """The study of `make_scenario`, with one hospital of declared size 40."""

    def make(**changes: Any) -> Study:
        scenario = make_scenario(**changes)
        return Study(scenario, SCHEMA, make_plan(scenario), (SiteDeclaration("hospital", DECLARED_SIZE),))

    return make


@pytest.fixture
def images() -> Records:
    """43 random images: not the number that the hospital declared."""
    rng = torch.Generator().manual_seed(1)
    pixels = torch.randint(0, 256, (43, 1, 8, 8), generator=rng, dtype=torch.uint8)
    return Records({PIXELS: pixels}, torch.randint(0, 2, (43,), generator=rng))


@pytest.fixture
def make_site(tmp_path: Path, images: Records) -> MakeSite:
    """`make_site(study)`: a hospital with its own folder that has approved the study; `read` replaces the reading of
    its images, `policy` its policy, which allows what the study asks for.
    """

    def make(
        study: Study,
        *,
        read: Callable[[], Records] = lambda: images,
        folder: str = "hospital",
        policy: Callable[[], Policy] | None = None,
    ) -> Site:
        (tmp_path / folder / LEDGER_FOLDER).mkdir(parents=True, exist_ok=True)
        open_ledgers(study, tmp_path / folder)
        site = simulated_site(study, tmp_path / folder, 0)
        return replace(site, read_records=read, read_policy=policy or site.read_policy)

    return make


@pytest.fixture
def make_weights() -> Callable[..., Weights]:
    """`make_weights(study, seed=0)`: fresh weights of both networks; a round trains the tensors it is given."""

    def make(study: Study, *, seed: int = 0) -> Weights:
        gan = build(study.scenario.model, study.schema)
        initialise(gan, torch.Generator().manual_seed(seed))
        return weights_of(gan)

    return make
