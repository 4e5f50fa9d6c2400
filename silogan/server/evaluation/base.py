"""The evaluator of one kind of record."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from silogan.common.config.scenario import Evaluation
from silogan.common.modality import Schema, Stored
from silogan.common.models.networks import Classify
from silogan.common.models.networks.detail import Detail


class Labelled(NamedTuple):
    """Real records and their labels int64[N].

    Attributes:
        sites: int64[N], the hospital that holds each record, as a position in `Comparison.site_names`; None where that
            is not known, which is so everywhere but in a simulation.
    """

    records: Stored
    labels: Tensor
    sites: Tensor | None = None


class Comparison(NamedTuple):
    """Synthetic records, and the real ones that they are measured against.

    Attributes:
        synthetic: as they were drawn; None where the release draws none.
        labels: theirs, int64[N]; None if the generator is unconditional, or draws none.
        train: what the generator was trained on.
        test: what every number is measured on.
        schema: of all of them.
        settings: the scenario's.
        seed: of whatever is drawn.
        device: where to compute.
        classify: logits of encoded records by a classifier that was released with the records; None if none was.
        site_names: of the hospitals whose records `train` tells apart.
        baselines: simpler classifiers that were released as well, by name.
        detail: the public images from which synthetic ones have their fine detail; None if they have it from none.
    """

    synthetic: Stored | None
    labels: Tensor | None
    train: Labelled
    test: Labelled
    schema: Schema
    settings: Evaluation
    seed: int
    device: torch.device
    classify: Classify | None = None
    site_names: tuple[str, ...] = ()
    baselines: Mapping[str, Classify] = {}
    detail: Detail | None = None


# `utility`, `fidelity` and `fidelity_reason` of `report.json`, and what the kind adds to them; the same comparison
# gives the same result on a CPU. It raises a DataError where records or labels are missing, malformed or do not match
# each other.
Evaluate = Callable[[Comparison], dict[str, Any]]
