"""Evaluation of synthetic images with rows: the images as without rows, the rows' marginals, and how both depend.

What of the dependence survives is told by classifiers that predict a column of the row from the image. One learns from
synthetic records, one from real ones, and one from synthetic images with the rows of others of their class, which shows
what the class alone would tell. All are tested on real records, where classes are mixed and within them.

All of it looks at real records and adds no noise, so it stands outside the privacy guarantee.
"""

from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from silogan.common.modality import Stored
from silogan.common.modality.image import PIXELS
from silogan.common.modality.joint import JointSchema
from silogan.common.progress import begin_part, track
from silogan.server.evaluation import evaluation
from silogan.server.evaluation.base import Comparison, Labelled
from silogan.server.evaluation.others import chances_by
from silogan.server.evaluation.table_groups import Grouping, by_cell, by_mass, by_width
from silogan.server.evaluation.table_pictures import MOST_CELLS, marginals
from silogan.server.evaluation.table_rows import Floats, Ints, Rows, rows_of
from silogan.server.evaluation.table_scores import auroc

MOST_MEASURED = 12
"""Columns whose dependence is measured, at most: the first ones."""

MOST_GROUPS = 4
"""Into which a number is cut, at most, to be predicted."""

_CLASSIFIER = "logistic"
_LEAST = -1e6  # logarithm of a chance, in the place of -∞


@dataclass(frozen=True)
class _Part:
    """Images uint8[N, C, S, S] with their rows."""

    pixels: Tensor
    rows: Rows

    @property
    def brightness(self) -> Floats:
        """Mean value float64[N] of the pixels, 0 to 255."""
        return self.pixels.flatten(1).double().mean(dim=1).numpy()


def evaluate(asked: Comparison) -> dict[str, Any]:
    """Measures synthetic records against real ones; the same arguments give the same result on a CPU.

    Returns:
        What `silogan.server.evaluation.evaluation.evaluate` says of the images, and `joint`: `marginals` as of tables,
        and of each column in `columns` its total variation `distance` from real test rows with its noise `floor`, its
        `brightness_synthetic` and `brightness_real` (correlation with the image's mean brightness within classes; None
        of values without order), and for each of `synthetic`, `apart` and `real` `auroc_` and `auroc_within_` of
        predicting it from the image. None of a release that draws nothing.

    Raises:
        DataError: records or labels are missing, malformed or do not match each other.
    """
    schema = cast(JointSchema, asked.schema)
    figures = evaluation.evaluate(_images(asked, schema)).to_json()
    if asked.synthetic is None:
        return {**figures, "joint": None}
    synthetic = _part(schema, asked.synthetic, asked.labels, "synthetic records")
    train = _part(schema, asked.train.records, asked.train.labels, "real training records")
    test = _part(schema, asked.test.records, asked.test.labels, "real test records")
    return {**figures, "joint": _joint(schema, synthetic, train, test, asked.seed)}


def _images(asked: Comparison, schema: JointSchema) -> Comparison:
    """The same comparison of images alone."""

    def alone(stored: Stored) -> Stored:
        return {PIXELS: stored[PIXELS]}

    train, test = (Labelled(alone(part.records), part.labels, part.sites) for part in (asked.train, asked.test))
    synthetic = None if asked.synthetic is None else alone(asked.synthetic)
    return asked._replace(synthetic=synthetic, train=train, test=test, schema=schema.image)


def _part(schema: JointSchema, records: Stored, labels: Tensor | None, thing: str) -> _Part:
    return _Part(records[PIXELS], rows_of(schema.row, records, labels, thing))


