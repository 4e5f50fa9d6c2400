"""MNIST and Fashion-MNIST in torchvision's layout: 28 x 28 grey, ten classes, 60 000 and 10 000 images.

The files may be compressed (.gz), as they are published.

Sources: Y. LeCun, L. Bottou, Y. Bengio and P. Haffner (1998), Gradient-based learning applied to document recognition;
H. Xiao, K. Rasul and R. Vollgraf (2017), Fashion-MNIST.
"""

import zlib
from http.client import HTTPException
from pathlib import Path

from silogan.client.data.arrays import assemble, images_from_arrays
from silogan.client.data.idx import read_idx
from silogan.client.data.records import DataSet
from silogan.client.data.settings import own_classes, required_root
from silogan.common.errors import DataError
from silogan.common.modality.image_options import Mnist

_DIGITS = tuple(str(digit) for digit in range(10))
_CLOTHES = (
    *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
    *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
)
_FILES = tuple(f"{split}-{kind}-ubyte" for split in ("train", "t10k") for kind in ("images-idx3", "labels-idx1"))
# All that torchvision raises on a download that fails, and reading on a file that is truncated or is something else.
_FAULTS = (OSError, RuntimeError, ValueError, TypeError, AssertionError, EOFError, HTTPException, zlib.error)


def read_mnist(data: Mnist) -> DataSet:
    """MNIST from `data.root`/MNIST/raw; see `Reader` for errors."""
    return _read("MNIST", _DIGITS, data)


def read_fashion_mnist(data: Mnist) -> DataSet:
    """Fashion-MNIST from `data.root`/FashionMNIST/raw; see `Reader` for errors."""
    return _read("FashionMNIST", _CLOTHES, data)


def _read(name: str, names: tuple[str, ...], data: Mnist) -> DataSet:
    root = required_root(data, f"the folder that holds (or will hold) {name}/raw")
    classes = own_classes(data, names)
    raw = root / name / "raw"
    thing = f"{name} in '{root}'"
    try:
        if data.download and _files(raw) is None:
            _download(name, root)
        files = _files(raw)
        if files is None:
            hint = f"add --set data.download=true or put the files {', '.join(_FILES)} (or .gz) into '{raw}'"
            if root.name == "raw" and _files(root) is not None:
                hint = f"give the folder two above: --set data.root={root.parent.parent}"
            raise DataError(thing, "is missing or incomplete", hint)
        arrays = [read_idx(path, dimensions) for path, dimensions in zip(files, (3, 1, 3, 1), strict=True)]
    except _FAULTS:
        problem = "cannot be downloaded or is corrupt" if data.download else "is corrupt"
        hint = f"delete '{root / name}' and fetch it again"
        raise DataError(thing, problem, f"check the network, or {hint}" if data.download else hint) from None
    train, test = (
        images_from_arrays(f"{thing} ({part})", pixels, labels, len(classes), data)
        for part, pixels, labels in (("train", *arrays[:2]), ("test", *arrays[2:]))
    )
    return assemble(thing, train, test, classes)


def _files(raw: Path) -> list[Path] | None:
    """The four files, each as it is or compressed; None if one is missing."""
    found = [next((one for one in (raw / name, raw / f"{name}.gz") if one.is_file()), None) for name in _FILES]
    return [path for path in found if path is not None] if None not in found else None


def _download(name: str, root: Path) -> None:
    """Lets torchvision, which takes seconds to import, fetch the files."""
    from torchvision import datasets  # noqa: PLC0415

    {"MNIST": datasets.MNIST, "FashionMNIST": datasets.FashionMNIST}[name](root, download=True)
