"""Membership inference: it finds a generator and a discriminator that know the training images, and says no counts."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import silogan.simulations.attacks.membership
from silogan.client.data import DataSet, Records, read
from silogan.common.config.scenario import Scenario, parse_scenario
from silogan.common.errors import PrivacyRefusal
from silogan.common.modality.image import PIXELS
from silogan.common.models.networks import Discriminator
from silogan.common.models.networks.base import Drawn
from silogan.server.release.generator import ReleasedGenerator
from silogan.simulations.attacks.membership import infer, infer_of_scenario
from silogan.simulations.simulate import simulate

pytestmark = pytest.mark.usefixtures("threads_kept")

VALUES: dict[str, Any] = {
    "name": "small",
    "seed": 1,
    "sites": {"count": 2},
    "model": {"latent_dim": 4, "width": 4},
    "training": {"rounds": 2, "local_steps": 2, "device": "cpu"},
    "privacy": {"noise_multiplier": 1.0, "epsilon": 50},
    "evaluation": {"samples": 200, "epochs": 1, "enabled": False},
}
SCENARIO = parse_scenario(VALUES)
ATTACKS = ["nearest synthetic image", "discriminator"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    simulate(SCENARIO, folder)
    return folder


def test_short_run_tells_nobody_apart(run: Path) -> None:
    found = infer(run)
    plain = found.to_json()
    assert json.loads(json.dumps(plain)) == plain
    assert list(plain) == ATTACKS
    for result in plain.values():
        assert result["auc"]["low"] < 0.53
        assert result["auc"]["high"] > 0.47
        assert set(result["true_positive_rate"]) == {"value", "low", "high"}
    assert infer(run) == found


def test_generator_that_repeats_its_training_images_is_found(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train = read(SCENARIO.data).train

    def memorised(self: ReleasedGenerator, count: int, rng: torch.Generator) -> Iterator[Drawn]:
        yield Drawn({PIXELS: train.stored[PIXELS][:count]}, self.balanced_labels(count))

    monkeypatch.setattr(ReleasedGenerator, "draw", memorised)
    found = infer(run).attacks
    assert found["nearest synthetic image"].auc.low > 0.52
    assert found["nearest synthetic image"].true_positive_rate.low > 0.1  # 200 of the members themselves


def test_discriminator_that_knows_its_training_images_is_found(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    members = {image.numpy().tobytes() for image in read(SCENARIO.data).train.stored[PIXELS]}

    class Knowing(torch.nn.Module):
        def forward(self, images: Tensor, _labels: Tensor | None) -> Tensor:
            pixels = ((images + 1) * 127.5).round().to(torch.uint8)
            return torch.tensor([float(image.numpy().tobytes() in members) for image in pixels])

    honest: Callable[..., Any] = silogan.simulations.attacks.membership.networks

    def networks(*args: Any) -> Any:
        return honest(*args)._replace(discriminator=Knowing())

    monkeypatch.setattr(silogan.simulations.attacks.membership, "networks", networks)
    assert infer(run).attacks["discriminator"].auc.low > 0.99


def test_many_images_are_sampled_from_both_splits(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scored: list[int] = []
    honest: Callable[..., Tensor] = Discriminator.__call__

    def forward(self: Discriminator, images: Tensor, labels: Tensor | None) -> Tensor:
        scored.append(len(images))
        return honest(self, images, labels)

    monkeypatch.setattr(silogan.simulations.attacks.membership, "MOST_SCORED", 100)
    monkeypatch.setattr(Discriminator, "__call__", forward)
    infer(run)
    assert scored == [100, 100]


def test_scenario_is_run_where_nothing_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    ran: list[Scenario] = []

    def remembered(scenario: Scenario, *args: Any, **options: Any) -> Any:
        ran.append(scenario)
        return simulate(scenario, *args, **options)

    monkeypatch.setattr(silogan.simulations.attacks.membership, "simulate", remembered)
    assert list(infer_of_scenario(SCENARIO).attacks) == ATTACKS
    assert ran == [SCENARIO]
    assert list(tmp_path.iterdir()) == []


def test_run_without_privacy_is_refused() -> None:
    with pytest.raises(PrivacyRefusal, match="NON-PRIVATE"):
        infer_of_scenario(parse_scenario({**VALUES, "privacy": {"enabled": False}}))


def test_images_without_classes_are_compared_by_their_pixels(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data: DataSet = read(SCENARIO.data)
    known: Records = data.train

    def memorised(self: ReleasedGenerator, count: int, rng: torch.Generator) -> Iterator[Drawn]:
        yield Drawn(known.stored, None)

    monkeypatch.setattr(ReleasedGenerator, "draw", memorised)
    assert infer(run).attacks["nearest synthetic image"].auc.low > 0.99