def _joint(schema: JointSchema, synthetic: _Part, train: _Part, test: _Part, seed: int) -> dict[str, Any]:
    begin_part("rows")
    columns = len(schema.row.columns)
    cells = by_cell(schema.row, train.rows)[:columns]
    samples = min(len(synthetic.rows), len(train.rows))
    distances, floor = (
        np.array([_apart(cell, rows, test.rows) for cell in cells])
        for rows in (synthetic.rows, train.rows.drawn(samples, seed))
    )
    shown = by_width(schema.row, train.rows, MOST_CELLS)[:columns]
    shuffled = _Part(synthetic.pixels, synthetic.rows.at(_shuffled(synthetic.rows.known_labels, seed)))
    taught = {"synthetic": synthetic, "apart": shuffled, "real": train}
    groupings = by_mass(schema.row, train.rows, MOST_GROUPS)[: min(columns, MOST_MEASURED)]
    measured = [
        {
            **{"name": grouping.name, "distance": float(distances[place]), "floor": float(floor[place])},
            **_brightness(grouping, synthetic, test),
            **{key: value for of, part in taught.items() for key, value in _scores(grouping, of, part, test, seed)},
        }
        for place, grouping in enumerate(track(groupings))
    ]
    pictures = marginals(shown, synthetic.rows, test.rows, distances, floor)
    return {"samples": samples, "test": len(test.rows), "columns": measured, "marginals": pictures}


def _apart(cells: Grouping, rows: Rows, test: Rows) -> float:
    """Mean over the classes of the total variation distance of a column's cells: classes may be drawn evenly."""
    found = []
    for label in np.unique(test.known_labels):
        parts = [part.at(np.flatnonzero(part.known_labels == label)) for part in (rows, test)]
        if all(map(len, parts)):
            found.append(float(abs(cells.shares(parts[0]) - cells.shares(parts[1])).sum()) / 2)
    return float(np.mean(found)) if found else 0.0


def _brightness(grouping: Grouping, synthetic: _Part, test: _Part) -> dict[str, float | None]:
    found: dict[str, float | None] = {"brightness_synthetic": None, "brightness_real": None}
    if grouping.ordered or len(grouping.groups) == 2:
        for of, part in (("synthetic", synthetic), ("real", test)):
            found[f"brightness_{of}"] = _correlation(grouping.of(part.rows), part.brightness, part.rows.known_labels)
    return found


def _correlation(first: Ints, second: Floats, labels: Ints) -> float | None:
    """Pearson's correlation in [-1, 1] within classes; None if one of both is constant there."""
    a, b = first.astype(np.float64), second.copy()
    for label in np.unique(labels):
        there = labels == label
        a[there] -= a[there].mean()
        b[there] -= b[there].mean()
    norm = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / norm if norm > 0 else None


def _scores(grouping: Grouping, of: str, taught: _Part, test: _Part, seed: int) -> list[tuple[str, float | None]]:
    """AUROC of predicting a column from the image, among all test records and within their classes."""
    names, known = (f"auroc_{of}", f"auroc_within_{of}"), torch.from_numpy(grouping.of(taught.rows))
    if len(known.unique()) < 2:
        return [(name, None) for name in names]
    classes = len(grouping.groups)
    logs = chances_by(_CLASSIFIER, taught.pixels, known, test.pixels, classes=classes, seed=seed)
    chances, right, labels = logs.clamp(min=_LEAST).numpy(), grouping.of(test.rows), test.rows.known_labels
    of_classes = [labels == label for label in np.unique(labels)]
    found = [(int(there.sum()), auroc(chances[there], right[there])) for there in of_classes]
    weighed = [(count, value) for count, value in found if value is not None]
    within = sum(count * value for count, value in weighed) / sum(count for count, _ in weighed) if weighed else None
    return [(names[0], auroc(chances, right)), (names[1], within)]


def _shuffled(labels: Ints, seed: int) -> Ints:
    """Places int64[N], each of a record of the same class, at random."""
    rng, places = np.random.default_rng(seed), np.arange(len(labels))
    for label in np.unique(labels):
        there = np.flatnonzero(labels == label)
        places[there] = rng.permutation(there)
    return places
