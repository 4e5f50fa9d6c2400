"""Another fit of the same noisy counts: mbi (Private-PGM) beside SiloGAN's mixture and its classifiers.

    python simulations/benchmarks/mbi_on_release.py [--datasets heart-disease,adult,breast-cancer] [--epsilon 10,3,1]
        [--seeds 0,1,2] [--models graphical,mixture] [--out FOLDER] [--json] [--short]

Each seed is a run of `silogan simulate`; what its hospitals released is handed to mbi, which runs in an environment of
its own that is made for it (650 MB, by pip) and removed at the end. Its rows are of groups: cells within them, and
numbers within cells, are drawn as for SiloGAN's rows, and the same classifiers learn from them.
"""

import argparse
import subprocess
import sys
import tempfile
import venv
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from silogan.client.data import read
from silogan.common.config.scenario import Scenario, load_scenario
from silogan.common.modality import Stored
from silogan.common.modality.table import TableSchema
from silogan.common.seeding import seeded_generator
from silogan.common.wire.study import Study
from silogan.server.fitting.mixture import Found, shares_within, singles_of
from silogan.server.fitting.release import counted
from silogan.server.rounds.checkpoint import Checkpoint
from silogan.simulations.benchmarks._machine import measured, parser, show
from silogan.simulations.benchmarks._runs import ROOT, data_folder, run
from silogan.simulations.evaluate import figures_of

MBI = "mbi==2.0.0"
FIT = Path(__file__).with_name("_mbi_fit.py")
DATASETS = {"heart-disease": "heart", "adult": "adult/adult.csv", "breast-cancer": None}
"""Where the data of each scenario lies in the folder of public data sets."""

MODELS = ("graphical", "mixture")


def environment(folder: Path) -> Path:
    """The Python of a new environment that has mbi and nothing of this one.

    Raises:
        SystemExit: it cannot be installed.
    """
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", MBI]
    if subprocess.run(command, check=False, stdout=sys.stderr).returncode:  # noqa: S603  (our own command)
        raise SystemExit(f"mbi_on_release: pip cannot install {MBI}; connect to a package index")
    return python


def scenario_of(dataset: str, epsilon: float, seed: int) -> Scenario:
    """The scenario of one run.

    Raises:
        SystemExit: there is no data.
    """
    place, root = DATASETS[dataset], data_folder()
    if place is not None and (root is None or not (root / place).exists()):
        raise SystemExit(f"mbi_on_release: no data; set SILOGAN_DATA to a folder that holds {place}")
    overrides = [f"privacy.epsilon={epsilon}", f"seed={seed}"]
    if place is not None:
        overrides.append(f"data.root={root}/{place}")
    return load_scenario(ROOT / "simulations" / "scenarios" / f"{dataset}.yaml", overrides)


def measure(dataset: str, epsilon: float, seed: int, arguments: argparse.Namespace, python: Path) -> dict[str, Any]:
    """One row: what ours and mbi's rows teach, and what the release's own classifier says."""
    scenario = scenario_of(dataset, epsilon, seed)
    with tempfile.TemporaryDirectory() as temporary:
        run_dir = (arguments.out or Path(temporary)) / f"{dataset}-{epsilon:g}-{seed}"
        _, report = run(scenario, "--resume", out=run_dir)
        row = {"dataset": dataset, "epsilon": epsilon, "seed": seed, **_figures("ours", report)}
        row["tree_auroc"] = report["utility"]["auroc_released"]
        row["ours_seconds"] = report["seconds"]["training"]
        study, checkpoint = Study.load(run_dir), Checkpoint.latest(run_dir)
        assert checkpoint is not None  # noqa: S101  (the run is finished)
        found = counted(study, checkpoint.released)
        settings = scenario.evaluation.model_copy(update={"real_ceiling": False})
        for model in arguments.models.split(","):
            records, labels, seconds = _fit(study, found, model, python, Path(temporary))
            figures = figures_of(records, labels, read(scenario.data), settings, "cpu")
            row |= {**_figures(model, figures), f"{model}_seconds": seconds}
    return row


