"""A 2D MedMNIST file, or any `.npz` file of the same layout.

Source: J. Yang et al. (2023), MedMNIST v2 - A large-scale lightweight benchmark for 2D and 3D biomedical image
classification, Scientific Data 10:41; class names from its documentation, single-label sets only.
"""

import re
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from silogan.client.data.arrays import assemble, checked_codes, images_from_arrays
from silogan.client.data.records import DataSet, Records
from silogan.client.data.settings import declared_classes, own_classes, required_root
from silogan.common.errors import ConfigError, DataError
from silogan.common.modality.image_options import MedMnist
from silogan.common.registry import nearest

_ORGANS = (
    *("bladder", "femur-left", "femur-right", "heart", "kidney-left", "kidney-right"),
    *("liver", "lung-left", "lung-right", "pancreas", "spleen"),
)
CLASSES: dict[str, tuple[str, ...]] = {
    "pathmnist": (
        *("adipose", "background", "debris", "lymphocytes", "mucus", "smooth muscle", "normal colon mucosa"),
        *("cancer-associated stroma", "colorectal adenocarcinoma epithelium"),
    ),
    "dermamnist": (
        *("actinic keratoses and intraepithelial carcinoma", "basal cell carcinoma", "benign keratosis-like lesions"),
        *("dermatofibroma", "melanoma", "melanocytic nevi", "vascular lesions"),
    ),
    "octmnist": ("choroidal neovascularization", "diabetic macular edema", "drusen", "normal"),
    "pneumoniamnist": ("normal", "pneumonia"),
    "retinamnist": ("0", "1", "2", "3", "4"),
    "breastmnist": ("malignant", "normal, benign"),
    "bloodmnist": (
        *("basophil", "eosinophil", "erythroblast"),
        "immature granulocytes(myelocytes, metamyelocytes and promyelocytes)",
        *("lymphocyte", "monocyte", "neutrophil", "platelet"),
    ),
    "tissuemnist": (
        *("Collecting Duct, Connecting Tubule", "Distal Convoluted Tubule", "Glomerular endothelial cells"),
        *("Interstitial endothelial cells", "Leukocytes", "Podocytes"),
        *("Proximal Tubule Segments", "Thick Ascending Limb"),
    ),
    "organamnist": _ORGANS,
    "organcmnist": _ORGANS,
    "organsmnist": _ORGANS,
}
_MULTI_LABEL = "chestmnist"


def read(data: MedMnist) -> DataSet:
    """The training and test splits of the file `data.root`, or of `data.dataset` in the folder `data.root`.

    The validation split is left alone, so that choices can be made on it. Beyond MedMNIST's own keys, `train_sites` and
    `test_sites` (integers [N]) with `site_names` (strings) say which natural site each image came from, and
    `train_patients` with `test_patients` (integers or strings [N]) whose it is.

    Raises:
        ConfigError: `data.root` is missing, or `data.classes` is missing or not that of a known set.
        DataError: the file is missing or corrupt, multi-label, an array in it has the wrong type, shape or values, or a
            patient is in both splits.
    """
    path = _file(required_root(data, "a MedMNIST .npz file"), data.dataset)
    thing = f"file '{path.name}'"
    if not path.exists():
        raise _absent(path, thing)
    classes = _classes(path, thing, data)
    with _opened(path, thing) as archive:
        names = _site_names(archive, thing)
        train, test = (_split(archive, part, thing, len(classes), names, data) for part in ("train", "test"))
        train, test = _with_patients(archive, thing, train, test)
    return assemble(thing, train, test, classes, names)


class Inside(NamedTuple):
    """The structure of a file.

    Attributes:
        height, width, channels: of its images.
        classes: names of the classes, if the set is known.
        sites: number of natural sites that it names, if it does.
    """

    height: int
    width: int
    channels: int
    classes: tuple[str, ...] | None
    sites: int | None


def look_into(path: Path) -> Inside:
    """The structure of a file, by the form of its arrays alone.

    Raises:
        DataError: the file is missing or corrupt, or holds no images.
    """
    thing = f"file '{path.name}'"
    _refuse_several_labels(path, thing)
    with _opened(path, thing) as archive:
        names = _site_names(archive, thing)
        shape = _array(archive, "train_images", thing).shape
    if len(shape) not in (3, 4) or shape[3:] not in ((), (3,)):
        raise DataError(f"train_images of {thing}", "are no images", "store uint8 [N, S, S] or [N, S, S, 3]")
    classes, sites = CLASSES.get(set_name(path)), None if names is None else len(names)
    return Inside(shape[1], shape[2], 3 if shape[3:] else 1, classes, sites)


def set_name(path: Path) -> str:
    """The set that a file is of; larger versions carry their size in the name, as pneumoniamnist_64.npz."""
    return re.sub(r"_\d+$", "", path.stem.lower())


