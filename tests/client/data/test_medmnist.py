import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from silogan.client.data import read
from silogan.client.data.medmnist import CLASSES
from silogan.common.errors import ConfigError, DataError
from silogan.common.modality.image import PIXELS
from silogan.common.modality.image_options import MedMnist

NAME = "pneumoniamnist.npz"


def arrays(shape: tuple[int, ...] = (28, 28)) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    content: dict[str, Any] = {}
    for part, count in (("train", 12), ("val", 4), ("test", 6)):
        content[f"{part}_images"] = rng.integers(0, 256, (count, *shape), dtype=np.uint8)
        content[f"{part}_labels"] = (np.arange(count) % 2).astype(np.uint8)[:, None]
    return content


def write(folder: Path, content: dict[str, Any], name: str = NAME) -> MedMnist:
    np.savez(folder / name, **content)
    return MedMnist(root=folder / name)


def test_grey_and_colour_and_larger_versions(tmp_path: Path) -> None:
    content = arrays()
    grey = read(write(tmp_path, content))
    assert torch.equal(grey.train.stored[PIXELS][:, 0], torch.from_numpy(content["train_images"]))
    assert len(grey.test) == 6
    assert grey.schema.classes == ("normal", "pneumonia")
    assert grey.site_names is None
    colour = read(write(tmp_path, arrays((64, 64, 3)), "breastmnist_64.npz"))
    assert colour.train.stored[PIXELS].shape == (12, 3, 64, 64)
    assert colour.schema.classes == ("malignant", "normal, benign")
    assert read(MedMnist(root=tmp_path / "breastmnist_64.npz", channels=1)).schema.channels == 1


def test_the_validation_split_is_not_needed(tmp_path: Path) -> None:
    content = {key: value for key, value in arrays().items() if not key.startswith("val")}
    assert len(read(write(tmp_path, content)).train) == 12


def test_class_table_matches_the_documented_numbers() -> None:
    documented = {
        "pathmnist": 9,
        "dermamnist": 7,
        "octmnist": 4,
        "pneumoniamnist": 2,
        "retinamnist": 5,
        "breastmnist": 2,
        "bloodmnist": 8,
        "tissuemnist": 8,
        "organamnist": 11,
        "organcmnist": 11,
        "organsmnist": 11,
    }
    assert {name: len(set(classes)) for name, classes in CLASSES.items()} == documented


def test_an_unknown_file_takes_the_declared_classes(tmp_path: Path) -> None:
    data = write(tmp_path, arrays(), "ours.npz")
    with pytest.raises(ConfigError, match=r"^data\.classes: is missing"):
        read(data)
    declared = data.model_copy(update={"classes": ("no", "yes", "maybe")})
    assert read(declared).schema.classes == ("no", "yes", "maybe")
    with pytest.raises(ConfigError, match=r"^data\.classes: has an empty or repeated name"):
        read(data.model_copy(update={"classes": ("no", "no")}))


def test_a_known_file_keeps_its_classes(tmp_path: Path) -> None:
    data = write(tmp_path, arrays())
    with pytest.raises(ConfigError, match=r"^data\.classes: differs"):
        read(data.model_copy(update={"classes": ("ill", "well")}))


@pytest.mark.parametrize("name", ["chestmnist.npz", "chestmnist_128.npz"])
def test_multi_label_sets_are_refused_by_name(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match=f"file '{name}': has several labels per image"):
        read(write(tmp_path, arrays(), name))


def test_natural_sites(tmp_path: Path) -> None:
    content = arrays()
    content |= {"train_sites": np.arange(12) % 3, "test_sites": np.zeros(6, np.int8), "site_names": ["a", "b", "c"]}
    data = read(write(tmp_path, content))
    assert data.site_names == ("a", "b", "c")
    assert data.train.sites is not None
    assert data.train.sites.tolist() == [0, 1, 2] * 4
    assert data.test.sites is not None
    del content["test_sites"]
    assert read(write(tmp_path, content)).test.sites is None


