"""Augmentation: does a small hospital's own classifier gain from the federation's synthetic images?

    python simulations/benchmarks/augmentation.py --images 50 [--seeds 0,1,2] [--json]

Each seed is a run of the scenario, and a hospital that took no part: it has a few labelled images of the real training
split, drawn at random. The classifier of `silogan evaluate` learns from these alone, from synthetic images alone, and
from both, and is tested on the real test split. The few are repeated until they are a fifth of what it learns from.
"""

import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from silogan.client.data import read
from silogan.common.config.scenario import load_scenario
from silogan.common.modality.image import PIXELS
from silogan.common.seeding import seeded_generator
from silogan.common.wire.run_folder import GENERATOR_FILE
from silogan.server.evaluation.classifier import Scores, score, train_classifier
from silogan.server.release.generator import load_generator
from silogan.simulations.benchmarks._machine import measured, parser, show
from silogan.simulations.benchmarks._runs import ROOT, data_folder, run

_SYNTHETIC, _EPOCHS = 10_000, 10
_SHARE = 5
Labelled = tuple[Tensor, Tensor]


def measure(file: Path, seed: int, images: int, short: bool) -> dict[str, Any]:
    """One row: the scores of the three classifiers."""
    overrides = [f"seed={seed}", f"data.root={data_folder()}", "evaluation.enabled=false"]
    scenario = load_scenario(file, overrides)
    with tempfile.TemporaryDirectory() as folder:
        run(scenario, "--overwrite", out=Path(folder))
        generator = load_generator(Path(folder) / GENERATOR_FILE)
    data = read(scenario.data)
    test = data.test.stored[PIXELS], data.test.labels
    own = data.train.select(torch.randperm(len(data.train), generator=seeded_generator(seed, "own"))[:images])
    count = 1000 if short else _SYNTHETIC
    labels = torch.arange(count) % generator.schema.num_classes
    drawn = generator.sample(labels, count, seeded_generator(seed, "drawn"))[PIXELS], labels
    repeated = _repeated((own.stored[PIXELS], own.labels), count // (_SHARE - 1))
    both = torch.cat((drawn[0], repeated[0])), torch.cat((drawn[1], repeated[1]))
    row: dict[str, Any] = {"seed": seed, "images": images}
    for name, taught in (("own", repeated), ("synthetic", drawn), ("both", both)):
        scores = _scores(taught, test, generator.schema.num_classes, seed, 1 if short else _EPOCHS)
        row |= {f"accuracy_{name}": scores.accuracy, f"balanced_{name}": scores.balanced_accuracy}
        row |= {} if scores.auroc is None else {f"auroc_{name}": scores.auroc}
    return row


def _repeated(images: Labelled, count: int) -> Labelled:
    index = torch.arange(count) % len(images[1])
    return images[0][index], images[1][index]


def _scores(taught: Labelled, test: Labelled, classes: int, seed: int, epochs: int) -> Scores:
    trained = train_classifier(*taught, num_classes=classes, epochs=epochs, seed=seed, device="cpu")
    return score(trained.network, *test)


def main() -> None:
    """Runs the benchmark from the command line."""
    options = parser(__doc__, "one seed, one epoch on few images")
    options.add_argument("--scenario", type=Path, default=ROOT / "simulations" / "scenarios" / "chest-xray.yaml")
    options.add_argument("--seeds", default="0,1,2")
    options.add_argument("--images", type=int, default=50, help="labelled images that the hospital has")
    arguments = options.parse_args()
    if data_folder() is None:
        raise SystemExit("augmentation: no data; set SILOGAN_DATA to a folder with medmnist/pneumoniamnist.npz")
    seeds = [0] if arguments.short else [int(seed) for seed in arguments.seeds.split(",")]
    cases = [(f"seed {seed}", arguments.scenario, seed, arguments.images, arguments.short) for seed in seeds]
    rows = measured(cases, measure)
    means = {key: statistics.mean(row[key] for row in rows) for key in rows[0] if key not in ("seed", "images")}
    show([*rows, {"seed": "mean", **means}], as_json=arguments.json)


if __name__ == "__main__":
    main()
