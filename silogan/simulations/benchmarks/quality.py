"""Quality: the accuracy of a classifier trained on synthetic images only, by data set, budget, sites and split.

    python simulations/benchmarks/quality.py --dataset mnist --epsilon 10 --sites 10 --split iid [--json]

Each seed is a run of `silogan simulate` in a process of its own: partition, fresh weights, sampling, noise and the
classifier differ. `--holdout` measures on a part of the training split that is then not trained on: hyper-parameters
are chosen there, never on the test split.
"""

import argparse
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from silogan.client.data import read
from silogan.common.config.scenario import Scenario, load_scenario
from silogan.common.modality import Data
from silogan.common.modality.image import PIXELS
from silogan.common.modality.image_options import MedMnist
from silogan.server.rounds.events import ANSWERED, FITTED, read_events
from silogan.simulations.benchmarks._machine import measured, parser, show
from silogan.simulations.benchmarks._runs import ROOT, data_folder, run
from silogan.simulations.benchmarks._silhouettes import CLASSES, write_silhouettes

SCENARIOS = {
    "mnist": "mnist.yaml",
    "mnist-basic": "mnist-basic.yaml",
    "pneumonia": "chest-xray.yaml",
    "pneumonia-basic": "chest-xray-basic.yaml",
    "silhouettes": "mnist.yaml",
}
SILHOUETTES = 30_000, 3_000
"""Images to train on and to test on of the set that is drawn by rule, to see what a recipe owes to MNIST."""
BASIC_SHORT = ["training.rounds=2", "training.warm_start.steps=5"]
SPLITS = {"iid": ["sites.partition=iid"], "dirichlet": ["sites.partition=dirichlet", "sites.alpha=0.1"]}
MODES: dict[str, list[str]] = {"cpu": [], "full": ["model.width=48", "training.rounds=8000"]}
"""What each mode changes: the scenarios themselves are made for two CPU cores."""
FIGURES = (
    *("accuracy_synthetic", "accuracy_relabelled", "accuracy_released", "accuracy_real"),
    *("auroc_synthetic", "auroc_real", "balanced_accuracy_synthetic"),
)
_HELD_OUT = 12  # one in so many of the training images


def scenario_of(arguments: argparse.Namespace, seed: int, folder: Path) -> Scenario:
    """The scenario of one run."""
    overrides = [
        *(*_data(arguments, folder), f"seed={seed}", f"privacy.epsilon={arguments.epsilon}"),
        *(f"sites.count={arguments.sites}", *SPLITS[arguments.split], *MODES[arguments.mode]),
        *(["evaluation.epochs=1", "evaluation.samples=1000"] if arguments.short else []),
        *(BASIC_SHORT if arguments.short and arguments.dataset.endswith("basic") else []),
        *arguments.set,
    ]
    file = arguments.scenario or ROOT / "simulations" / "scenarios" / SCENARIOS[arguments.dataset]
    scenario = load_scenario(file, overrides)
    if not arguments.holdout:
        return scenario
    held_out = _hold_out(scenario.data, folder / "holdout.npz")
    evaluation = scenario.evaluation.model_copy(update={"real_ceiling": False})
    return scenario.model_copy(update={"data": held_out, "evaluation": evaluation})


def _data(arguments: argparse.Namespace, folder: Path) -> list[str]:
    """The overrides that say which images these are."""
    if arguments.dataset == "silhouettes":
        path = folder / "silhouettes.npz"
        write_silhouettes(path, *((1000, 100) if arguments.short else SILHOUETTES))
        return ["data.source=medmnist", f"data.root={path}", f"data.classes=[{', '.join(CLASSES)}]"]
    root = data_folder()
    if root is None:
        wanted = "a folder with MNIST/raw and medmnist/pneumoniamnist.npz"
        raise SystemExit(f"quality: no data; set SILOGAN_DATA to {wanted}")
    return [f"data.root={root}"]


