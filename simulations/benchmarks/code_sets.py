"""What synthetic rows keep of code sets: runs of simulated patients with 120 codes, whole from CSV to report.

A made-up population: 16 kinds of patients, each with its own age, sex, death rate and codes, about four of 120 each. No
real patient is in it. Rows, ε and whether pairs of codes are counted vary; four hospitals share the rows evenly.

    python simulations/benchmarks/code_sets.py [--short] [--json] [--seeds 0,1,2]
"""

import argparse
import csv
import sys
import tempfile
import time
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
import torch
from numpy.typing import NDArray

from common.config.scenario import parse_scenario
from common.modality.table_options import Mixture
from common.wire.run_folder import GENERATOR_FILE
from common.wire.study import Study
from common.yaml_text import write_yaml
from server.fitting.choices import with_choices
from server.release.code_graph import CodeGraph, code_graph
from server.release.generator import load_generator
from simulations.benchmarks._machine import measured, parser, show
from simulations.simulate import simulate

CODES, KINDS, MOST, HELD_OUT = 120, 16, 10, 50_000

Floats = NDArray[np.float64]


class Population(NamedTuple):
    """Kinds of patients.

    Attributes:
        share: float64[kinds], of the patients.
        codes: float64[kinds, codes], chance of each code.
        age: float64[kinds], the mean.
        male: float64[kinds], chance.
        died: float64[kinds], chance.
    """

    share: Floats
    codes: Floats
    age: Floats
    male: Floats
    died: Floats


def population() -> Population:
    """The same each time: frequencies of codes fall like a power, and each kind has some codes three to eight times."""
    rng = np.random.default_rng(12345)
    share = rng.dirichlet(np.full(KINDS, 2.0))
    base = np.arange(1, CODES + 1) ** -0.7
    rng.shuffle(base)
    raised = rng.random((KINDS, CODES)) < 0.12
    codes = base * np.where(raised, rng.uniform(3, 8, raised.shape), rng.uniform(0.3, 1, raised.shape))
    codes = np.minimum(0.9, codes * 4 / (share @ codes).sum())
    return Population(share, codes, rng.uniform(30, 80, KINDS), rng.uniform(0.3, 0.7, KINDS), rng.beta(1, 6, KINDS))


def write(folder: Path, rows: int, seed: int) -> None:
    """`rows.csv` of patients and `columns.yaml`."""
    who, rng = population(), np.random.default_rng(seed)
    kind = rng.choice(KINDS, rows, p=who.share)
    present = rng.random((rows, CODES)) < who.codes[kind]
    age = np.clip(np.rint(rng.normal(who.age[kind], 12)), 0, 100)
    male, died = rng.random(rows) < who.male[kind], rng.random(rows) < who.died[kind]
    names = [f"C{code:03d}" for code in range(CODES)]
    with (folder / "rows.csv").open("w", newline="", encoding="utf-8") as file:
        text = csv.writer(file)
        text.writerow(("number", "age", "male", "dx", "died"))
        for row in range(rows):
            dx = "|".join(names[code] for code in present[row].nonzero()[0])
            text.writerow((row, int(age[row]), int(male[row]), dx, int(died[row])))
    columns = {
        "age": {"type": "integer", "min": 0, "max": 100, "edges": [20, 40, 60, 80]},
        "male": {"type": "binary", "values": ["0", "1"]},
        "dx": {"type": "codes", "values": names, "most": MOST, "outside": "drop"},
    }
    label = {"column": "died", "classes": {"home": 0, "died": 1}}
    described = {"label": label, "patient": "number", "columns": columns}
    (folder / "columns.yaml").write_text(write_yaml(described), encoding="utf-8")


def run(rows: int, epsilon: float, code_pairs: bool, seed: int, samples: int) -> dict[str, Any]:
    """One study of so many training rows, measured on 50,000 others."""
    begin = time.perf_counter()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(folder, rows + HELD_OUT, seed)
        scenario = parse_scenario({
            "name": "codes",
            "seed": seed,
            "data": {
                "source": "table",
                "root": str(folder / "rows.csv"),
                "columns": str(folder / "columns.yaml"),
                "test_fraction": HELD_OUT / (rows + HELD_OUT),
            },
            "sites": {"count": 4, "partition": "iid"},
            "model": {"family": "mixture", "code_pairs": code_pairs},
            "training": {"rounds": 0},
            "privacy": {"epsilon": epsilon, "delta": 1e-5},
            "evaluation": {"samples": samples},
        })  # fmt: skip
        report = simulate(scenario, folder / "run")
        study = Study.load(folder / "run")
        graph = code_graph(load_generator(folder / "run" / GENERATOR_FILE), study)
    left_open = scenario.model_copy(update={"model": Mixture()})
    chosen = with_choices(left_open, study.schema, study.sites).model
    codes, utility = report["table"]["codes"], report["utility"]
    return {
        "rows": rows,
        "epsilon": epsilon,
        "seed": seed,
        "code_pairs": code_pairs,
        "chosen": chosen == study.scenario.model,
        "log_lift": codes["lift"]["correlation"],
        "log_lift_floor": codes["lift"]["floor"],
        "pairs": codes["lift"]["pairs"],
        "shares_off": codes["frequencies"]["mean"],
        "shares_off_floor": codes["frequencies"]["floor_mean"],
        "codes_a_row": codes["per_row"]["synthetic"],
        "codes_a_real_row": codes["per_row"]["test"],
        "auroc_synthetic": utility["auroc_synthetic"],
        "auroc_real": utility["auroc_real"],
        "violating": report["table"]["violations"]["violating"],
        **edges(graph),
        "seconds": round(time.perf_counter() - begin),
    }


def edges(graph: CodeGraph) -> dict[str, Any]:
    """How many edges are above the noise, and of how many the truth is on the same side of independence."""
    who = population()
    single, both = who.share @ who.codes, (who.codes * who.share[:, None]).T @ who.codes
    lift = both[graph.first, graph.second] / single[graph.first] / single[graph.second]
    right = (np.sign(graph.lift - 1) == np.sign(lift - 1))[graph.above]
    return {"above_noise": int(graph.above.sum()), "above_noise_right": int(right.sum()), "edges": len(graph.above)}


def main() -> None:
    """Runs the benchmark from the command line."""
    options = parser(__doc__, "one small run")
    options.add_argument("--seeds", default="0,1,2")
    options.add_argument("--samples", type=int, default=50_000, help="synthetic rows that are measured")
    arguments: argparse.Namespace = options.parse_args()
    seeds = [int(seed) for seed in arguments.seeds.split(",")]
    cases = list(product((5000, 50_000), (1.0, 3.0, 10.0), (False, True), seeds))
    if arguments.short:
        cases, arguments.samples = [(2000, 10.0, True, 0)], 2000
    torch.set_num_threads(1)
    named = [
        (f"{rows:,} rows, ε = {epsilon:g}, pairs {pairs}, seed {seed}", rows, epsilon, pairs, seed, arguments.samples)
        for rows, epsilon, pairs, seed in cases
    ]
    show(measured(named, run), as_json=arguments.json)


if __name__ == "__main__":
    main()