def _file(root: Path, dataset: str | None) -> Path:
    """`root` itself, or the set's file in that folder or in `medmnist` below it."""
    if not root.is_dir():
        return root
    if dataset is None:
        raise ConfigError("data.dataset", "is missing while data.root is a folder", "set it, or name the .npz file")
    below, beside = root / "medmnist" / f"{dataset}.npz", root / f"{dataset}.npz"
    if not below.exists() and not beside.exists() and set_name(beside) not in (*CLASSES, _MULTI_LABEL):
        close = nearest(dataset, CLASSES)
        hint = f"did you mean '{close}'?" if close else f"put its file there, or use one of {', '.join(CLASSES)}"
        raise ConfigError("data.dataset", f"'{dataset}' is neither in '{root}' nor a set of MedMNIST", hint)
    return below if below.exists() else beside


def _classes(path: Path, thing: str, data: MedMnist) -> tuple[str, ...]:
    stem = set_name(path)
    _refuse_several_labels(path, thing)
    return own_classes(data, CLASSES[stem]) if stem in CLASSES else declared_classes(data)


def _absent(path: Path, thing: str) -> DataError:
    return DataError(thing, f"is not in '{path.parent}'", "correct data.root")


def _refuse_several_labels(path: Path, thing: str) -> None:
    if set_name(path) == _MULTI_LABEL:
        raise DataError(thing, "has several labels per image", "use a single-label data set")


@contextmanager
def _opened(path: Path, thing: str) -> Generator[Any]:
    """The open archive; whatever is wrong with the bytes of it, on opening or later, is a `DataError`."""
    try:
        with path.open("rb") as file:
            archive = np.load(file, allow_pickle=False)
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise DataError(thing, "is not an .npz archive", "give a MedMNIST .npz file")
            yield archive
    except FileNotFoundError:
        raise _absent(path, thing) from None
    except OSError as error:
        raise DataError(thing, f"cannot be read ({error.strerror or 'damaged'})", "check the file") from None
    except DataError:
        raise
    except MemoryError:
        raise DataError(thing, "does not fit into memory", "use a version with smaller images") from None
    except Exception:  # whatever NumPy, which parses headers as Python, makes of hostile bytes
        raise DataError(thing, "is truncated, corrupt or not an .npz archive", "fetch it again") from None


def _array(archive: Any, key: str, thing: str) -> NDArray[Any]:
    if key not in archive:
        raise DataError(thing, f"has no array '{key}'", "give a file with MedMNIST's keys")
    value = archive[key]
    if not isinstance(value, np.ndarray):
        raise DataError(thing, f"holds no array under '{key}'", "give a file with MedMNIST's keys")
    return value


def _site_names(archive: Any, thing: str) -> tuple[str, ...] | None:
    given = [key in archive for key in ("site_names", "train_sites")]
    if not any(given):
        return None
    if not all(given):
        raise DataError(thing, "has only one of 'site_names' and 'train_sites'", "store both or neither")
    names = _array(archive, "site_names", thing)
    if names.dtype.kind != "U" or names.ndim != 1 or not all(names) or len(set(names.tolist())) < len(names):
        raise DataError(f"site_names of {thing}", "is not a list of different names", "store one string per site")
    return tuple(names.tolist())


def _split(
    archive: Any, part: str, thing: str, num_classes: int, names: tuple[str, ...] | None, data: MedMnist
) -> Records:
    labels = _array(archive, f"{part}_labels", thing)
    sites: Tensor | None = None
    if names is not None and f"{part}_sites" in archive:
        key = f"{part}_sites"
        sites = checked_codes(f"{key} of {thing}", _array(archive, key, thing), len(labels), len(names))
    pixels = _array(archive, f"{part}_images", thing)
    return images_from_arrays(f"{thing} ({part})", pixels, labels, num_classes, data, sites)


def _with_patients(archive: Any, thing: str, train: Records, test: Records) -> tuple[Records, Records]:
    """The two splits with their patients, if the archive has them: no patient is in both."""
    given = [f"{part}_patients" in archive for part in ("train", "test")]
    if not any(given):
        return train, test
    if not all(given):
        raise DataError(thing, "has only one of 'train_patients' and 'test_patients'", "store both or neither")
    in_train, in_test = (
        _patient_names(archive, f"{part}_patients", thing, len(images))
        for part, images in (("train", train), ("test", test))
    )
    if len({type(name) for name in (*in_train, *in_test)}) > 1:
        raise DataError(f"test_patients of {thing}", "are not of the type of train_patients", "store one type")
    if not set(in_train).isdisjoint(in_test):
        hint = "put all images of a patient into one split"
        raise DataError(thing, "has a patient in both the training and the test split", hint)
    return train.of_patients(in_train), test.of_patients(in_test)


def _patient_names(archive: Any, key: str, thing: str, count: int) -> list[int] | list[str]:
    values = _array(archive, key, thing)
    if values.dtype.kind not in "iuU":
        raise DataError(f"{key} of {thing}", f"hold {values.dtype} values", "store integers or strings")
    if values.shape not in ((count,), (count, 1)):
        raise DataError(f"{key} of {thing}", "do not hold one value for each image", "store one per image")
    names = values.reshape(-1).tolist()
    if values.dtype.kind == "U":
        names = [name.strip() for name in names]  # the same patient must not become two
        if not all(names):
            raise DataError(f"{key} of {thing}", "hold an empty name", "name the patient of each image")
    return names
