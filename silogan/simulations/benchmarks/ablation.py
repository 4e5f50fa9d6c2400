"""Ablation: each ingredient of the release for images is left out once, with the same budget.

    python simulations/benchmarks/ablation.py [--datasets digits,pneumonia] [--seeds 0,1,2] [--json]

- centring: second moments are taken around nothing, where the product takes them around noisy class means.
- weighting: all frequencies count alike, where the product raises high ones by (1 + r)^½.
- cells: each class has one Gaussian.

The digits come with the libraries; the chest X-rays are those of `shared/data`, measured on their test images.
"""

import math
import sys
import tempfile
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from silogan.common.config.scenario import load_scenario
from silogan.common.modality.image_features import Spectrum
from silogan.common.privacy.statistics.means import Centres, Means
from silogan.simulations.benchmarks._machine import measured, parser, show
from silogan.simulations.benchmarks._runs import ROOT, data_folder
from silogan.simulations.simulate import simulate

SCENARIOS = {"digits": "digits.yaml", "pneumonia": "chest-xray.yaml"}
LEFT_OUT = ("nothing", "centring", "weighting", "cells")
_FIGURES = ("accuracy_synthetic", "accuracy_real", "auroc_synthetic", "auroc_real", "accuracy_released")


def _around_nothing(centres: Callable[..., Centres]) -> Callable[..., Centres]:
    """`Means.centres`, with what second moments around nothing are scaled by."""

    def found(means: Means, total: torch.Tensor, noise: float) -> Centres:
        there = centres(means, total, noise)
        far = there.counts @ (means.spectrum.weights * there.centres).square().sum(dim=1) / there.counts.sum()
        radius = math.sqrt(there.radius**2 + float(far))
        return Centres(there.counts, torch.zeros_like(there.centres), radius)

    return found


def _alike(init: Callable[..., None]) -> Callable[..., None]:
    """`Spectrum.__init__`, with the same weight for each frequency."""

    def made(spectrum: Spectrum, *arguments: Any) -> None:
        init(spectrum, *arguments)
        spectrum.weights = torch.ones_like(spectrum.weights)

    return made


@contextmanager
def without(ingredient: str) -> Generator[list[str]]:
    """The product without an ingredient, within the context; yields changes of the scenario."""
    if ingredient == "centring":
        with patch.object(Means, "centres", _around_nothing(Means.centres)):
            yield []
    elif ingredient == "weighting":
        with patch.object(Spectrum, "__init__", _alike(Spectrum.__init__)):
            yield []
    else:
        yield ["model.cells=1"] if ingredient == "cells" else []


def measure(dataset: str, ingredient: str, seed: int, *, short: bool) -> dict[str, Any]:
    """The figures of one run."""
    overrides = [f"seed={seed}", "evaluation.others=false"]
    if dataset != "digits":
        folder = data_folder()
        if folder is None:
            raise SystemExit("ablation: no data; set SILOGAN_DATA to a folder with medmnist/pneumoniamnist.npz")
        overrides.append(f"data.root={folder / 'medmnist'}")
    if short:
        overrides += ["evaluation.epochs=1", "evaluation.samples=500"]
    with without(ingredient) as changes, tempfile.TemporaryDirectory() as folder:
        scenario = load_scenario(ROOT / "simulations" / "scenarios" / SCENARIOS[dataset], [*overrides, *changes])
        utility = simulate(scenario, Path(folder))["utility"]
    figures = {name: utility[name] for name in _FIGURES if utility.get(name) is not None}
    return {"dataset": dataset, "without": ingredient, "seed": seed, **figures}


def main() -> None:
    """The command line."""
    options = parser(__doc__, "one seed of the digits with few images")
    options.add_argument("--datasets", default="digits,pneumonia")
    options.add_argument("--seeds", default="0,1,2")
    arguments = options.parse_args()
    datasets = ["digits"] if arguments.short else arguments.datasets.split(",")
    seeds = [0] if arguments.short else [int(seed) for seed in arguments.seeds.split(",")]
    cases = [
        (f"{dataset} without {ingredient}, seed {seed}", dataset, ingredient, seed)
        for dataset in datasets
        for ingredient in LEFT_OUT
        for seed in seeds
    ]
    rows = measured(cases, lambda *case: measure(*case, short=arguments.short))
    show(rows, as_json=arguments.json)


if __name__ == "__main__":
    main()
