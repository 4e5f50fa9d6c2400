"""A mixture of products from noisy counts, for `common/models/networks/mixture.py`.

With the chance π_k of component k, and of group i of a column in it θ_ki, of n rows it expects

    n Σ_k π_k θ_ki   in a group, and   n Σ_k π_k θ_ki θ_kj   in a pair of groups of two columns,

where the class is a column as well; in one class they are those of the components times its θ_kc. In a component each
code is there or not by a chance of its own, and is expected like a group. All of them are moved by Adam (Kingma and Ba,
2015) towards the noisy counts, in units of their noise, from where all columns are independent.

Where rows are to say which hospital they resemble, the hospital is one more column. Its pairs with the others are
counted already: they are the counts of single columns of each hospital, with the noise of that hospital alone. They
take the place of those of all hospitals together, of hospital h those of the components times its θ_kh.

Going on for too long learns the noise. The noise is known, so the counts can be split into two that are independent of
each other: with fresh noise ξ of the same size, y + aξ and y - ξ/a (thinning; A. Neufeld et al., 2024). A first fit to
the one tells by the other after how many steps it is best, and the fit to all of y takes as many.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from silogan.common.modality.table import Category, Number, TableSchema
from silogan.common.models.weights import Weights, under
from silogan.common.privacy.statistics.pairs import Tables
from silogan.common.privacy.statistics.singles import Counts
from silogan.common.progress import begin_part, track

_RATE, _SPREAD = 0.1, 0.3  # Adam's, and how far components start from each other
_SPLIT = 0.5  # a of the thinning
_LOOK_EVERY, _PATIENCE = 10, 150  # steps
_LEAST = 1e-3  # share of rows in a group at the start
LEAST_NOISE = 1e-6
"""Of counts or of shares of all rows, where there is no privacy."""


@dataclass(frozen=True)
class Found:
    """What a mixture is fitted to.

    Attributes:
        tables: counts of groups and of pairs of them.
        by_class: whether the tables' slots are the classes; else there is one, and the class is their last column.
        groups: int64[cells], the group of each cell, counted over all columns.
        singles: counts of cells; None if they were not released.
    """

    tables: Tables
    by_class: bool
    groups: Tensor
    singles: Counts | None


@dataclass(frozen=True)
class _Shares:
    """The noisy counts as shares of all rows.

    Attributes:
        singles: float32[hospitals and slots, groups and codes], the slots of one hospital after those of another.
        pairs: float32[slots, known pairs].
        singles_noise: the standard deviation of the noise in `singles`, as they are; `pairs_noise` that in `pairs`.
        classes: float32[classes].
        hospitals: float32[hospitals]; one that has all rows where they are not told apart.
        known: bool[groups and codes, groups and codes], the pairs that were counted, each once.
    """

    singles: Tensor
    pairs: Tensor
    singles_noise: Tensor
    pairs_noise: float
    classes: Tensor
    hospitals: Tensor
    known: Tensor


def mixture_weights(
    schema: TableSchema,
    found: Found,
    components: int,
    steps: int,
    rng: torch.Generator,
    hospitals: Sequence[Found | None] = (),
) -> Weights:
    """What the generator holds after the fit.

    Args:
        schema: of the rows.
        found: the release.
        components: K.
        steps: most steps of the fit.
        rng: of start and thinning.
        hospitals: the release of each hospital by itself, where rows say which one they resemble, in a last column;
            None of one that did not answer, which no row resembles.
    """
    answered = [one for one in hospitals if one is not None]
    shares = _shares(schema, found, answered)
    fit, rest = _thinned(shares, torch.Generator().manual_seed(rng.initial_seed()))
    mixture = _Mixture(schema, found, shares, components, rng)
    begin_part("how many steps")
    best = _fit(copy.deepcopy(mixture), fit, steps, rest)
    begin_part("mixture")
    _fit(mixture, shares, best)
    with torch.no_grad():
        chances, groups, of_hospital = mixture.probabilities()
    cells = groups[:, found.groups] * shares_within(schema, found)
    if hospitals:
        every = cells.new_zeros(components, len(hospitals))
        every[:, [place for place, one in enumerate(hospitals) if one is not None]] = of_hospital
        cells = torch.cat((cells, every), dim=1)
    made = {"chances": chances, "classes": groups[:, mixture.classes].contiguous(), "cells": cells}
    if schema.code_sets:
        made["codes"] = groups[:, mixture.classes.stop :].contiguous()
    return under("generator", made)


def _fit(mixture: "_Mixture", shares: _Shares, steps: int, rest: _Shares | None = None) -> int:
    """Moves a mixture towards counts; returns after how many steps it was nearest to the rest of them, if any."""
    optimizer = torch.optim.Adam(mixture.parameters, lr=_RATE)
    best, least = 0, float("inf")
    for step in track(range(steps)):
        if rest is not None and step % _LOOK_EVERY == 0:
            with torch.no_grad():
                off = float(mixture.off(rest))
            best, least = (step, off) if off < least else (best, least)
            if step - best > _PATIENCE:
                break
        optimizer.zero_grad()
        mixture.off(shares).backward()  # pyright: ignore[reportUnknownMemberType]
        optimizer.step()
    return best


def _thinned(shares: _Shares, rng: torch.Generator) -> tuple[_Shares, _Shares]:
    """Two independent sets of counts, the first of nearly as much noise as `shares`."""
    singles = torch.randn(shares.singles.shape, generator=rng) * shares.singles_noise
    pairs = torch.randn(shares.pairs.shape, generator=rng) * shares.pairs_noise
    first = replace(shares, singles=shares.singles + _SPLIT * singles, pairs=shares.pairs + _SPLIT * pairs)
    return first, replace(shares, singles=shares.singles - singles / _SPLIT, pairs=shares.pairs - pairs / _SPLIT)


class _Mixture:
    """The numbers that are fitted, and what they expect.

    Attributes:
        parameters: logits float32[K] of the components' chances, and float32[K, groups, classes and codes] and
            float32[K, hospitals] within them.
        classes: where the classes are, between the groups of the columns and the codes.
    """

    def __init__(
        self, schema: TableSchema, found: Found, shares: _Shares, components: int, rng: torch.Generator
    ) -> None:
        blocks = found.tables.blocks[: len(schema.columns)]
        columns = blocks[-1].stop
        self.classes, self._by_class = slice(columns, columns + schema.num_classes), found.by_class
        self._blocks = [*blocks, self.classes]
        everybody = shares.singles.sum(dim=0)
        groups = torch.cat((everybody[:columns], shares.classes)).clamp(min=_LEAST).log()
        codes = everybody[found.tables.blocks[-1].stop :].clamp(_LEAST, 1 - _LEAST).logit()
        start = torch.cat((groups, codes))
        logits = start + _SPREAD * torch.randn(components, len(start), generator=rng)
        hospitals = shares.hospitals.clamp(min=_LEAST).log()
        hospitals = hospitals + _SPREAD * torch.randn(components, len(hospitals), generator=rng)
        self.parameters = [torch.zeros(components), logits, hospitals]
        for parameter in self.parameters:
            parameter.requires_grad_()

    def probabilities(self) -> tuple[Tensor, Tensor, Tensor]:
        """π float32[K], θ float32[K, groups, classes and codes] and float32[K, hospitals]."""
        chances, logits, hospitals = self.parameters
        within = [logits[:, block].softmax(dim=1) for block in self._blocks]
        within.append(logits[:, self.classes.stop :].sigmoid())
        return chances.softmax(dim=0), torch.cat(within, dim=1), hospitals.softmax(dim=1)

    def off(self, shares: _Shares) -> Tensor:
        """χ² per cell, float32[]."""
        chances, groups, hospitals = self.probabilities()
        weights = chances.unsqueeze(1)
        if self._by_class:
            columns, classes, codes = groups.tensor_split((self.classes.start, self.classes.stop), dim=1)
            weights = weights * classes
            groups = torch.cat((columns, codes), dim=1) if codes.shape[1] else columns  # a copy rounds otherwise
        # one by one: in a single product the number of threads would decide how it is rounded
        singles = torch.cat([(weights * of.unsqueeze(1)).T @ groups for of in hospitals.T])
        pairs = torch.stack([(groups.T @ (weight.unsqueeze(1) * groups))[shares.known] for weight in weights.T])
        one = ((singles - shares.singles) / shares.singles_noise).square().sum()
        two = ((pairs - shares.pairs) / shares.pairs_noise).square().sum()
        return (one + two) / (singles.numel() + pairs.numel())


def _shares(schema: TableSchema, found: Found, hospitals: Sequence[Found]) -> _Shares:
    tables, (singles, _) = found.tables, singles_of(schema, found)
    sums = _rows_by_column(singles, tables)
    rows = max(1.0, float(sums.sum(dim=1).mean()))
    of_class = sums.mean(dim=0) if found.by_class else singles[0, tables.blocks[-1]]
    told = [singles_of(schema, one) for one in hospitals or [found]]
    noise = torch.cat([variance.expand_as(counts) for counts, variance in told])
    sizes = [float(_rows_by_column(counts, tables).sum(dim=1).mean()) for counts, _ in told]
    return _Shares(
        singles=(torch.cat([counts for counts, _ in told]) / rows).float(),
        pairs=(tables.pairs[:, tables.known] / rows).float(),
        singles_noise=(noise.sqrt() / rows).float().clamp(min=LEAST_NOISE),
        pairs_noise=max(tables.pairs_noise / rows, LEAST_NOISE),
        classes=(of_class / rows).float(),
        hospitals=torch.tensor(sizes) / rows,
        known=tables.known,
    )


def _rows_by_column(singles: Tensor, tables: Tables) -> Tensor:
    """Rows float64[columns, slots] of each slot, as each column says."""
    return torch.stack([singles[:, block].sum(dim=1) for block in tables.blocks])


def singles_of(schema: TableSchema, found: Found) -> tuple[Tensor, Tensor]:
    """Counts float64[slots, groups and codes] and the variance of their noise, from all that was released.

    Two measurements of the same count are weighted by what is known of each.
    """
    counts = found.tables.singles
    variance = counts.new_full((counts.shape[1],), max(found.tables.singles_noise**2, LEAST_NOISE))
    if found.singles is None:
        return counts, variance
    first, first_variance = counts_of_groups(found, found.singles)
    if not found.by_class:
        first, first_variance = first.sum(dim=0, keepdim=True), first_variance * schema.num_classes
    counted = first_variance > 0  # the class as a column was not
    weight = torch.where(counted, variance / (variance + first_variance), 0)
    return counts + weight * (first - counts), variance * (1 - weight)


def counts_of_groups(found: Found, singles: Counts) -> tuple[Tensor, Tensor]:
    """Counts float64[classes, groups and codes] by those of cells and codes, and the variance of their noise.

    The variance float64[groups and codes] is 0 where nothing was counted.
    """
    every, codes = found.tables.singles.shape[1], singles.counts.shape[1] - len(found.groups)
    places = torch.cat((found.groups, torch.arange(every - codes, every)))
    counts = singles.counts.new_zeros(len(singles.counts), every).index_add_(1, places, singles.counts)
    return counts, torch.bincount(places, minlength=every) * max(singles.noise**2, LEAST_NOISE)


def shares_within(schema: TableSchema, found: Found) -> Tensor:
    """Share float32[cells] of each cell in its group, alike in all components.

    As the counts of cells say, drawn to even parts by as much as noise explains (James and Stein, 1961); even parts
    where they were not released.
    """
    widths = torch.cat([_widths(column) for column in schema.columns])
    total = torch.zeros(int(found.groups.max()) + 1, dtype=torch.float64).index_add_(0, found.groups, widths)
    even = widths / total[found.groups]
    if found.singles is None:
        return even.float()
    counts = found.singles.counts.sum(dim=0)[: schema.cells]
    noise = found.singles.noise**2 * len(found.singles.counts)
    sums = torch.zeros_like(total).index_add_(0, found.groups, counts)
    apart = counts - even * sums[found.groups]
    squares = torch.zeros_like(total).index_add_(0, found.groups, apart.square())
    cells_in = torch.bincount(found.groups).double()
    kept = (1 - (cells_in - 1).clamp(min=0) * noise / squares.clamp(min=1e-30)).clamp(0, 1)
    drawn = (even * sums[found.groups] + kept[found.groups] * apart).clamp(min=0) + 1e-12 * even
    sums = torch.zeros_like(total).index_add_(0, found.groups, drawn)
    return (drawn / sums[found.groups]).float()


def _widths(column: Category | Number) -> Tensor:
    """Of each cell of a column, float64, the one of missing values included."""
    if isinstance(column, Number):
        ends = torch.tensor(column.ends, dtype=torch.float64)
        widths = ends[1:] - ends[:-1]
    else:
        widths = torch.ones(column.known_cells, dtype=torch.float64)
    return torch.cat((widths, torch.ones(1, dtype=torch.float64))) if column.optional else widths
