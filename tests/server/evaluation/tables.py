"""Made-up rows of a small table: real ones, and others that are like them or not."""

import math
from dataclasses import replace

import torch
from torch import Tensor

from silogan.common.config.scenario import Evaluation
from silogan.common.modality import Stored
from silogan.common.modality.code_set import CodeSet
from silogan.common.modality.table import Category, Number, TableSchema
from silogan.server.evaluation import Comparison, Labelled

SCHEMA = TableSchema(
    ("well", "ill"),
    (
        Number("number", "age", 20, 90, 1.0, edges=(40.0, 60.0)),
        Category("category", "sex", ("F", "M"), ((), ())),
        Category("category", "kin", ("husband", "wife", "none"), ((), (), ())),
        Number("number", "dose", 0, 10, optional=True),
    ),
    label="state",
    label_spellings=(("0",), ("1",)),
    sensitive=("sex",),
    impossible=((("sex", "F"), ("kin", "husband")),),
)


def rows(count: int, seed: int) -> tuple[Stored, Tensor]:
    """The ill are older and have a larger dose, a fifth of which is missing; no woman is a husband."""
    rng = torch.Generator().manual_seed(seed)
    labels = torch.randint(2, (count,), generator=rng)
    sex, kin = torch.randint(2, (count,), generator=rng), torch.randint(3, (count,), generator=rng)
    kin[(sex == 0) & (kin == 0)] = 2
    age = (45 + 15 * labels + 12 * torch.randn(count, generator=rng)).round().clamp(20, 90)
    dose = (3 + 3 * labels + 1.5 * torch.randn(count, generator=rng)).clamp(0, 10).double()
    dose[torch.rand(count, generator=rng) < 0.2] = math.nan
    return {"age": age.double(), "sex": sex.double(), "kin": kin.double(), "dose": dose}, labels


CODED = replace(SCHEMA, code_sets=(CodeSet("codes", "dx", tuple("abcdefgh"), 8),))


def coded(count: int, seed: int, *, chained: bool = True) -> tuple[Stored, Tensor]:
    """The same with codes: each often follows the one before it, or none does; the first is frequent among the ill."""
    stored, labels = rows(count, seed)
    rng = torch.Generator().manual_seed(100 + seed)
    codes = torch.rand(count, 8, generator=rng) < torch.linspace(0.1, 0.3, 8)
    codes[:, 0] |= (labels == 1) & (torch.rand(count, generator=rng) < 0.5)
    for code in range(1, 8) if chained else ():
        follows = torch.rand(count, generator=rng) < 0.15 * (code % 4)
        codes[:, code] = torch.where(follows, codes[:, code - 1], codes[:, code])
    return {**stored, "dx": codes}, labels


def coded_comparison(synthetic: Stored, labels: Tensor, **settings: bool) -> Comparison:
    train, test = (Labelled(*coded(4000, seed)) for seed in (1, 2))
    how = Evaluation(**settings), 0, torch.device("cpu")
    return Comparison(synthetic, labels, train, test, CODED, *how)


def shuffled(stored: Stored, seed: int) -> Stored:
    """The same columns, none of which has to do with another any more."""
    rng = torch.Generator().manual_seed(seed)
    return {name: column[torch.randperm(len(column), generator=rng)] for name, column in stored.items()}


def comparison(synthetic: Stored | None, labels: Tensor | None, *, count: int = 1200, **settings: bool) -> Comparison:
    train, test = (Labelled(*rows(count, seed)) for seed in (1, 2))
    held = train._replace(sites=torch.arange(count) % 3)
    how = Evaluation(**settings), 0, torch.device("cpu")
    return Comparison(synthetic, labels, held, test, SCHEMA, *how, site_names=("bergen", "oslo", "lund"))


def age_alone(batch: Tensor) -> Tensor:
    """Logits of encoded rows by the cell of their age, the older the likelier ill."""
    older = batch[:, SCHEMA.blocks[0]] @ torch.tensor([0.0, 1.0, 2.0])
    return torch.stack((-older, older), dim=1)
