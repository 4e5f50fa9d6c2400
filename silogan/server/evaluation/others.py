"""Classifiers of other kinds than the network: what one of them learns from synthetic images may be its own weakness.

Both see an image's lowest frequencies. Logistic regression draws flat borders between classes, boosted trees crooked
ones (Friedman, 2001).
"""

from collections.abc import Callable
from typing import Any

import torch
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from silogan.common.errors import DataError
from silogan.common.modality.image import to_unit_range
from silogan.common.modality.image_features import Spectrum
from silogan.server.evaluation.classifier import Scores, scores_of

MOST_TAUGHT = 5000
"""Images, at most, that each of them learns from: drawn at random."""

_FREQUENCIES = 16
_STRENGTH = 0.1  # of the fit over its regularisation
_LEAST = 1e-300  # chance that is told from none: its logarithm stays finite

MAKERS: dict[str, Callable[[int], Any]] = {
    "logistic": lambda seed: make_pipeline(
        StandardScaler(), LogisticRegression(C=_STRENGTH, max_iter=500, random_state=seed)
    ),
    "boosting": lambda seed: HistGradientBoostingClassifier(max_iter=50, random_state=seed),
}
"""A fresh classifier of each kind."""


def scores_by(
    name: str, images: Tensor, labels: Tensor, test: tuple[Tensor, Tensor], *, classes: int, seed: int
) -> Scores:
    """Scores on a test set of a classifier of another kind.

    Args:
        name: one of `MAKERS`.
        images: uint8[N, C, S, S] that it learns from, of at least two classes.
        labels: theirs, int64[N].
        test: images uint8[M, C, S, S] and labels int64[M].
        classes: how many there are.
        seed: of the images that are drawn, and of the classifier.

    Raises:
        DataError: the images that it learns from are all of one class.
    """
    if len(labels.unique()) < 2:
        raise DataError("classifiers of other kinds", "have one class to learn from", "set evaluation.others to false")
    return scores_of(chances_by(name, images, labels, test[0], classes=classes, seed=seed), test[1])


def chances_by(name: str, images: Tensor, labels: Tensor, test: Tensor, *, classes: int, seed: int) -> Tensor:
    """Logarithms float64[M, classes] of the chances of test images uint8[M, C, S, S], -∞ of a class not taught."""
    drawn = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))[:MOST_TAUGHT]
    shape = tuple(images.shape[1:])
    spectrum = Spectrum(shape, min(_FREQUENCIES, shape[-1]))
    model = MAKERS[name](seed).fit(_seen(spectrum, images[drawn]), labels[drawn].numpy())
    found = torch.full((len(test), classes), -torch.inf, dtype=torch.float64)
    chances = model.predict_proba(_seen(spectrum, test))
    found[:, torch.as_tensor(model.classes_)] = torch.as_tensor(chances).double().clamp(min=_LEAST).log()
    return found


def _seen(spectrum: Spectrum, images: Tensor) -> Any:
    return torch.cat([spectrum.of(to_unit_range(part)) for part in images.split(1000)]).numpy()
