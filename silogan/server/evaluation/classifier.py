"""The classifier for evaluation: a small network, its training, and its scores on real images.

A classifier trained on synthetic images alone and tested on real ones says how useful the synthetic images are ("train
on synthetic, test on real": Esteban, Hyland and Rätsch, 2017). The epoch is chosen on a part of the classifier's own
training images, so the real test split is used only once.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import skip_init

from silogan.common.errors import DataError
from silogan.common.modality.image import to_unit_range
from silogan.common.progress import track

FEATURES = 64
"""Units of the penultimate layer, F."""

HELD_OUT_FRACTION = 0.1
HELD_OUT_MOST = 5000
BATCH = 128
PEAK_LEARNING_RATE = 3e-3
WEIGHT_DECAY = 1e-2

SHIFT = 1 / 14
"""Largest random shift of training images, as a part of their width: 2 pixels of MNIST's 28."""

_SMALLEST, _LARGEST = 8, 256
_SCORING_BATCH = 256


class Classifier(nn.Module):
    """A convolutional network for square images of 8 to 256 pixels.

    A stem, which halves images of 16 pixels and more to bound time and memory, is followed by blocks that halve the
    image until it is at most 4 pixels wide, then by one hidden layer of `FEATURES` units.

    Args:
        size: height and width in pixels, 8 to 256.
        channels: 1 or 3.
        num_classes: number of labels, at least 1.
        generator: CPU generator of the initial weights; no global random state is read or changed.
    """

    def __init__(self, size: int, channels: int, num_classes: int, *, generator: torch.Generator) -> None:
        super().__init__()
        stride = 2 if size >= 16 else 1
        size = -(-size // stride)
        width = 16
        blocks: list[nn.Module] = _block(channels, width, stride)
        while size > 4:
            wider = min(2 * width, 64)
            blocks += _block(width, wider, stride=2)
            size, width = -(-size // 2), wider
        self.convolutions = nn.Sequential(*blocks)
        self.hidden = skip_init(nn.Linear, width * size * size, FEATURES)
        self.output = skip_init(nn.Linear, FEATURES, num_classes)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu", generator=generator)
                if layer.bias is not None:  # pyright: ignore[reportUnnecessaryComparison] a convolution here has none
                    nn.init.zeros_(layer.bias)

    def features(self, x: Tensor) -> Tensor:
        """Penultimate activations, float[B, 64] and not negative, of images float[B, C, S, S] in [-1, 1]."""
        return F.relu(self.hidden(self.convolutions(x).flatten(1)))

    def forward(self, x: Tensor) -> Tensor:
        """Logits, float[B, num_classes], of images float[B, C, S, S] in [-1, 1]."""
        return self.output(self.features(x))


@dataclass(frozen=True)
class TrainedClassifier:
    """A classifier at its best epoch.

    Attributes:
        network: the classifier, in evaluation mode.
        epoch: the epoch whose weights these are, from 1.
        held_out_accuracy: accuracy (0 to 1) in that epoch on the held-out part of its own training images.
    """

    network: Classifier
    epoch: int
    held_out_accuracy: float


@dataclass(frozen=True)
class Scores:
    """How well a classifier labels a set of images; every number is from 0 to 1.

    Attributes:
        accuracy: share of images labelled correctly.
        recall: the same within each class; None for a class that the set does not hold.
        balanced_accuracy: mean of `recall` over the classes that the set holds.
        auroc: area under the ROC curve of class 1; None unless there are two classes and the set holds both.
    """

    accuracy: float
    recall: tuple[float | None, ...]
    balanced_accuracy: float
    auroc: float | None


def train_classifier(
    images: Tensor, labels: Tensor, *, num_classes: int, epochs: int, seed: int, device: torch.device | str
) -> TrainedClassifier:
    """Trains a classifier and returns it as it was in its best epoch.

    One tenth of the images (at most 5000), drawn at random, is held out to choose the epoch; of equally good epochs the
    last is taken. AdamW with a one-cycle learning rate; images of 14 pixels and more are shifted at random, all images
    of a batch alike, by up to a fourteenth of their width. On a CPU the result depends on the arguments, the build of
    torch and its number of threads alone; on a GPU it may differ in the last digits.

    Args:
        images: uint8[N, C, S, S], N at least 2.
        labels: int64[N] in [0, num_classes).
        num_classes: number of labels, at least 1.
        epochs: passes over the images, at least 1.
        seed: of the split, the initial weights and the order of the images.
        device: where to train.

    Raises:
        DataError: the images or labels do not have this form.
    """
    check_images("training images", images, labels, num_classes)
    if len(images) < 2:
        raise DataError("training images", "too few to train a classifier on", "give at least 2")
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(images), generator=generator)
    held_out, training = order.tensor_split([held_out_count(len(images))])
    network = Classifier(images.shape[2], images.shape[1], num_classes, generator=generator).to(device)
    optimizer = torch.optim.AdamW(network.parameters(), lr=PEAK_LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    steps = epochs * -(-len(training) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, PEAK_LEARNING_RATE, total_steps=steps)

    best_accuracy, best_epoch, best_weights = -1.0, 0, network.state_dict()
    for epoch in track(range(1, epochs + 1)):
        network.train()
        for batch in track(training[torch.randperm(len(training), generator=generator)].split(BATCH)):
            views = shifted(to_unit_range(images[batch].to(device)), generator)
            loss = F.cross_entropy(network(views), labels[batch].to(device))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        held_out_accuracy = accuracy(network, images[held_out], labels[held_out])
        if held_out_accuracy >= best_accuracy:
            best_accuracy, best_epoch = held_out_accuracy, epoch
            best_weights = copy.deepcopy(network.state_dict())
    network.load_state_dict(best_weights)
    return TrainedClassifier(network.eval(), best_epoch, best_accuracy)


def held_out_count(count: int) -> int:
    """How many of `count` training images, at least 2, are held out to choose the epoch."""
    return min(max(1, int(HELD_OUT_FRACTION * count)), HELD_OUT_MOST)


def logits(network: Classifier, images: Tensor) -> Tensor:
    """Logits, float32[N, num_classes] on the CPU, of images uint8[N, C, S, S]; leaves it in evaluation mode."""
    return _in_batches(network, network.forward, images)


def features(network: Classifier, images: Tensor) -> Tensor:
    """Penultimate activations, float32[N, 64] on the CPU, of images uint8[N, C, S, S]; leaves it in evaluation mode."""
    return _in_batches(network, network.features, images)


def accuracy(network: Classifier, images: Tensor, labels: Tensor) -> float:
    """Share (0 to 1) of images uint8[N, C, S, S] whose label int64[N] the network finds."""
    return float((logits(network, images).argmax(1) == labels.cpu()).double().mean())


def score(network: Classifier, images: Tensor, labels: Tensor) -> Scores:
    """All scores of a network on images uint8[N, C, S, S] with labels int64[N]; see `Scores`."""
    return scores_of(logits(network, images), labels.cpu())


def scores_of(class_logits: Tensor, labels: Tensor) -> Scores:
    """Scores of logits float[N, num_classes] against labels int64[N], N at least 1; see `Scores`."""
    correct = (class_logits.argmax(1) == labels).double()
    num_classes = class_logits.shape[1]
    held = [labels == label for label in range(num_classes)]
    recall = tuple(float(correct[of_class].mean()) if of_class.any() else None for of_class in held)
    present = [value for value in recall if value is not None]
    auroc = None
    if num_classes == 2 and len(present) == 2:
        # The difference of the logits ranks images as the probability does, and does not saturate at 0 and 1.
        margin = class_logits[:, 1].double() - class_logits[:, 0].double()
        auroc = float(roc_auc_score(labels.numpy(), margin.numpy()))
    return Scores(float(correct.mean()), recall, sum(present) / len(present), auroc)


def check_images(thing: str, images: Tensor, labels: Tensor | None, num_classes: int) -> None:
    """Refuses images on which no classifier can be trained or scored.

    Args:
        thing: what to call the images in an error, in the plural.
        images: to be uint8[N, C, S, S]; N at least 1, C 1 or 3, S from 8 to 256.
        labels: to be int64[N] in [0, num_classes); None if there are none.
        num_classes: to be at least 1.

    Raises:
        DataError: one of them is not so.
    """
    if images.dtype != torch.uint8 or images.ndim != 4:
        form = f"{str(images.dtype).removeprefix('torch.')} with {images.ndim} dimensions"
        raise DataError(thing, f"are {form}", "give uint8 with 4: image, channel, height, width")
    if len(images) == 0:
        raise DataError(thing, "are empty", "give at least one image")
    _, channels, height, width = images.shape
    if channels not in (1, 3) or height != width or not _SMALLEST <= height <= _LARGEST:
        hint = f"give square images of {_SMALLEST} to {_LARGEST} pixels with 1 or 3 channels"
        raise DataError(thing, f"are {height}x{width} pixels with {channels} channels", hint)
    if num_classes < 1:
        raise DataError("num_classes", f"is {num_classes}", "give at least one class")
    if labels is None:
        return
    if labels.dtype != torch.int64 or labels.shape != images.shape[:1]:
        raise DataError(f"labels of the {thing}", "are not int64, one for each image", "give one class index each")
    if int(labels.min()) < 0 or int(labels.max()) >= num_classes:
        problem = f"are not all from 0 to {num_classes - 1}"
        raise DataError(f"labels of the {thing}", problem, "check the class names and their order")


def _block(channels_in: int, channels_out: int, stride: int) -> list[nn.Module]:
    convolution = skip_init(nn.Conv2d, channels_in, channels_out, 3, stride=stride, padding=1, bias=False)
    return [convolution, nn.BatchNorm2d(channels_out), nn.ReLU()]


def shifted(images: Tensor, generator: torch.Generator) -> Tensor:
    """Images float[B, C, S, S], all moved by one random offset; what moves in repeats the border."""
    size = images.shape[-1]
    most = int(SHIFT * size)
    top, left = (int(offset) for offset in torch.randint(2 * most + 1, (2,), generator=generator))
    return F.pad(images, (most,) * 4, mode="replicate")[..., top : top + size, left : left + size]


@torch.inference_mode()
def _in_batches(network: Classifier, function: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    network.eval()
    device = next(network.parameters()).device
    return torch.cat([function(to_unit_range(batch.to(device))).cpu() for batch in images.split(_SCORING_BATCH)])
