"""The handwritten digits that scikit-learn carries: 8 x 8 grey, ten classes, no file and no network needed.

Source: E. Alpaydin and C. Kaynak (1998), Optical Recognition of Handwritten Digits, UCI Machine Learning Repository.
"""

import numpy as np

from silogan.client.data.arrays import assemble, images_from_arrays
from silogan.client.data.records import DataSet
from silogan.client.data.settings import own_classes
from silogan.common.errors import ConfigError
from silogan.common.modality.image_options import Digits

_CLASSES = tuple(str(digit) for digit in range(10))
_LARGEST = 16.0
_SPLIT_SEED = 20240601


def read(data: Digits) -> DataSet:
    """The digits, split by a fixed seed with the same share of each class in both splits.

    Raises:
        ConfigError: `data.test_fraction` leaves a split without some class, or `data.classes` names other classes.
    """
    # Imported here, for it takes seconds that readers of other sources need not wait.
    from sklearn.datasets import load_digits  # noqa: PLC0415
    from sklearn.model_selection import train_test_split  # noqa: PLC0415

    classes = own_classes(data, _CLASSES)
    values, labels = map(np.asarray, load_digits(return_X_y=True))
    pixels = np.rint(values.reshape(-1, 8, 8) * (255.0 / _LARGEST)).astype(np.uint8)
    everything = np.arange(len(labels))
    try:
        parts = train_test_split(everything, test_size=data.test_fraction, stratify=labels, random_state=_SPLIT_SEED)
    except ValueError:
        problem = f"{data.test_fraction} leaves a split without some class"
        raise ConfigError("data.test_fraction", problem, "choose a value nearer to 0.2") from None
    train, test = (
        images_from_arrays("digits", pixels[part], labels[part], len(classes), data)
        for part in (np.sort(part) for part in parts)
    )
    return assemble("digits", train, test, classes)
