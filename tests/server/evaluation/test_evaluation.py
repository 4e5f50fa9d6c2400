import json

import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor

from silogan.common.config.scenario import Evaluation
from silogan.common.errors import DataError
from silogan.common.modality.image import PIXELS, ImageSchema
from silogan.server.evaluation import Comparison, evaluation
from silogan.server.evaluation import Labelled as Real
from silogan.server.evaluation.evaluation import EvaluationResult, evaluate

SETTINGS = Evaluation(epochs=6)
Labelled = tuple[Tensor, Tensor]


def splits(classes: int = 10) -> tuple[Labelled, Labelled, Labelled]:
    """Three disjoint parts of the digits below `classes`: stand-in synthetic, real training, real test."""
    data = load_digits()
    images = torch.from_numpy((data.images * 255 / 16).round()).to(torch.uint8)[:, None]
    labels = torch.from_numpy(data.target).to(torch.int64)
    kept = torch.nonzero(labels < classes).flatten()
    order = kept[torch.randperm(len(kept), generator=torch.Generator().manual_seed(0))]
    third = len(order) // 3
    first, second, last = ((images[part], labels[part]) for part in order[: 3 * third].split(third))
    return first, second, last


def measured(
    synthetic: Tensor, labels: Tensor | None, train: Labelled, test: Labelled, **changes: object
) -> EvaluationResult:
    arguments = {"num_classes": 10, "settings": SETTINGS, "seed": 0} | changes
    schema = ImageSchema(8, 1, tuple("0123456789"[: arguments.pop("num_classes")]))  # pyright: ignore[reportArgumentType]
    real = (Real({PIXELS: images}, of) for images, of in (train, test))
    asked = {"schema": schema, "device": torch.device("cpu"), **arguments}
    return evaluate(Comparison({PIXELS: synthetic}, labels, *real, **asked))  # pyright: ignore[reportArgumentType]


def test_real_images_pass_for_synthetic_ones() -> None:
    (synthetic, labels), train, test = splits()
    result = measured(synthetic, labels, train, test)
    assert isinstance(result.utility["accuracy_synthetic"], float)
    assert result.utility["accuracy_synthetic"] > 0.9
    assert isinstance(result.utility["accuracy_real"], float)
    assert result.utility["accuracy_real"] > 0.9
    assert isinstance(result.utility["per_class_recall_synthetic"], list)
    assert len(result.utility["per_class_recall_synthetic"]) == 10
    assert result.fidelity is not None
    assert result.fidelity_reason is None
    assert result.fidelity.precision > 0.6
    assert result.fidelity.coverage > 0.8
    assert result.fidelity.samples == len(synthetic)
    assert (
        result.fidelity.features == "penultimate layer (64 units) of the classifier trained on the real training split"
    )


def test_a_class_that_is_never_drawn_is_seen_by_its_coverage() -> None:
    (synthetic, labels), train, test = splits()
    fidelity = measured(synthetic[labels != 3], labels[labels != 3], train, test).fidelity
    assert fidelity is not None
    assert fidelity.coverage > 0.7  # the whole hides it
    found = [share for share in fidelity.coverage_by_class if share is not None]
    assert found.index(min(found)) == 3
    assert found[3] < 0.6
    assert fidelity.coverage_by_class_real is not None
    assert min(share or 0 for share in fidelity.coverage_by_class_real) > 0.6


def test_fewer_training_images_than_are_compared_are_no_reference() -> None:
    (synthetic, _), (images, labels), test = splits()
    fidelity = measured(synthetic, None, (images[:300], labels[:300]), test).fidelity
    assert fidelity is not None
    assert fidelity.coverage_by_class_real is None
    assert len(fidelity.coverage_by_class) == 10


def test_noise_is_told_from_real_images() -> None:
    (synthetic, _), train, test = splits()
    noise = torch.randint(0, 256, synthetic.shape, generator=torch.Generator().manual_seed(1)).to(torch.uint8)
    good, bad = measured(synthetic, None, train, test).fidelity, measured(noise, None, train, test).fidelity
    assert good is not None
    assert bad is not None
    assert bad.precision < good.precision
    assert bad.coverage < 0.5 * good.coverage
    assert bad.frechet_distance > 5 * good.frechet_distance


def test_wrong_labels_cost_utility_but_not_fidelity() -> None:
    (synthetic, labels), train, test = splits()
    right = measured(synthetic, labels, train, test)
    wrong = measured(synthetic, (labels + 1) % 10, train, test)
    assert isinstance(wrong.utility["accuracy_synthetic"], float)
    assert wrong.utility["accuracy_synthetic"] < 0.1
    assert wrong.utility["accuracy_real"] == right.utility["accuracy_real"]
    assert wrong.fidelity == right.fidelity


def test_the_real_classifier_learns_from_the_training_split_alone() -> None:
    _, (images, labels), test = splits()
    result = measured(images, labels, (images, (labels + 1) % 10), test)
    assert isinstance(result.utility["accuracy_real"], float)
    assert result.utility["accuracy_real"] < 0.1
    assert isinstance(result.utility["accuracy_synthetic"], float)
    assert result.utility["accuracy_synthetic"] > 0.9


def test_a_collapsed_generator_is_precise_and_recalls_nothing() -> None:
    _, train, test = splits()
    fidelity = measured(test[0][:1].expand_as(test[0]), None, train, test).fidelity
    assert fidelity is not None
    assert fidelity.precision == 1.0
    assert fidelity.recall < 0.02
    assert fidelity.coverage < 0.1


