"""MNIST and Fashion-MNIST in torchvision's layout: 28 x 28 grey, ten classes, 60 000 and 10 000 images.

Sources: Y. LeCun, L. Bottou, Y. Bengio and P. Haffner (1998), Gradient-based learning applied to document recognition;
H. Xiao, K. Rasul and R. Vollgraf (2017), Fashion-MNIST.
"""

import pickle
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING

from silogan.client.data.arrays import assemble, images_from_arrays
from silogan.client.data.records import DataSet, Records
from silogan.client.data.settings import own_classes, required_root
from silogan.common.errors import DataError
from silogan.common.modality.image_options import Mnist

if TYPE_CHECKING:
    from torchvision.datasets import MNIST

# torchvision is imported by the readers, for it takes seconds that readers of other sources need not wait.

_DIGITS = tuple(str(digit) for digit in range(10))
_FILES = tuple(f"{split}-{kind}-ubyte" for split in ("train", "t10k") for kind in ("images-idx3", "labels-idx1"))
# All that torchvision raises on a download that fails or a file that is truncated or is something else.
_FAULTS = (
    *(OSError, RuntimeError, ValueError, TypeError, AssertionError, KeyError, EOFError, AttributeError),
    *(HTTPException, pickle.UnpicklingError),
)


def read_mnist(data: Mnist) -> DataSet:
    """MNIST from `data.root`/MNIST/raw; see `Reader` for errors."""
    from torchvision.datasets import MNIST  # noqa: PLC0415

    return _read(MNIST, _DIGITS, data)


def read_fashion_mnist(data: Mnist) -> DataSet:
    """Fashion-MNIST from `data.root`/FashionMNIST/raw; see `Reader` for errors."""
    from torchvision.datasets import FashionMNIST  # noqa: PLC0415

    return _read(FashionMNIST, tuple(FashionMNIST.classes), data)


def _read(kind: "type[MNIST]", names: tuple[str, ...], data: Mnist) -> DataSet:
    root = required_root(data, f"the folder that holds (or will hold) {kind.__name__}/raw")
    classes = own_classes(data, names)
    raw = root / kind.__name__ / "raw"
    thing = f"{kind.__name__} in '{root}'"
    if not data.download and not all((raw / name).is_file() for name in _FILES):
        hint = f"add --set data.download=true or put the files {', '.join(_FILES)} into '{raw}'"
        if root.name == "raw" and all((root / name).is_file() for name in _FILES):
            hint = f"give the folder two above: --set data.root={root.parent.parent}"
        raise DataError(thing, "is missing or incomplete", hint)
    train, test = (_split(kind, root, part, thing, len(classes), data) for part in (True, False))
    return assemble(thing, train, test, classes)


def _split(kind: "type[MNIST]", root: Path, train: bool, thing: str, num_classes: int, data: Mnist) -> Records:
    try:
        dataset = kind(root, train=train, download=data.download)
        pixels, labels = dataset.data.numpy(), dataset.targets.numpy()
    except _FAULTS:
        problem = "cannot be downloaded or is corrupt" if data.download else "is corrupt"
        hint = f"delete '{root / kind.__name__}' and fetch it again"
        raise DataError(thing, problem, f"check the network, or {hint}" if data.download else hint) from None
    return images_from_arrays(f"{thing} ({'train' if train else 'test'})", pixels, labels, num_classes, data)
