"""An NPZ file that the `medmnist` package loads, with splits and counts that its loader finds right."""

import json
from hashlib import sha256
from pathlib import Path

import medmnist
import numpy as np
import pytest

from silogan.server.release.about import SPLITS
from silogan.server.release.outputs.image_npz import write_npz
from silogan.simulations.synthetic_images import read_images
from tests.server.release.outputs.described import validated
from tests.server.release.outputs.pictures import about, drawn


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("splits", [(7, 0, 0), (3, 2, 2), (0, 0, 7)])
def test_medmnist_finds_the_right_lengths(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, splits: tuple[int, int, int], channels: int
) -> None:
    of = about(7, channels=channels, splits=splits)
    write_npz(tmp_path / "wards.npz", drawn(of, 3), of)
    with np.load(tmp_path / "wards.npz") as archive:
        info = json.loads(str(archive["info"]))
    monkeypatch.setitem(medmnist.INFO, "wards", info)

    class Wards(medmnist.dataset.MedMNIST2D):
        flag = "wards"

    seen = 0
    whole = next(drawn(of, 1))
    pixels = whole.records["pixels"].permute(0, 2, 3, 1).numpy()
    for split, size in zip(SPLITS, splits, strict=True):
        loaded = Wards(split=split, root=str(tmp_path))
        assert len(loaded) == size
        for number in range(size):
            image, label = loaded[number]
            assert np.array_equal(np.asarray(image).reshape(7, 7, channels), pixels[seen])
            assert label.tolist() == [seen % 2]
            seen += 1
    assert info["label"] == {"0": "a b", "1": "ä"}
    assert (info["n_channels"], info["license"]) == (channels, "CC-BY-4.0")


def test_medmnist_refuses_another_number_of_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """That its loader compares them at all."""
    of = about(7, splits=(6, 0, 1))
    write_npz(tmp_path / "wards.npz", drawn(about(7)), of)
    with np.load(tmp_path / "wards.npz") as archive:
        info = json.loads(str(archive["info"]))
    monkeypatch.setitem(medmnist.INFO, "wards", {**info, "n_samples": {"train": 7, "val": 0, "test": 0}})

    class Wards(medmnist.dataset.MedMNIST2D):
        flag = "wards"

    with pytest.raises(AssertionError):
        len(Wards(split="train", root=str(tmp_path)))


def test_our_own_reader_reads_all_splits(tmp_path: Path) -> None:
    of = about(7, size=8, splits=(3, 2, 2))
    write_npz(tmp_path / "wards.npz", drawn(of, 3), of)
    read, whole = read_images(tmp_path / "wards.npz"), next(drawn(of, 1))
    assert read.classes == ("a b", "ä")
    assert read.labels is not None
    assert whole.labels is not None
    assert read.labels.tolist() == whole.labels.tolist()
    assert (read.pixels == whole.records["pixels"]).all()


def test_the_file_says_what_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    of = about(3)
    write_npz(tmp_path / "x.npz", drawn(of), of)
    with np.load(tmp_path / "x.npz") as archive:
        assert json.loads(str(archive["about"])) == of.facts()
    (file,) = validated(tmp_path / "x.npz.croissant.json", monkeypatch).metadata.distribution
    assert file.sha256 == sha256((tmp_path / "x.npz").read_bytes()).hexdigest()


def test_images_without_a_class_have_no_labels(tmp_path: Path) -> None:
    of = about(3, size=8)
    write_npz(tmp_path / "x.npz", drawn(of, labelled=False), of)
    with np.load(tmp_path / "x.npz") as archive:
        assert not [name for name in archive.files if name.endswith("labels")]
    assert read_images(tmp_path / "x.npz").labels is None
