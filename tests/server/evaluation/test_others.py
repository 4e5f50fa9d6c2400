"""Classifiers of other kinds learn what there is to learn, and guess where there is nothing."""

import pytest
import torch

from silogan.common.config.scenario import Evaluation
from silogan.common.errors import DataError
from silogan.server.evaluation.others import MAKERS, scores_by
from tests.server.evaluation.test_evaluation import measured, splits


@pytest.mark.parametrize("name", MAKERS)
def test_each_learns_from_images_and_not_from_noise(name: str) -> None:
    (images, labels), _, test = splits()
    found = scores_by(name, images, labels, test, classes=10, seed=0)
    assert found.accuracy > 0.85
    assert found == scores_by(name, images, labels, test, classes=10, seed=0)
    noise = torch.randint(256, images.shape, generator=torch.Generator().manual_seed(1)).byte()
    assert scores_by(name, noise, labels, test, classes=10, seed=0).accuracy < 0.4


@pytest.mark.parametrize("name", MAKERS)
def test_a_class_that_nobody_showed_is_never_named(name: str) -> None:
    (images, labels), _, test = splits()
    seen = labels != 3
    found = scores_by(name, images[seen], labels[seen], test, classes=10, seed=0)
    assert found.recall[3] == 0
    assert found.accuracy > 0.7


def test_two_classes_have_an_auroc_by_each() -> None:
    (images, labels), train, test = splits(2)
    asked = Evaluation(epochs=1, others=True)
    found = measured(images, labels, train, test, num_classes=2, settings=asked).utility["others"]
    assert found.keys() == MAKERS.keys()
    assert all(one[f"auroc_{of}"] > 0.95 for one in found.values() for of in ("synthetic", "real"))


@pytest.mark.parametrize("name", MAKERS)
def test_images_of_one_class_are_said_to_teach_nothing(name: str) -> None:
    (images, labels), _, test = splits()
    with pytest.raises(DataError, match=r"have one class to learn from; set evaluation\.others to false"):
        scores_by(name, images, labels * 0, test, classes=10, seed=0)
