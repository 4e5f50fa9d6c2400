import gzip
import os
import struct
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import torch
from torchvision.datasets import MNIST, FashionMNIST

from silogan.client.data import read
from silogan.common.errors import DataError
from silogan.common.modality.image import PIXELS
from silogan.common.modality.image_options import FashionMnist, Mnist


def idx(values: np.ndarray) -> bytes:
    return struct.pack(f">BBBB{values.ndim}I", 0, 0, 8, values.ndim, *values.shape) + values.astype(np.uint8).tobytes()


@pytest.fixture
def fake(tmp_path: Path) -> Path:
    """A tiny pair of data sets in torchvision's layout."""
    rng = np.random.default_rng(0)
    for name in ("MNIST", "FashionMNIST"):
        raw = tmp_path / name / "raw"
        raw.mkdir(parents=True)
        for split, count in (("train", 20), ("t10k", 10)):
            (raw / f"{split}-images-idx3-ubyte").write_bytes(idx(rng.integers(0, 256, (count, 28, 28))))
            (raw / f"{split}-labels-idx1-ubyte").write_bytes(idx(np.arange(count) % 10))
    return tmp_path


def test_both_sets_are_read_from_their_own_folder(fake: Path) -> None:
    mnist, fashion = read(Mnist(root=fake)), read(FashionMnist(root=fake))
    assert mnist.train.stored[PIXELS].shape == (20, 1, 28, 28)
    assert mnist.test.labels.tolist() == list(range(10))
    assert mnist.schema.classes == tuple("0123456789")
    assert fashion.schema.classes[9] == "Ankle boot"
    assert not torch.equal(mnist.train.stored[PIXELS], fashion.train.stored[PIXELS])


def test_files_are_read_as_they_are_published(fake: Path) -> None:
    before = read(Mnist(root=fake))
    for path in list((fake / "MNIST/raw").iterdir()):
        path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    after = read(Mnist(root=fake))
    for old, new in ((before.train, after.train), (before.test, after.test)):
        assert torch.equal(old.stored[PIXELS], new.stored[PIXELS])
        assert torch.equal(old.labels, new.labels)


def test_class_names_are_those_of_torchvision(fake: Path) -> None:
    assert read(FashionMnist(root=fake)).schema.classes == tuple(FashionMNIST.classes)


@pytest.mark.parametrize("missing", ["train-images-idx3-ubyte", "t10k-labels-idx1-ubyte"])
def test_a_missing_file_names_the_root_and_the_mend(fake: Path, missing: str) -> None:
    (fake / "MNIST/raw" / missing).unlink()
    with pytest.raises(DataError) as caught:
        read(Mnist(root=fake))
    assert str(caught.value).startswith(
        f"MNIST in '{fake}': is missing or incomplete; add --set data.download=true or put"
    )


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0\0",
        b"garbage, and quite a lot of it",
        idx(np.zeros((20, 28, 28)))[:-1],
        idx(np.zeros((20, 28, 28))) + b"x",
        struct.pack(">BBBB3I", 0, 0, 8, 3, 2**31, 2**31, 2**31),
        struct.pack(">BBBB3I", 0, 0, 10, 3, 1, 1, 1) + b"\0",
    ],
    ids=["empty", "header cut", "garbage", "truncated", "too long", "huge", "unknown type"],
)
def test_a_corrupt_file_is_refused(fake: Path, content: bytes) -> None:
    (fake / "MNIST/raw/train-images-idx3-ubyte").write_bytes(content)
    with pytest.raises(DataError, match=r"MNIST in '.*': is corrupt; delete"):
        read(Mnist(root=fake))


def test_labels_are_checked(fake: Path) -> None:
    labels = fake / "MNIST/raw/t10k-labels-idx1-ubyte"
    labels.write_bytes(idx(np.full(10, 10)))
    with pytest.raises(DataError, match=r"\(test\): holds a value outside 0 to 9"):
        read(Mnist(root=fake))
    labels.write_bytes(idx(np.zeros(9)))
    with pytest.raises(DataError, match=r"\(test\): does not hold one value for each image"):
        read(Mnist(root=fake))


def test_download_only_when_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def refuse(self: MNIST) -> None:
        asked.append(type(self).__name__)
        raise URLError("no network")

    monkeypatch.setattr(MNIST, "download", refuse)
    with pytest.raises(DataError, match="is missing or incomplete"):
        read(FashionMnist(root=tmp_path))
    assert not asked
    with pytest.raises(DataError, match="cannot be downloaded or is corrupt; check the network"):
        read(FashionMnist(root=tmp_path, download=True))
    assert asked == [FashionMNIST.__name__]


def test_the_real_mnist() -> None:
    root = Path(os.environ.get("SILOGAN_DATA", Path(__file__).parents[4] / "shared/data"))
    if not (root / "MNIST/raw").is_dir():
        pytest.skip("MNIST is not there: set SILOGAN_DATA to a folder that holds MNIST/raw")
    data = read(Mnist(root=root))
    assert data.train.stored[PIXELS].shape == (60000, 1, 28, 28)
    assert data.test.stored[PIXELS].shape == (10000, 1, 28, 28)
    assert torch.bincount(data.train.labels).tolist()[:3] == [5923, 6742, 5958]
    assert round(data.train.stored[PIXELS].float().mean().item() / 255, 4) == 0.1307