def _figures(name: str, found: dict[str, Any]) -> dict[str, float]:
    (scores,) = (one for one in found["table"]["scores"] if one["learnt_from"] == "synthetic")
    return {
        f"{name}_logistic": scores["logistic"]["auroc"],
        f"{name}_boosting": scores["boosting"]["auroc"],
        f"{name}_pairs": found["table"]["distances"]["two_way"]["mean"],
    }


def _fit(study: Study, found: Found, model: str, python: Path, folder: Path) -> tuple[Stored, torch.Tensor, float]:
    """Rows of a model of mbi, their labels int64[N], and the seconds of fit and drawing."""
    schema = study.schema
    assert isinstance(schema, TableSchema)  # noqa: S101  (of these scenarios)
    if not found.by_class:
        raise SystemExit("mbi_on_release: needs pairs of each class; raise --epsilon")
    release, out = folder / "release.npz", folder / "rows.npz"
    write_release(release, schema, found)
    command = [python, FIT, release, model, study.scenario.evaluation.samples, out]
    subprocess.run(list(map(str, command)), check=True, stdout=sys.stderr)  # noqa: S603  (our own command)
    with np.load(out) as drawn:
        groups, labels = (torch.from_numpy(drawn[name].astype(np.int64)) for name in ("groups", "labels"))
        seconds = float(drawn["seconds"])
    records = in_cells(schema, found, groups)
    possible = schema.possible(records)
    kept = torch.ones(len(labels), dtype=torch.bool) if possible is None else possible
    return {name: values[kept] for name, values in records.items()}, labels[kept], seconds


def write_release(path: Path, schema: TableSchema, found: Found) -> None:
    """Writes counts of groups in each class with their noise, as `_mbi_fit.py` reads them."""
    counts, variance = singles_of(schema, found)
    blocks = found.tables.blocks
    np.savez(
        path,
        starts=[*(block.start for block in blocks), blocks[-1].stop],
        counts=counts.numpy(),
        variance=variance.numpy(),
        pairs=found.tables.pairs.numpy(),
        pairs_noise=found.tables.pairs_noise,
    )


def in_cells(schema: TableSchema, found: Found, groups: torch.Tensor) -> Stored:
    """Rows of given groups int64[N, columns], each within its column: cells as they were counted, numbers anywhere."""
    rng, shares = seeded_generator(0, "mbi"), shares_within(schema, found).double()
    cells: list[torch.Tensor] = []
    for column, block in enumerate(schema.blocks):
        own = found.groups[block] - found.groups[block.start]
        chances = torch.zeros(int(own.max()) + 1, len(own), dtype=torch.float64)
        chances[own, torch.arange(len(own))] = shares[block]
        uniform = torch.rand(len(groups), 1, generator=rng, dtype=torch.float64)
        chosen = torch.searchsorted(chances.cumsum(dim=1)[groups[:, column]], uniform, right=True)
        cells.append(chosen.squeeze(1).clamp(max=len(own) - 1))
    numbers = schema.shape[0] - schema.cells
    return schema.placed(cells, torch.rand(len(groups), numbers, generator=rng, dtype=torch.float64))


def main() -> None:
    """Runs the benchmark from the command line."""
    options = parser(__doc__, "one seed of breast-cancer, which needs no data")
    options.add_argument("--datasets", default=",".join(DATASETS))
    options.add_argument("--epsilon", default="10,3,1")
    options.add_argument("--seeds", default="0,1,2")
    options.add_argument("--models", default=",".join(MODELS))
    options.add_argument("--out", type=Path, help="folder in which the runs are kept; those that are there are used")
    arguments = options.parse_args()
    if arguments.short:
        arguments.datasets, arguments.epsilon, arguments.seeds = "breast-cancer", "10", "0"
        arguments.models = MODELS[0]
    cases = [
        (dataset, float(epsilon), int(seed))
        for dataset in arguments.datasets.split(",")
        for epsilon in arguments.epsilon.split(",")
        for seed in arguments.seeds.split(",")
    ]
    with tempfile.TemporaryDirectory() as folder:
        python = environment(Path(folder))
        named = [
            (f"{dataset}, ε {epsilon:g}, seed {seed}", dataset, epsilon, seed, arguments, python)
            for dataset, epsilon, seed in cases
        ]
        show(measured(named, measure), as_json=arguments.json)


if __name__ == "__main__":
    main()