def test_two_classes_are_also_scored_by_rank() -> None:
    (synthetic, labels), train, test = splits(classes=2)
    utility = measured(synthetic, labels, train, test, num_classes=2).utility
    assert set(utility) == {
        "accuracy_synthetic",
        "accuracy_real",
        "per_class_recall_synthetic",
        "balanced_accuracy_synthetic",
        "balanced_accuracy_real",
        "auroc_synthetic",
        "auroc_real",
    }
    assert isinstance(utility["auroc_synthetic"], float)
    assert utility["auroc_synthetic"] > 0.95
    assert isinstance(utility["auroc_real"], float)
    assert utility["auroc_real"] > 0.95


def test_images_without_labels_have_fidelity_and_no_utility_of_their_own() -> None:
    (synthetic, _), train, test = splits()
    result = measured(synthetic, None, train, test)
    assert result.utility["accuracy_synthetic"] is None
    assert result.utility["per_class_recall_synthetic"] is None
    assert result.utility["accuracy_real"] is not None
    assert result.fidelity is not None


def test_without_a_real_classifier_fidelity_is_absent_and_says_why() -> None:
    (synthetic, labels), train, test = splits()
    settings = Evaluation(epochs=2, real_ceiling=False)
    result = measured(synthetic, labels, train, test, settings=settings)
    assert result.utility["accuracy_synthetic"] is not None
    assert result.utility["accuracy_real"] is None
    assert result.fidelity is None
    assert result.fidelity_reason is not None
    assert "evaluation.real_ceiling" in result.fidelity_reason


def test_too_few_images_for_neighbourhoods_says_why() -> None:
    (synthetic, labels), train, test = splits()
    result = measured(synthetic[:5], labels[:5], train, test)
    assert result.utility["accuracy_synthetic"] is not None
    assert result.fidelity is None
    assert result.fidelity_reason == "it needs at least 6 synthetic and 6 real test images"


def test_as_many_images_of_each_kind_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    (synthetic, _), train, test = splits()
    fewer_synthetic = measured(synthetic[:50], None, train, test).fidelity
    assert fewer_synthetic is not None
    assert fewer_synthetic.samples == 50
    monkeypatch.setattr(evaluation, "MOST_COMPARED", 30)
    capped = measured(synthetic, None, train, test).fidelity
    assert capped is not None
    assert capped.samples == 30


def test_the_result_is_deterministic_and_plain_json() -> None:
    (synthetic, labels), train, test = splits()
    first = measured(synthetic, labels, train, test)
    torch.manual_seed(99)
    global_state = torch.get_rng_state()
    assert measured(synthetic, labels, train, test) == first
    assert torch.equal(torch.get_rng_state(), global_state)
    assert measured(synthetic, labels, train, test, seed=1) != first
    plain = first.to_json()
    assert json.loads(json.dumps(plain, allow_nan=False)) == plain
    assert set(plain) == {"utility", "fidelity", "fidelity_reason"}
    assert set(plain["fidelity"]) == {
        "precision",
        "recall",
        "density",
        "coverage",
        "frechet_distance",
        "features",
        "samples",
        "reference",
        "coverage_by_class",
        "coverage_by_class_real",
    }


def test_real_test_images_choose_nothing() -> None:
    """The classifier's predictions on an image do not depend on which other real test images there are."""
    (synthetic, labels), train, (test, test_labels) = splits()
    settings = Evaluation(epochs=3, real_ceiling=False)

    def accuracy(part: slice) -> float:
        result = measured(synthetic, labels, train, (test[part], test_labels[part]), settings=settings)
        value = result.utility["accuracy_synthetic"]
        assert isinstance(value, float)
        return value

    assert accuracy(slice(0, 400)) == pytest.approx((accuracy(slice(0, 200)) + accuracy(slice(200, 400))) / 2)


def test_what_does_not_match_is_refused_in_one_line() -> None:
    (synthetic, labels), train, test = splits()
    larger = torch.zeros(4, 1, 16, 16, dtype=torch.uint8)
    colour = torch.zeros(4, 3, 8, 8, dtype=torch.uint8)
    four = torch.zeros(4, dtype=torch.int64)
    cases: list[tuple[tuple[Tensor, Tensor | None, Labelled, Labelled], str]] = [
        ((larger, four, train, test), "real training images: are 8x8 pixels with 1 channel, where"),
        ((synthetic, labels, train, (colour, four)), "real test images: are 8x8 pixels with 3 channels, where"),
        ((synthetic[:0], labels[:0], train, test), "synthetic images: are empty"),
        ((synthetic, labels, (train[0][:0], train[1][:0]), test), "real training images: are empty"),
        ((synthetic, labels, train, (test[0][:0], test[1][:0])), "real test images: are empty"),
        ((synthetic.float(), labels, train, test), "synthetic images: are float32"),
        ((synthetic, labels + 1, train, test), "labels of the synthetic images: are not all from 0 to 9"),
        ((synthetic, labels, (train[0], train[1] + 1), test), "labels of the real training images: are not all"),
        ((synthetic, labels, train, (test[0], test[1][1:])), "labels of the real test images: are not int64"),
    ]
    for arguments, says in cases:
        with pytest.raises(DataError) as caught:
            measured(*arguments)
        message = str(caught.value)
        assert says in message
        assert "\n" not in message
        # No count of real images may leave in an error.
        assert str(len(train[0])) not in message