def test_patients_by_number_or_by_name(tmp_path: Path) -> None:
    # beyond float64: were they compared as floats, the two splits would share a patient
    numbers = {"train_patients": np.repeat([2**60, 7, 5], 4), "test_patients": np.full((6, 1), 2**60 + 1, np.uint64)}
    names = {"train_patients": np.repeat(["a", " a ", "b"], 4), "test_patients": np.array(["c"] * 6)}
    for content, codes in ((numbers, [0] * 4 + [1] * 4 + [2] * 4), (names, [0] * 8 + [1] * 4)):
        data = read(write(tmp_path, arrays() | content))
        assert data.train.patients is not None
        assert data.test.patients is not None
        assert data.train.patients.tolist() == codes
        assert data.test.patients.tolist() == [0] * 6
    assert read(write(tmp_path, arrays())).train.patients is None


SITES = {"train_sites": np.zeros(12, np.int64), "site_names": np.array(["a", "b"])}
PATIENTS = {"train_patients": np.arange(12), "test_patients": np.arange(12, 18)}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"train_images": None}, "has no array 'train_images'"),
        ({"test_labels": None}, "has no array 'test_labels'"),
        ({"train_images": np.zeros((12, 28, 28), np.float32)}, r"\(train\): hold float32 values"),
        ({"train_images": np.full((12, 28, 28), np.nan)}, r"\(train\): hold float64 values"),
        ({"test_images": np.zeros((6, 28, 30), np.uint8)}, r"\(test\): is 28 x 30 pixels"),
        ({"test_images": np.zeros((6, 28, 0), np.uint8)}, r"\(test\): are empty"),
        ({"test_images": np.zeros((6, 32, 32), np.uint8)}, "training and test images of different size"),
        ({"test_images": np.zeros((5, 28, 28), np.uint8)}, r"\(test\): does not hold one value for each image"),
        ({"train_labels": np.full((12, 1), 2)}, r"\(train\): holds a value outside 0 to 1"),
        ({"train_labels": np.zeros((12, 14), np.uint8)}, r"\(train\): holds several labels per image"),
        ({"train_labels": np.zeros((12, 1), object)}, "truncated, corrupt or not an .npz archive"),
        ({"train_labels": np.zeros((12, 1), np.float32)}, r"\(train\): holds float32 values"),
        ({"site_names": np.array(["a"])}, "has only one of 'site_names' and 'train_sites'"),
        ({"train_sites": np.zeros(12, np.int64)}, "has only one of 'site_names' and 'train_sites'"),
        ({"train_patients": np.arange(12)}, "has only one of 'train_patients' and 'test_patients'"),
        (PATIENTS | {"train_patients": np.arange(11)}, "train_patients of .* do not hold one value for each image"),
        (PATIENTS | {"train_patients": np.zeros((12, 2), int)}, "do not hold one value for each image"),
        (PATIENTS | {"test_patients": np.zeros(6)}, "test_patients of file .*: hold float64 values"),
        (PATIENTS | {"test_patients": np.zeros(6, bool)}, "test_patients of file .*: hold bool values"),
        (PATIENTS | {"test_patients": np.arange(11, 17)}, "has a patient in both the training and the test split"),
        (PATIENTS | {"test_patients": np.array(["a"] * 6)}, "are not of the type of train_patients"),
        (PATIENTS | {"train_patients": np.array([" "] * 12)}, "train_patients of file .*: hold an empty name"),
        (SITES | {"site_names": np.array(["a", "a"])}, "is not a list of different names"),
        (SITES | {"site_names": np.array([1, 2])}, "is not a list of different names"),
        (SITES | {"train_sites": np.full(12, 2)}, "train_sites of file '.*': holds a value outside 0 to 1"),
        (SITES | {"train_sites": np.zeros(11, np.int64)}, "train_sites of .*: does not hold one value for each image"),
    ],
)
def test_bad_content_is_refused_naming_the_file(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    content = {key: value for key, value in (arrays() | change).items() if value is not None}
    with pytest.raises(DataError, match=message) as caught:
        read(write(tmp_path, content))
    assert NAME in str(caught.value)


@pytest.mark.parametrize("below", ["", "medmnist"])
def test_a_set_is_found_by_name_in_a_folder(tmp_path: Path, below: str) -> None:
    folder = tmp_path / below
    folder.mkdir(exist_ok=True)
    write(folder, arrays(), "breastmnist.npz")
    data = MedMnist(root=tmp_path, dataset="breastmnist")
    assert read(data).schema.classes == ("malignant", "normal, benign")
    with pytest.raises(DataError, match=r"file 'bloodmnist\.npz': is not in"):
        read(data.model_copy(update={"dataset": "bloodmnist"}))
    with pytest.raises(ConfigError, match=r"data\.dataset: is missing while data\.root is a folder"):
        read(data.model_copy(update={"dataset": None}))


def test_files_that_are_no_archive_are_refused(tmp_path: Path) -> None:
    path = tmp_path / NAME
    data = MedMnist(root=path)
    with pytest.raises(DataError, match=rf"file '{NAME}': is not in '{tmp_path}'; correct data\.root"):
        read(data)
    for content in (b"", b"not a zip file", b"PK\x03\x04 but no more"):
        path.write_bytes(content)
        with pytest.raises(DataError, match=f"file '{NAME}': is truncated, corrupt or not"):
            read(data)
    with path.open("wb") as file:
        np.save(file, np.zeros(3))
    with pytest.raises(DataError, match=r"is not an \.npz archive"):
        read(data)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("train_images", b"no numpy header")
        archive.writestr("train_labels", b"no numpy header")
    with pytest.raises(DataError, match="holds no array under 'train_labels'"):
        read(data)


def test_truncation_and_flipped_bits_never_escape_as_other_errors(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / NAME, **arrays((8, 8)))
    path, data = tmp_path / NAME, MedMnist(root=tmp_path / NAME)
    good = path.read_bytes()
    rng = np.random.default_rng(1)
    for cut in range(0, len(good) - 1, 97):
        path.write_bytes(good[:cut])
        with pytest.raises(DataError):
            read(data)
    refused = 0
    for _ in range(150):
        bad = bytearray(good)
        bad[rng.integers(len(bad))] ^= 1 << int(rng.integers(8))
        path.write_bytes(bad)
        try:
            read(data)
        except DataError:
            refused += 1
    assert refused > 50


def test_the_real_pneumoniamnist() -> None:
    folder = Path(os.environ.get("SILOGAN_DATA", Path(__file__).parents[4] / "shared/data"))
    path = folder / "medmnist" / NAME
    if not path.is_file():
        pytest.skip(f"PneumoniaMNIST is not there: set SILOGAN_DATA to a folder that holds medmnist/{NAME}")
    data = read(MedMnist(root=path, image_size=32))
    assert (data.schema.size, data.schema.channels, data.schema.classes) == (32, 1, ("normal", "pneumonia"))
    assert len(data.test) == 624
    assert torch.bincount(data.test.labels).tolist() == [234, 390]


@pytest.mark.parametrize("empty", ["train", "test"])
def test_a_split_without_images_is_refused_only_where_one_is_needed(tmp_path: Path, empty: str) -> None:
    content = arrays() | PATIENTS
    for kind in ("images", "labels", "patients"):
        content[f"{empty}_{kind}"] = content[f"{empty}_{kind}"][:0]
    np.savez(tmp_path / "pneumoniamnist.npz", **content)
    data = MedMnist(root=tmp_path / "pneumoniamnist.npz")
    with pytest.raises(DataError, match="too few records for two splits"):
        read(data)
    found = read(data, may_be_empty=True)
    assert len(found.train if empty == "train" else found.test) == 0