def _hold_out(data: Data, path: Path) -> Data:
    """The training split alone, a part of it in the place of the test split."""
    found = read(data)
    images = found.train.stored[PIXELS].permute(0, 2, 3, 1).squeeze(-1).numpy()
    labels = found.train.labels.unsqueeze(1).numpy()
    taken = np.arange(len(labels)) % _HELD_OUT == 0
    train = {"train_images": images[~taken], "train_labels": labels[~taken]}
    np.savez(path, **train, test_images=images[taken], test_labels=labels[taken])  # pyright: ignore[reportArgumentType]
    return MedMnist(root=path, classes=found.schema.classes)


def measure(arguments: argparse.Namespace, seeds: list[int]) -> dict[str, Any]:
    """One row: mean and spread over the seeds."""
    reports = [_run(arguments, seed) for seed in seeds]
    row: dict[str, Any] = {
        "dataset": arguments.dataset + (" (held-out training images)" if arguments.holdout else ""),
        "epsilon": max(site["epsilon"] for report in reports for site in report["sites"]),
        "delta": reports[0]["sites"][0]["delta"],
        "sites": arguments.sites,
        "split": arguments.split,
        "seeds": ",".join(map(str, seeds)),
        "rounds": reports[0]["rounds"],
        "noise_multiplier": reports[0]["phases"][-1]["noise_multiplier"],
    }
    for key in FIGURES:
        values = [report["utility"].get(key) for report in reports]
        if all(value is not None for value in values):
            row |= {key: statistics.mean(values), f"{key}_each": " ".join(f"{value:.4f}" for value in values)}
    if all(report["fidelity"] for report in reports):
        row["frechet_distance"] = statistics.mean(report["fidelity"]["frechet_distance"] for report in reports)
    for name in reports[0]["seconds"]:
        row[f"seconds_{name}"] = statistics.median(report["seconds"][name] for report in reports)
    return row


def _run(arguments: argparse.Namespace, seed: int) -> dict[str, Any]:
    """The report of one run, which is kept where `--out` says; its seconds are also those of each phase."""
    with tempfile.TemporaryDirectory() as folder:
        scenario = scenario_of(arguments, seed, Path(folder))
        out = arguments.out / f"seed-{seed}" if arguments.out else Path(folder) / "run"
        report = run(scenario, "--overwrite", out=out)[1]
        return {**report, "seconds": {**_seconds_of_phases(out), **report["seconds"]}}


def _seconds_of_phases(run_dir: Path) -> dict[str, float]:
    """Until all sites have answered a phase of statistics, and until the server has made use of it."""
    events = [event for event in read_events(run_dir) if event.get("step") in (ANSWERED, FITTED)]
    return {f"{event['phase']}_{event['step']}": event["seconds"] for event in events}


def main() -> None:
    """Runs the benchmark from the command line."""
    options = parser(__doc__, "two rounds of one seed")
    options.add_argument("--dataset", choices=SCENARIOS, default="mnist")
    options.add_argument("--epsilon", type=float, default=10.0)
    options.add_argument("--sites", type=int, default=10)
    options.add_argument("--split", choices=SPLITS, default="iid")
    options.add_argument("--mode", choices=MODES, default="cpu", help="cpu: two cores; full: for a GPU")
    options.add_argument("--seeds", default="0,1,2")
    options.add_argument("--scenario", type=Path, help="another recipe than the data set's own")
    options.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change the recipe")
    options.add_argument("--holdout", action="store_true", help="measure on held-out training images")
    options.add_argument("--out", type=Path, help="folder in which the runs are kept")
    arguments = options.parse_args()
    seeds = [0] if arguments.short else [int(seed) for seed in arguments.seeds.split(",")]
    name = f"{arguments.dataset}, ε {arguments.epsilon:g}, {arguments.sites} sites, {arguments.split}"
    show(measured([(name, arguments, seeds)], measure), as_json=arguments.json)


if __name__ == "__main__":
    main()
