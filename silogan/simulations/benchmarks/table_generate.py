"""Rows a second of a table: drawn as arrays, under a condition, and written as CSV (`server/release/outputs/table.py`).

The table has the columns of Adult (14 and the label) and the mixture random numbers; one thread. Rates are medians.

    python simulations/benchmarks/table_generate.py [--short] [--json] [--rows 1000000] [--components 512]
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"
sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

import torch

from silogan.common.modality.table import Category, Column, Number, TableSchema
from silogan.common.models.networks import Drawn
from silogan.common.models.networks.mixture import MixtureOfProducts
from silogan.server.release.generator import ReleasedGenerator
from silogan.server.release.outputs import OUTPUTS
from silogan.server.release.where import parse_where
from silogan.simulations.benchmarks._machine import measured, parser, show
from silogan.simulations.processes import memory

CONDITION = "sex = F and age > 60 and 'hours-per-week' <= 40"
IMPOSSIBLE = ((("sex", "F"), ("relationship", "husband")), (("sex", "M"), ("relationship", "wife")))


def schema() -> TableSchema:
    """Columns of the types and sizes of Adult's."""

    def category(name: str, values: int | tuple[str, ...], *, optional: bool = False) -> Category:
        names = tuple(f"{name}-{number}" for number in range(values)) if isinstance(values, int) else values
        return Category("category", name, names, tuple(() for _ in names), optional=optional)

    def number(name: str, low: float, high: float, edges: tuple[float, ...] = ()) -> Number:
        return Number("number", name, low, high, 1.0, edges=edges)

    columns: tuple[Column, ...] = (
        number("age", 17, 90),
        category("workclass", 8, optional=True),
        number("fnlwgt", 12_285, 1_490_400),
        category("education", 16),
        number("education-num", 1, 16),
        category("marital-status", 7),
        category("occupation", 14, optional=True),
        category("relationship", ("husband", "wife", "own-child", "not-in-family", "other-relative", "unmarried")),
        category("race", 5),
        category("sex", ("F", "M")),
        number("capital-gain", 0, 99_999, (1.0, 3000.0, 5000.0, 7500.0, 15_000.0)),
        number("capital-loss", 0, 4356, (1.0, 1500.0, 2000.0)),
        number("hours-per-week", 1, 99),
        category("native-country", 41, optional=True),
    )
    return TableSchema(("<=50K", ">50K"), columns, "income", ((), ()), impossible=IMPOSSIBLE)


def generator(of: TableSchema, components: int) -> ReleasedGenerator:
    """A mixture of random products."""
    rng = torch.Generator().manual_seed(0)
    network = MixtureOfProducts(of, components)
    network.chances.copy_(torch.softmax(torch.randn(components, generator=rng), 0))
    network.classes.copy_(torch.softmax(torch.randn(network.classes.shape, generator=rng), 1))
    for block in of.blocks:
        logits = 2 * torch.randn(components, block.stop - block.start, generator=rng)
        network.cells[:, block] = torch.softmax(logits, 1)
    return ReleasedGenerator(network.eval(), of, (), "benchmark")


def rates(write: Callable[[], object], arguments: argparse.Namespace) -> dict[str, Any]:
    """Rows a second of each repeat, their median, and the peak of the process so far."""
    seconds: list[float] = []
    for _ in range(arguments.repeats):
        begin = time.perf_counter()
        write()
        seconds.append(time.perf_counter() - begin)
    found = [arguments.rows / taken for taken in seconds]
    return {
        "rows": arguments.rows,
        "rows_per_second": round(statistics.median(found)),
        "each": [round(rate) for rate in found],
        "peak_memory_mib": memory("VmHWM") // 2**20,
    }


def arrays(of: ReleasedGenerator, where: str | None, arguments: argparse.Namespace) -> dict[str, Any]:
    """Drawn alone, impossible rows drawn again."""

    def draw() -> None:
        for _ in _drawn(of, where, arguments):
            pass

    return {"as": "arrays", "where": where or "", **rates(draw, arguments)}


def csv(of: ReleasedGenerator, where: str | None, arguments: argparse.Namespace) -> dict[str, Any]:
    """Drawn, and written to a temporary file."""

    def write() -> None:
        with tempfile.TemporaryDirectory() as folder:
            about = of.about(arguments.rows)
            OUTPUTS["table"].formats["csv"](Path(folder) / "rows.csv", _drawn(of, where, arguments), about)

    return {"as": "csv", "where": where or "", **rates(write, arguments)}


def _drawn(of: ReleasedGenerator, where: str | None, arguments: argparse.Namespace) -> Iterator[Drawn]:
    condition = None if where is None else parse_where(where, schema())
    return of.draw(arguments.rows, torch.Generator().manual_seed(1), where=condition)


def main() -> None:
    """Runs the benchmark from the command line."""
    options = parser(__doc__, "few rows, once")
    options.add_argument("--rows", type=int, default=1_000_000)
    options.add_argument("--repeats", type=int, default=5, help="times that each is run")
    options.add_argument("--components", type=int, default=512)
    arguments = options.parse_args()
    if arguments.short:
        arguments.rows, arguments.repeats = 100_000, 1
    torch.set_num_threads(1)
    of = generator(schema(), arguments.components)
    arrays(of, None, argparse.Namespace(rows=65_536, repeats=1))  # what is made once
    cases = [(take, where) for take in (arrays, csv) for where in (None, CONDITION)]
    named = [(f"{take.__name__}, {where or 'all rows'}", take, where) for take, where in cases]

    def measure(take: Callable[..., dict[str, Any]], where: str | None) -> dict[str, Any]:
        return take(of, where, arguments)

    show(measured(named, measure), as_json=arguments.json)


if __name__ == "__main__":
    main()
