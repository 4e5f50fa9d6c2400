import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor

from silogan.common.errors import DataError
from silogan.common.modality.image import to_unit_range
from silogan.server.evaluation import classifier
from silogan.server.evaluation.classifier import (
    FEATURES,
    Classifier,
    accuracy,
    check_images,
    features,
    logits,
    score,
    scores_of,
    train_classifier,
)


def digits() -> tuple[Tensor, Tensor]:
    data = load_digits()
    images = torch.from_numpy((data.images * 255 / 16).round()).to(torch.uint8)[:, None]
    labels = torch.from_numpy(data.target).to(torch.int64)
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    return images[order], labels[order]


def network(size: int = 8, channels: int = 1, num_classes: int = 3, seed: int = 0) -> Classifier:
    return Classifier(size, channels, num_classes, generator=torch.Generator().manual_seed(seed)).eval()


@pytest.mark.parametrize("size", [8, 9, 15, 16, 28, 33, 64, 256])
@pytest.mark.parametrize("channels", [1, 3])
def test_any_size_gives_logits_and_features(size: int, channels: int) -> None:
    of_size = network(size, channels)
    x = torch.zeros(2, channels, size, size)
    assert of_size(x).shape == (2, 3)
    assert of_size.features(x).shape == (2, FEATURES)


