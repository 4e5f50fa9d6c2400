"""Rows of one hospital: how near are rows that were drawn as one hospital's to the real rows of that hospital?

    python simulations/benchmarks/by_hospital.py [--seeds 0,1,2] [--epsilon 10] [--json]

Each seed is two runs of heart-disease.yaml, one of them with `model.by_hospital`. Rows of each hospital are compared
with real test rows of that hospital, and so are rows of all hospitals together, and the hospital's own training rows.
"""

import sys
import tempfile
from pathlib import Path
from typing import Any, cast

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from silogan.client.data import read
from silogan.common.config.scenario import load_scenario
from silogan.common.modality.table import TableSchema
from silogan.common.seeding import seeded_generator
from silogan.common.wire.run_folder import GENERATOR_FILE
from silogan.server.evaluation.table_groups import Grouping, by_mass
from silogan.server.evaluation.table_rows import Rows, rows_of
from silogan.server.release.generator import ReleasedGenerator, load_generator, together
from silogan.server.release.where import parse_where
from silogan.simulations.benchmarks._machine import measured, parser, show
from silogan.simulations.benchmarks._runs import ROOT, data_folder, run

SCENARIO = ROOT / "simulations" / "scenarios" / "heart-disease.yaml"
_ROWS, _GROUPS = 10_000, 10


def measure(epsilon: float, seed: int, root: Path) -> dict[str, Any]:
    """One row: mean distances over hospitals and columns, and AUROC of logistic regression on all test rows."""
    row: dict[str, Any] = {"epsilon": epsilon, "seed": seed}
    for name, apart in (("pooled", False), ("by_hospital", True)):
        overrides = [f"seed={seed}", f"privacy.epsilon={epsilon}", f"data.root={root}", f"model.by_hospital={apart}"]
        scenario = load_scenario(SCENARIO, overrides)
        with tempfile.TemporaryDirectory() as folder:
            _, report = run(scenario, "--overwrite", out=Path(folder))
            generator = load_generator(Path(folder) / GENERATOR_FILE)
        data = read(scenario.data)
        schema, names = cast(TableSchema, data.schema), data.site_names or ()
        train, test = (rows_of(schema, part.stored, part.labels, "real rows") for part in (data.train, data.test))
        of_train, of_test = (part.sites for part in (data.train, data.test))
        assert of_train is not None and of_test is not None  # noqa: S101, PT018  (the hospitals are real)
        groupings = by_mass(schema, train, _GROUPS)
        held = [test.at(np.flatnonzero(of_test.numpy() == site)) for site in range(len(names))]
        own = [train.at(np.flatnonzero(of_train.numpy() == site)) for site in range(len(names))]
        drawn = [_drawn(generator, schema, site if apart else None) for site in names]
        row[f"{name}_distance"] = _distance(drawn, held, groupings)
        row[f"{name}_auroc"] = report["utility"]["auroc_synthetic"]
        row["own_rows_distance"] = _distance(own, held, groupings)
    return row


def _drawn(generator: ReleasedGenerator, schema: TableSchema, site: str | None) -> Rows:
    """Rows of one hospital; of all if None."""
    where = None if site is None else parse_where(f"hospital = '{site}'", cast(TableSchema, generator.schema))
    found = together(generator.draw(_ROWS, seeded_generator(0, "evaluation"), where=where))
    return rows_of(schema, found.records, found.labels, "synthetic rows")


def _distance(rows: list[Rows], held: list[Rows], groupings: list[Grouping]) -> float:
    """Mean total variation distance of single columns of each hospital, in [0, 1]."""
    apart = [
        abs(one.shares(drawn) - one.shares(real)).sum() / 2
        for drawn, real in zip(rows, held, strict=True)
        for one in groupings
    ]
    return float(np.mean(apart))


def main() -> None:
    """Runs the benchmark from the command line."""
    options = parser(__doc__, "one seed")
    options.add_argument("--epsilon", type=float, default=10.0)
    options.add_argument("--seeds", default="0,1,2")
    arguments = options.parse_args()
    root = data_folder()
    if root is None or not (root / "heart").is_dir():
        raise SystemExit("by_hospital: no data; set SILOGAN_DATA to a folder that holds heart")
    seeds = [0] if arguments.short else [int(seed) for seed in arguments.seeds.split(",")]
    cases = [(f"seed {seed}", arguments.epsilon, seed, root / "heart") for seed in seeds]
    show(measured(cases, measure), as_json=arguments.json)


if __name__ == "__main__":
    main()
