"""What synthetic rows keep of code sets: runs of simulated patients, whole from CSV to report.

A made-up population: 16 kinds of patients, each with its own age, sex, death rate and codes, about four a patient. No
real patient is in it. The number of codes, rows, ε and whether pairs of codes are counted vary; four hospitals share
the rows evenly.

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

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

import numpy as np
import torch
from numpy.typing import NDArray

from silogan.common.config.scenario import parse_scenario
from silogan.common.modality.table_options import Mixture
from silogan.common.wire.run_folder import GENERATOR_FILE
from silogan.common.wire.study import Study
from silogan.common.yaml_text import write_yaml
from silogan.server.fitting.choices import with_choices
from silogan.server.release.code_graph import CodeGraph, code_graph
from silogan.server.release.generator import load_generator
from silogan.simulations.benchmarks._machine import measured, parser, show
from silogan.simulations.simulate import simulate

KINDS, MOST, HELD_OUT = 16, 10, 50_000

COMMON = 20 / 50_000
"""Share of patients who have both codes of a pair, at least, for its lift to be compared with the truth."""

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


def population(number: int) -> Population:
    """The same each time: frequencies of codes fall like a power, and each kind has some codes three to eight times."""
    rng = np.random.default_rng(12345)
    share = rng.dirichlet(np.full(KINDS, 2.0))
    base = np.arange(1, number + 1) ** -0.7
    rng.shuffle(base)
    raised = rng.random((KINDS, number)) < 0.12
    codes = base * np.where(raised, rng.uniform(3, 8, raised.shape), rng.uniform(0.3, 1, raised.shape))
    codes = np.minimum(0.9, codes * 4 / (share @ codes).sum())
    return Population(share, codes, rng.uniform(30, 80, KINDS), rng.uniform(0.3, 0.7, KINDS), rng.beta(1, 6, KINDS))


def write(folder: Path, number: int, rows: int, seed: int) -> None:
    """`rows.csv` of patients with so many different codes, and `columns.yaml`."""
    who, rng = population(number), np.random.default_rng(seed)
    kind = rng.choice(KINDS, rows, p=who.share)
    present = rng.random((rows, number)) < who.codes[kind]
    age = np.clip(np.rint(rng.normal(who.age[kind], 12)), 0, 100)
    male, died = rng.random(rows) < who.male[kind], rng.random(rows) < who.died[kind]
    names = [f"C{code:03d}" for code in range(number)]
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


def run(number: int, rows: int, epsilon: float, code_pairs: bool, seed: int, samples: int) -> dict[str, Any]:
    """One study of so many training rows, measured on 50,000 others."""
    begin = time.perf_counter()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(folder, number, rows + HELD_OUT, seed)
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
        "codes": number,
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
        **against_truth(graph, population(number)),
        "seconds": round(time.perf_counter() - begin),
    }


def against_truth(graph: CodeGraph, who: Population) -> dict[str, Any]:
    """The correlation of the logarithm of common pairs' lifts with the population's, and how edges above the noise are.

    An edge is right if in the population the pair is on the same side of independence.
    """
    single, both = who.share @ who.codes, (who.codes * who.share[:, None]).T @ who.codes
    together = both[graph.first, graph.second]
    lift, common = together / single[graph.first] / single[graph.second], together >= COMMON
    right = (np.sign(graph.lift - 1) == np.sign(lift - 1))[graph.above]
    return {
        "log_lift_truth": float(np.corrcoef(np.log(graph.lift[common]), np.log(lift[common]))[0, 1]),
        "edges": len(graph.above),
        "above_noise": int(graph.above.sum()),
        "above_noise_right": int(right.sum()),
    }


def main() -> None:
    """Runs the benchmark from the command line."""
    options = parser(__doc__, "one small run")
    options.add_argument("--seeds", default="0,1,2")
    options.add_argument("--samples", type=int, default=50_000, help="synthetic rows that are measured")
    arguments: argparse.Namespace = options.parse_args()
    seeds = [int(seed) for seed in arguments.seeds.split(",")]
    cases = list(product((120,), (5000, 50_000), (1.0, 3.0, 10.0), (False, True), seeds))
    cases += list(product((40, 400), (5000, 50_000), (1.0, 3.0, 10.0), (False, True), seeds[:1]))
    if arguments.short:
        cases, arguments.samples = [(120, 2000, 10.0, True, 0)], 2000
    torch.set_num_threads(1)
    named: list[tuple[Any, ...]] = []
    for number, rows, epsilon, pairs, seed in cases:
        name = f"{number} codes, {rows:,} rows, ε = {epsilon:g}, pairs {pairs}, seed {seed}"
        named.append((name, number, rows, epsilon, pairs, seed, arguments.samples))
    show(measured(named, run), as_json=arguments.json)


if __name__ == "__main__":
    main()
