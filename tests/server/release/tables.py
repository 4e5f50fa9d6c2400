"""A small table with every type of column, and a mixture over it whose numbers are made up."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from silogan.common.modality import Stored
from silogan.common.modality.code_set import CodeSet
from silogan.common.modality.table import Category, Column, Number, TableSchema
from silogan.common.modality.table_options import MOST_BINS, Mixture
from silogan.common.models.networks.mixture import MixtureOfProducts
from silogan.common.models.weights import under
from silogan.common.wire.run_folder import GENERATOR_FILE
from silogan.common.wire.study import Study
from silogan.server.release.generator import ReleasedGenerator, save_generator

SEXES, STAGES, KIN = ("F", "M"), ("I", "II", "III", "IV"), ("husband", "wife", "none, or unknown")
BORN = (-14610.0, 7304.0)
"""1930-01-01 to 1989-12-31, in days since 1970."""


def category(name: str, values: tuple[str, ...], *, ordered: bool = False, optional: bool = False) -> Category:
    return Category("category", name, values, tuple(() for _ in values), ordered=ordered, optional=optional)


COLUMNS: tuple[Column, ...] = (
    Number("number", "age", 20, 90, 1.0, unit="years"),
    category("sex", SEXES),
    category("kin", KIN),
    category("stage", STAGES, ordered=True, optional=True),
    Number("number", "chol", 100, 600, 1.0, edges=(200.0, 240.0), optional=True),
    Number("number", "oldpeak", -2.6, 6.2, 0.1, edges=(-0.5, 1.0, 2.0)),
    Number("number", "bmi", 12, 60),
    Number("number", "born", *BORN, 1.0, date=True),
    Number("number", "platelets", 0, 1_000_000, 1.0, edges=(5.0, 250_000.0), optional=True),
)
IMPOSSIBLE = ((("sex", "F"), ("kin", "husband")), (("sex", "M"), ("kin", "wife")))


CODES = CodeSet("codes", "dx", ("E11", "I10", 'a "b"', "J45, old", "250.00"), 3)
DRUGS = CodeSet("codes", "drugs", ("A10BA", "C09AA"), 2, separator=" ")


def schema(*columns: Column, impossible: bool = True, code_sets: tuple[CodeSet, ...] = ()) -> TableSchema:
    known = columns or COLUMNS
    classes, spellings = ("healthy", "ill, or worse"), (("0",), ("1",))
    combinations = IMPOSSIBLE if impossible and not columns else ()
    label = {"label": "num", "label_spellings": spellings}
    return TableSchema(classes, known, impossible=combinations, code_sets=code_sets, **label)


def mixture(
    of: TableSchema,
    components: int = 16,
    *,
    seed: int = 0,
    spread: float = 1.5,
    bins: int = MOST_BINS,
    tree: bool = True,
) -> MixtureOfProducts:
    """A mixture of random products."""
    rng = torch.Generator().manual_seed(seed)
    made = MixtureOfProducts(of, components, bins, tree=tree)
    made.chances.copy_(torch.softmax(torch.randn(components, generator=rng), 0))
    made.classes.copy_(torch.softmax(spread * torch.randn(made.classes.shape, generator=rng), 1))
    for block in of.blocks:
        logits = spread * torch.randn(components, block.stop - block.start, generator=rng)
        made.cells[:, block] = torch.softmax(logits, 1)
    if made.codes is not None:
        made.codes.copy_(torch.sigmoid(spread * torch.randn(made.codes.shape, generator=rng) - 1))
    return made.eval()


def released(of: TableSchema | None = None, **settings: int) -> ReleasedGenerator:
    known = of or schema()
    return ReleasedGenerator(mixture(known, **settings), known, ("seeded",), "ab12")


def finished(study: Study, run_dir: Path, of: TableSchema | None = None) -> Path:
    """A run folder with a mixture."""
    known = of or schema()
    scenario = study.scenario.model_copy(update={"model": Mixture(components=16)})
    weights = under("generator", dict(mixture(known).state_dict()))
    save_generator(Study(scenario, known, study.plan, study.sites), weights, run_dir / GENERATOR_FILE)
    return run_dir


def columns_of(records: Stored) -> dict[str, NDArray[np.float64]]:
    return {name: values.numpy() for name, values in records.items()}