def test_logits_follow_from_the_features() -> None:
    net = network()
    x = torch.randn(5, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(net(x), net.output(net.features(x)))


def test_bytes_are_scaled_to_minus_one_and_one() -> None:
    net = network()
    images = torch.stack([torch.full((1, 8, 8), 0), torch.full((1, 8, 8), 255)]).to(torch.uint8)
    expected = net(torch.stack([-torch.ones(1, 8, 8), torch.ones(1, 8, 8)]))
    torch.testing.assert_close(logits(net, images), expected.detach())


def test_scoring_in_batches_equals_scoring_at_once() -> None:
    net, (images, _) = network(num_classes=10), digits()
    many = images[: 2 * classifier._SCORING_BATCH + 1]
    torch.testing.assert_close(features(net, many), net.features(many / 127.5 - 1).detach(), rtol=1e-4, atol=1e-4)


def test_real_digits_are_learnt() -> None:
    images, labels = digits()
    trained = train_classifier(images[:1437], labels[:1437], num_classes=10, epochs=15, seed=0, device="cpu")
    assert accuracy(trained.network, images[1437:], labels[1437:]) > 0.95
    assert 1 <= trained.epoch <= 15
    assert trained.held_out_accuracy > 0.95


def test_training_is_deterministic_and_leaves_global_randomness_alone() -> None:
    images, labels = digits()
    global_state = torch.get_rng_state()

    def weights(seed: int) -> Tensor:
        trained = train_classifier(images[:300], labels[:300], num_classes=10, epochs=2, seed=seed, device="cpu")
        return torch.cat([value.flatten().double() for value in trained.network.state_dict().values()])

    first = weights(3)
    torch.manual_seed(99)
    assert torch.equal(first, weights(3))
    assert not torch.equal(first, weights(4))
    torch.set_rng_state(global_state)
    weights(3)
    assert torch.equal(torch.get_rng_state(), global_state)


def test_the_best_epoch_is_kept_and_ties_take_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    images, labels = digits()
    planned = iter([0.5, 0.9, 0.9, 0.2])
    snapshots: list[Tensor] = []

    def planned_accuracy(net: Classifier, images: Tensor, labels: Tensor) -> float:
        snapshots.append(net.output.weight.detach().clone())
        return next(planned)

    monkeypatch.setattr(classifier, "accuracy", planned_accuracy)
    trained = train_classifier(images[:100], labels[:100], num_classes=10, epochs=4, seed=0, device="cpu")
    assert (trained.epoch, trained.held_out_accuracy) == (3, 0.9)
    assert torch.equal(trained.network.output.weight, snapshots[2])
    assert not torch.equal(snapshots[2], snapshots[3])


@pytest.mark.parametrize(("count", "held_out"), [(2, 1), (100, 10), (505, 50)])
def test_a_tenth_is_held_out_and_never_trained_on(count: int, held_out: int, monkeypatch: pytest.MonkeyPatch) -> None:
    # Every image is one grey of its own, so that it is recognised in the batches and in the held-out part.
    greys = torch.arange(count) % 256
    images = greys.to(torch.uint8)[:, None, None, None].expand(-1, 3, 8, 8).clone()
    images[:, 1] = (torch.arange(count) // 256).to(torch.uint8)[:, None, None]

    def names(pixels: Tensor) -> set[tuple[int, ...]]:
        return {tuple(corner) for corner in pixels[:, :2, 0, 0].tolist()}

    trained_on: set[tuple[int, ...]] = set()
    scored: set[tuple[int, ...]] = set()

    def spying(pixels: Tensor) -> Tensor:
        (trained_on if torch.is_grad_enabled() else scored).update(names(pixels))
        return to_unit_range(pixels)

    monkeypatch.setattr(classifier, "to_unit_range", spying)
    train_classifier(images, torch.zeros(count, dtype=torch.int64), num_classes=1, epochs=2, seed=0, device="cpu")
    assert len(scored) == held_out
    assert len(trained_on) == count - held_out
    assert not scored & trained_on


def test_held_out_images_are_at_most_5000() -> None:
    assert classifier.HELD_OUT_MOST == 5000
    assert classifier.held_out_count(60_000) == 5000
    assert classifier.held_out_count(40_000) == 4000


def test_shift_moves_by_a_fourteenth_at_most_and_repeats_the_border() -> None:
    column = torch.arange(28.0).expand(1, 1, 28, 28)
    generator = torch.Generator().manual_seed(0)
    offsets = set()
    for _ in range(50):
        shifted = classifier.shifted(column, generator)
        assert shifted.shape == column.shape
        offset = int(shifted[0, 0, 0, 10]) - 10
        torch.testing.assert_close(shifted[0, 0, 0], (torch.arange(28.0) + offset).clamp(0, 27))
        offsets.add(offset)
    assert offsets == {-2, -1, 0, 1, 2}


def test_small_images_are_not_shifted() -> None:
    images = torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    assert torch.equal(classifier.shifted(images, torch.Generator()), images)


def test_scores_by_hand() -> None:
    labels = torch.tensor([0, 0, 0, 0, 1, 1])
    margins = torch.tensor([-2.0, -1.0, 0.5, -3.0, 1.0, -1.5])
    scores = scores_of(torch.stack([torch.zeros(6), margins], dim=1), labels)
    assert scores.accuracy == pytest.approx(4 / 6)
    assert scores.recall == (0.75, 0.5)
    assert scores.balanced_accuracy == 0.625
    assert scores.auroc == pytest.approx(6 / 8)  # of 4x2 pairs, the sick one ranks higher in 4 + 2


def test_auroc_does_not_saturate() -> None:
    logits_of = torch.tensor([[0.0, 200.0], [0.0, 300.0]])
    assert scores_of(logits_of, torch.tensor([0, 1])).auroc == 1.0


def test_absent_classes_have_no_recall() -> None:
    scores = scores_of(torch.eye(3)[[0, 2]], torch.tensor([0, 2]))
    assert scores.recall == (1.0, None, 1.0)
    assert scores.balanced_accuracy == 1.0
    assert scores.auroc is None
    assert scores_of(torch.eye(2), torch.tensor([0, 0])).auroc is None


def test_score_agrees_with_accuracy() -> None:
    (images, labels), net = digits(), network(num_classes=10)
    assert score(net, images[:99], labels[:99]).accuracy == accuracy(net, images[:99], labels[:99])


GOOD = torch.zeros(4, 1, 8, 8, dtype=torch.uint8)
LABELS = torch.zeros(4, dtype=torch.int64)


@pytest.mark.parametrize(
    ("images", "labels", "num_classes", "says"),
    [
        (GOOD.float(), LABELS, 2, "pupils are float32 with 4 dimensions"),
        (GOOD[:, 0], LABELS, 2, "uint8 with 3 dimensions"),
        (GOOD[:0], LABELS[:0], 2, "are empty"),
        (torch.zeros(4, 2, 8, 8, dtype=torch.uint8), LABELS, 2, "with 2 channels"),
        (torch.zeros(4, 1, 8, 9, dtype=torch.uint8), LABELS, 2, "8x9 pixels"),
        (torch.zeros(4, 1, 7, 7, dtype=torch.uint8), LABELS, 2, "7x7 pixels"),
        (torch.zeros(4, 1, 257, 257, dtype=torch.uint8), LABELS, 2, "257x257 pixels"),
        (GOOD, LABELS.int(), 2, "labels of the pupils are not int64"),
        (GOOD, LABELS[:3], 2, "labels of the pupils are not int64"),
        (GOOD, LABELS - 1, 2, "are not all from 0 to 1"),
        (GOOD, LABELS + 2, 2, "are not all from 0 to 1"),
        (GOOD, LABELS, 0, "num_classes is 0"),
    ],
)
def test_bad_input_is_refused_in_one_line(images: Tensor, labels: Tensor, num_classes: int, says: str) -> None:
    with pytest.raises(DataError) as caught:
        check_images("pupils", images, labels, num_classes)
    message = str(caught.value)
    assert says in message.replace(": ", " ", 1)
    assert "\n" not in message


def test_one_image_is_too_few_to_train_on() -> None:
    with pytest.raises(DataError, match="too few"):
        train_classifier(GOOD[:1], LABELS[:1], num_classes=2, epochs=1, seed=0, device="cpu")
