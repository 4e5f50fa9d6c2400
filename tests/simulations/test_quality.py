"""The quality benchmark's own parts: what is held out is not trained on, and the recipe is what it says."""

import argparse
from pathlib import Path
from typing import Any

import pytest
import torch

from silogan.client.data import read
from silogan.common.modality.image import PIXELS
from silogan.common.modality.image_options import Digits, MedMnist
from silogan.simulations.benchmarks import quality
from silogan.simulations.benchmarks._silhouettes import CLASSES, write_silhouettes


def arguments(**changes: Any) -> argparse.Namespace:
    values: dict[str, Any] = {
        "dataset": "mnist",
        "epsilon": 1.0,
        "sites": 4,
        "split": "dirichlet",
        "mode": "cpu",
        "scenario": None,
        "set": [],
        "holdout": False,
        "short": False,
    }
    return argparse.Namespace(**{**values, **changes})


def test_what_is_held_out_is_not_trained_on_and_nothing_is_of_the_test_split(tmp_path: Path) -> None:
    whole = read(Digits())
    found = read(quality._hold_out(Digits(), tmp_path / "holdout.npz"))
    kept, held = (
        {
            image.numpy().tobytes() + bytes([label])
            for image, label in zip(part.stored[PIXELS], part.labels, strict=True)
        }
        for part in (found.train, found.test)
    )
    training = {
        image.numpy().tobytes() + bytes([label])
        for image, label in zip(whole.train.stored[PIXELS], whole.train.labels, strict=True)
    }
    assert len(found.train) + len(found.test) == len(whole.train)
    assert len(found.test) == -(-len(whole.train) // 12)
    assert kept | held == training
    assert not kept & held
    assert found.schema == whole.schema
    assert torch.equal(found.test.labels, whole.train.labels[::12])


@pytest.mark.parametrize("dataset", quality.SCENARIOS)
def test_a_run_is_the_recipe_with_budget_sites_split_and_seed(
    dataset: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quality, "data_folder", lambda: tmp_path)
    monkeypatch.setattr(quality, "SILHOUETTES", (20, 10))
    scenario = quality.scenario_of(arguments(dataset=dataset, set=["evaluation.samples=77"]), 5, tmp_path)
    assert (scenario.seed, scenario.privacy.epsilon, scenario.sites.count) == (5, 1.0, 4)
    assert (scenario.sites.partition, scenario.sites.alpha) == ("dirichlet", 0.1)
    assert scenario.evaluation.samples == 77


def test_silhouettes_are_ten_kinds_of_clothes_and_the_same_again(tmp_path: Path) -> None:
    files = tmp_path / "one.npz", tmp_path / "two.npz"
    for path in files:
        write_silhouettes(path, 40, 20)
    one, two = (read(MedMnist(root=path, classes=CLASSES)) for path in files)
    assert (len(one.train), len(one.test), one.schema.shape) == (40, 20, (1, 28, 28))
    assert torch.equal(one.train.labels, torch.arange(40) % 10)
    assert torch.equal(one.train.stored[PIXELS], two.train.stored[PIXELS])
    assert len({image.numpy().tobytes() for image in one.train.stored[PIXELS]}) == 40


def test_missing_data_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(quality, "data_folder", lambda: None)
    with pytest.raises(SystemExit, match="set SILOGAN_DATA"):
        quality.scenario_of(arguments(), 0, tmp_path)
