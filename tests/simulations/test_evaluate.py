"""Where `evaluate` finds its images and how it matches their classes; the measures are tests/server's."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from silogan.client.data import DataSet
from silogan.common.config.scenario import Evaluation
from silogan.common.errors import DataError, SiloganError, UsageError
from silogan.common.modality import Data
from silogan.common.modality.image import PIXELS, ImageSchema
from silogan.common.models.networks import Drawn
from silogan.server.evaluation import Comparison
from silogan.server.release.generator import ReleasedGenerator
from silogan.server.release.outputs import OUTPUTS
from silogan.simulations import evaluate as module
from silogan.simulations.evaluate import evaluate

CLASSES = ("0", "1", "2", "3", "4")  # of RetinaMNIST


def shades(labels: Any, seed: int = 0) -> NDArray[np.uint8]:
    """Images of 8x8 whose brightness is their class: uint8 [N, 8, 8]."""
    noise = np.random.default_rng(seed).integers(0, 20, (len(labels), 8, 8))
    return (np.asarray(labels)[:, None, None] * 50 + noise).astype(np.uint8)


@pytest.fixture
def real(tmp_path: Path) -> Path:
    """A file that has the classes of RetinaMNIST by its name."""
    path = tmp_path / "retinamnist_64.npz"
    train, test = np.arange(300) % 5, np.arange(100) % 5
    np.savez(
        path, train_images=shades(train), train_labels=train, test_images=shades(test, 1), test_labels=test[:, None]
    )
    return path


def write_npz(path: Path, labels: Any, classes: tuple[str, ...] = CLASSES, **changes: Any) -> Path:
    """What `silogan generate` would write, but for the changes; None leaves an array out."""
    arrays = {"train_images": shades(labels, 2), "train_labels": np.asarray(labels)[:, None], "classes": classes}
    arrays = {name: value for name, value in (arrays | changes).items() if value is not None}
    np.savez(path, **{name: np.asarray(value) for name, value in arrays.items()})
    return path


def write_png(path: Path, pixels: NDArray[np.uint8], labels: Tensor | None, classes: tuple[str, ...]) -> Path:
    generator = ReleasedGenerator(torch.nn.Identity(), ImageSchema(8, 1, classes), (), "id")  # type: ignore[arg-type]
    OUTPUTS["image"].formats["png"](
        path, [Drawn({PIXELS: torch.from_numpy(pixels)[:, None]}, labels)], generator.about(0)
    )
    return path


@dataclass
class Measured:
    """What was handed over to be measured."""

    images: Tensor
    labels: Tensor | None
    train: tuple[Tensor, Tensor]
    test: tuple[Tensor, Tensor]
    settings: Evaluation

    def to_json(self) -> dict[str, Any]:
        return {}

    def brightness(self) -> list[int]:
        """The class that each image shows."""
        return (self.images.float().mean((1, 2, 3)) / 50).int().tolist()


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[Measured]:
    """Stands in for the measuring, which takes seconds."""
    calls: list[Measured] = []

    def measure(asked: Comparison) -> Measured:
        train, test = ((part.records[PIXELS], part.labels) for part in (asked.train, asked.test))
        calls.append(Measured(asked.synthetic[PIXELS], asked.labels, train, test, asked.settings))
        return calls[-1]

    monkeypatch.setattr("silogan.server.evaluation.evaluation.evaluate", measure)
    return calls


def test_a_file_of_images_is_measured(real: Path, tmp_path: Path) -> None:
    figures = evaluate(write_npz(tmp_path / "s.npz", np.arange(100) % 5), real)
    assert figures["utility"]["accuracy_synthetic"] > 0.9
    assert figures["fidelity"]["samples"] == 100
    assert figures["utility_reason"] is None


def test_classes_are_matched_by_name_not_by_position(real: Path, tmp_path: Path, measured: list[Measured]) -> None:
    shown = [0, 1, 2, 3, 4, 4]
    backwards = write_npz(tmp_path / "s.npz", 4 - np.array(shown), CLASSES[::-1], train_images=shades(shown))
    evaluate(backwards, real)
    assert measured[0].labels is not None
    assert measured[0].labels.tolist() == measured[0].brightness() == shown
    assert (len(measured[0].train[0]), len(measured[0].test[0]), measured[0].settings.samples) == (300, 100, 6)


def test_a_folder_may_lack_classes(real: Path, tmp_path: Path, measured: list[Measured]) -> None:
    labels = torch.tensor([2, 4])[torch.arange(120) % 2]
    folder = write_png(tmp_path / "png", shades(labels.numpy()), labels, CLASSES)
    assert sorted(path.name for path in folder.iterdir() if path.is_dir()) == ["2", "4"]
    evaluate(folder, real)
    assert measured[0].labels is not None
    assert measured[0].labels.tolist() == measured[0].brightness()
    assert sorted(measured[0].labels.tolist()) == [2] * 60 + [4] * 60


def test_images_without_a_class_have_no_labels(real: Path, tmp_path: Path, measured: list[Measured]) -> None:
    folder = write_png(tmp_path / "png", shades(np.arange(100) % 5), None, CLASSES)
    file = write_npz(tmp_path / "s.npz", np.arange(100) % 5, train_labels=None)
    for synthetic in (folder, file):
        figures = evaluate(synthetic, real)
        assert figures["utility_reason"] == "the generator draws images without a class"
    assert [(what.labels, len(what.images)) for what in measured] == [(None, 100), (None, 100)]


class Asked(Exception):  # noqa: N818 - it tells what was asked for
    def __init__(self, data: Data) -> None:
        self.data = data


@pytest.mark.parametrize(
    ("place", "source"),
    [("MNIST/raw", "mnist"), ("FashionMNIST/raw", "fashion-mnist"), ("0", "folder"), ("x.npz", "medmnist")],
)
def test_the_source_is_told_from_what_lies_there(
    place: str, source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "real"
    (root / place).mkdir(parents=True)
    root = root / place if place.endswith(".npz") else root
    synthetic = write_npz(tmp_path / "s.npz", np.arange(20) % 5)

    def read(data: Data) -> DataSet:
        raise Asked(data)

    monkeypatch.setattr(module, "read", read)
    with pytest.raises(Asked) as asked:
        evaluate(synthetic, root)
    data = asked.value.data
    assert (data.source, data.root, data.image_size, data.channels) == (source, root, 8, 1)
    assert data.classes == (CLASSES if source in ("folder", "medmnist") else None)


def test_mnist_is_brought_to_the_size_of_the_images(
    shared_data: Path, tmp_path: Path, measured: list[Measured]
) -> None:
    if not (shared_data / "MNIST" / "raw").is_dir():
        pytest.skip("MNIST/raw is not among the public data sets")
    digits = tuple(str(digit) for digit in range(10))
    evaluate(write_npz(tmp_path / "s.npz", [9, 3, 7], digits, train_images=shades([1, 2, 3])), shared_data)
    assert measured[0].labels is not None
    assert measured[0].labels.tolist() == [9, 3, 7]
    assert measured[0].train[0].shape == (60_000, 1, 8, 8)
    assert measured[0].test[0].shape == (10_000, 1, 8, 8)


def test_a_scenario_says_where_real_images_are(tmp_path: Path, measured: list[Measured]) -> None:
    digits = tuple(str(digit) for digit in range(10))
    evaluate(write_npz(tmp_path / "s.npz", [9, 3], digits), Path("digits"), ["evaluation.samples=7"])
    assert measured[0].labels is not None
    assert measured[0].labels.tolist() == [9, 3]
    assert (measured[0].train[0].shape[1:], measured[0].settings.samples) == ((1, 8, 8), 7)


@pytest.mark.parametrize(
    "changes",
    [
        {"train_images": None},
        {"classes": None},
        {"classes": 3},
        {"train_images": np.zeros((0, 8, 8), np.uint8)},
        {"train_images": np.zeros((100, 8, 8), np.float32)},
        {"train_images": np.zeros((100, 8, 9), np.uint8)},
        {"train_images": np.zeros((100, 4, 4), np.uint8)},
        {"train_images": np.zeros((100, 8, 8, 2), np.uint8)},
        {"train_images": np.zeros((100, 64), np.uint8)},
        {"train_images": np.array([{"a": 1}], dtype=object)},
        {"train_labels": np.zeros(99, np.int64)},
        {"train_labels": np.full(100, np.nan)},
        {"train_labels": np.full(100, 5)},
        {"train_labels": np.full(100, -1)},
        {"train_labels": np.full(100, 2**63, np.uint64)},
        {"classes": ("0", "1", "2", "3", "x")},
    ],
    ids=lambda changes: " ".join(f"{name} {getattr(value, 'shape', value)}" for name, value in changes.items()),
)
def test_a_file_that_generate_cannot_have_written_is_refused(changes: Any, real: Path, tmp_path: Path) -> None:
    synthetic = write_npz(tmp_path / "s.npz", np.arange(100) % 5, **changes)
    with pytest.raises(DataError) as caught:
        evaluate(synthetic, real)
    assert caught.value.thing in (f"'{synthetic}'", "synthetic images")


def test_a_damaged_file_is_refused(real: Path, tmp_path: Path) -> None:
    path = write_npz(tmp_path / "s.npz", np.arange(100) % 5)
    whole = path.read_bytes()
    for content in (b"", b"PK\x03\x04", b"\x93NUMPY\x01\x00", whole[:900], whole[:200] + bytes(300) + whole[500:]):
        path.write_bytes(content)
        with pytest.raises(DataError, match="is not a file written by silogan generate"):
            evaluate(path, real)


@pytest.mark.parametrize(
    ("synthetic", "real", "error", "says"),
    [
        ("s.npz", None, UsageError, "--real: is missing"),
        ("s.npz", "missing", UsageError, "missing: does not exist"),
        ("s.npz", "missing.npz", UsageError, "missing.npz: does not exist"),
        ("s.npz", "text.txt", UsageError, "text.txt: is no data of images"),
        ("empty", "other.npz", DataError, "holds no class folders"),
        ("png", "other.npz", UsageError, "has no class names to match"),
    ],
)
def test_what_cannot_be_compared_is_refused(
    synthetic: str, real: str | None, error: type[SiloganError], says: str, tmp_path: Path, request: Any
) -> None:
    request.getfixturevalue("real")
    write_npz(tmp_path / "s.npz", np.arange(20) % 5)
    write_npz(tmp_path / "other.npz", np.arange(20) % 5)
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.txt").touch()
    write_png(tmp_path / "png", shades(np.zeros(50)), torch.zeros(50, dtype=torch.int64), CLASSES)
    with pytest.raises(error, match=says):
        evaluate(tmp_path / synthetic, None if real is None else tmp_path / real)
