"""Evaluation of synthetic images: a classifier's scores on real images, and fidelity to the real test split.

These measurements look at real images and add no noise, so they stand outside the privacy guarantee: they are for real
images whose owner agrees to that, such as a public benchmark's.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from silogan.common.errors import DataError
from silogan.common.modality import Stored
from silogan.common.modality.image import PIXELS
from silogan.common.models.networks import classified
from silogan.common.progress import begin_part
from silogan.server.evaluation.base import Comparison
from silogan.server.evaluation.classifier import (
    FEATURES,
    Classifier,
    Scores,
    check_images,
    features,
    score,
    scores_of,
    train_classifier,
)
from silogan.server.evaluation.fidelity import (
    NEIGHBOURS,
    Balls,
    Neighbourhoods,
    coverage_by_class,
    frechet_distance,
)
from silogan.server.evaluation.others import MAKERS, scores_by

MOST_COMPARED = 5000
"""Images of each kind, at most, whose features are compared."""

FEATURE_NETWORK = f"penultimate layer ({FEATURES} units) of the classifier trained on the real training split"

_Images = tuple[Tensor, Tensor]
"""Images uint8[N, C, S, S] and their labels int64[N]."""

Utility = dict[str, Any]


@dataclass(frozen=True)
class Fidelity(Neighbourhoods):
    """Fidelity of synthetic to real test images, in the features of one network (`server/evaluation/fidelity.py`).

    Attributes:
        frechet_distance: at least 0; depends on the features and the number of samples, and is not InceptionV3's FID.
        features: the name of the network.
        samples: how many images of each kind were compared; equally many, since the measures depend on the ratio.
        reference: the same measures of as many real training images in the place of the synthetic ones: what a perfect
            generator would show; None where there are too few.
        coverage_by_class: coverage of the real test images of each class; None of a class without any.
        coverage_by_class_real: the same by as many real training images, the reference; None if those are fewer.
    """

    frechet_distance: float
    features: str
    samples: int
    reference: dict[str, float] | None
    coverage_by_class: list[float | None]
    coverage_by_class_real: list[float | None] | None


@dataclass(frozen=True)
class EvaluationResult:
    """The outcome of `evaluate`.

    Attributes:
        utility: scores (0 to 1) on the real test split of the classifier trained on synthetic images
            (`accuracy_synthetic`, `per_class_recall_synthetic`) and of the one trained on the real training split
            (`accuracy_real`); for two classes also `balanced_accuracy_synthetic`, `balanced_accuracy_real`,
            `auroc_synthetic` and `auroc_real`; the same names with `_released` for a classifier that was released with
            the images, if one was, and with `_relabelled` for what learnt from the images under that one's labels; with
            `others` those of classifiers of other kinds, by their names. None: there were
            no synthetic labels, no real classifier was asked for, or the test split lacks the class.
        fidelity: closeness of the images; None if it could not be measured.
        fidelity_reason: why `fidelity` is None; None where it is not.
    """

    utility: Utility
    fidelity: Fidelity | None
    fidelity_reason: str | None

    def to_json(self) -> dict[str, Any]:
        """The same as plain dictionaries, lists, numbers and strings, fit for `json.dumps`."""
        return asdict(self)


def evaluate(asked: Comparison) -> EvaluationResult:
    """Measures synthetic images against real ones; the same arguments give the same result on a CPU.

    Of the settings `epochs` of the classifiers counts, and whether to train the reference (`real_ceiling`), in whose
    features fidelity is measured.

    Raises:
        DataError: images or labels are missing, malformed or do not match each other.
    """
    settings, num_classes = asked.settings, asked.schema.num_classes
    synthetic = None if asked.synthetic is None else asked.synthetic[PIXELS]
    train, test = ((part.records[PIXELS], part.labels) for part in (asked.train, asked.test))
    _check_match(synthetic, asked.labels, train, test, num_classes)
    how = {"num_classes": num_classes, "epochs": settings.epochs, "seed": asked.seed}

    def learnt_from(what: str, images: Tensor, labels: Tensor) -> Classifier:
        begin_part(f"learning from {what}")
        return train_classifier(images, labels, **how, device=asked.device).network

    def by_release(records: Stored) -> Tensor | None:
        return classified(asked.classify, asked.schema, records)

    reference = learnt_from("real images", *train) if settings.real_ceiling else None
    found: dict[str, Scores | None] = {"synthetic": None, "real": score(reference, *test) if reference else None}
    if synthetic is not None and asked.labels is not None:
        found["synthetic"] = score(learnt_from("synthetic ones", synthetic, asked.labels), *test)
    if synthetic is not None and (logits := by_release({PIXELS: synthetic})) is not None:
        found["relabelled"] = score(learnt_from("relabelled ones", synthetic, logits.argmax(dim=1)), *test)
    if (logits := by_release(asked.test.records)) is not None:
        found["released"] = scores_of(logits, test[1])
    utility = _utility(found, num_classes)
    if synthetic is None:
        return EvaluationResult(utility, None, "the release draws no images")
    if settings.others and asked.labels is not None:
        utility["others"] = _others(asked, (synthetic, asked.labels), train, test)

    samples = min(len(synthetic), len(test[0]), MOST_COMPARED)
    if reference is None:
        reason = "it needs the features of a classifier trained on real images: set evaluation.real_ceiling to true"
        return EvaluationResult(utility, None, reason)
    if samples <= NEIGHBOURS:
        reason = f"it needs at least {NEIGHBOURS + 1} synthetic and {NEIGHBOURS + 1} real test images"
        return EvaluationResult(utility, None, reason)
    return EvaluationResult(utility, _fidelity(reference, asked, synthetic, samples), None)


def _check_match(
    synthetic: Tensor | None, labels: Tensor | None, train: _Images, test: _Images, num_classes: int
) -> None:
    if synthetic is not None:
        check_images("synthetic images", synthetic, labels, num_classes)
    for thing, (images, own) in (("real training images", train), ("real test images", test)):
        check_images(thing, images, own, num_classes)
        if synthetic is not None and images.shape[1:] != synthetic.shape[1:]:
            problem = f"are {_form(images)}, where the synthetic images are {_form(synthetic)}"
            raise DataError(thing, problem, "set data.image_size and data.channels as in the run")


def _form(images: Tensor) -> str:
    _, channels, height, width = images.shape
    return f"{height}x{width} pixels with {channels} channel{'s' if channels > 1 else ''}"


def _utility(found: Mapping[str, Scores | None], num_classes: int) -> Utility:
    """The scores of classifiers, under names that end with what each learnt from."""
    utility: Utility = {}
    for of, scores in found.items():
        utility[f"accuracy_{of}"] = scores.accuracy if scores else None
        if num_classes == 2:
            utility[f"balanced_accuracy_{of}"] = scores.balanced_accuracy if scores else None
            utility[f"auroc_{of}"] = scores.auroc if scores else None
    recalls = found["synthetic"]
    return {**utility, "per_class_recall_synthetic": list(recalls.recall) if recalls else None}


def _others(asked: Comparison, synthetic: _Images, train: _Images, test: _Images) -> dict[str, dict[str, Any]]:
    """Of each kind: accuracy, and AUROC where there are two classes, of one that learnt from either."""
    found: dict[str, dict[str, Any]] = {}
    for name in MAKERS:
        found[name] = {}
        for of, taught in (("synthetic", synthetic), ("real", train)):
            begin_part(f"{name}, {of}")
            scores = scores_by(name, *taught, test, classes=asked.schema.num_classes, seed=asked.seed)
            found[name] |= {f"accuracy_{of}": scores.accuracy, f"auroc_{of}": scores.auroc}
    return found


def _fidelity(network: Classifier, asked: Comparison, synthetic: Tensor, samples: int) -> Fidelity:
    begin_part("fidelity")
    generator, num_classes = torch.Generator().manual_seed(asked.seed), asked.schema.num_classes
    train, test = asked.train.records[PIXELS], asked.test.records[PIXELS]

    def some(images: Tensor) -> Tensor:
        return torch.randperm(len(images), generator=generator)[:samples]

    chosen = some(test)
    real, labels = features(network, test[chosen]), asked.test.labels[chosen]
    balls = Balls(real)

    def measured(others: Tensor) -> tuple[dict[str, float], list[float | None]]:
        found, covered = balls.compared(others)
        figures = {**asdict(found), "frechet_distance": frechet_distance(real, others)}
        return figures, coverage_by_class(covered, labels, num_classes)

    found, by_class = measured(features(network, synthetic[some(synthetic)]))
    enough = len(train) >= samples
    reference, by_class_real = measured(features(network, train[some(train)])) if enough else (None, None)
    return Fidelity(
        **found,
        features=FEATURE_NETWORK,
        samples=samples,
        reference=reference,
        coverage_by_class=by_class,
        coverage_by_class_real=by_class_real,
    )
