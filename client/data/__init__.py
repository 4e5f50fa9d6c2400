"""Reading images: one file a source, one line a source in `READERS`."""

from dataclasses import replace

from client.data import digits, folder, medmnist, mnist
from client.data.patients import simulated_patients
from client.data.records import ImageData, Images, Reader, to_unit_range
from common.config.scenario import Data
from common.errors import ConfigError, DataError
from common.registry import lookup

__all__ = ["READERS", "ImageData", "Images", "Reader", "read", "to_unit_range"]

READERS: dict[str, Reader] = {
    "digits": digits.read,
    "mnist": mnist.read_mnist,
    "fashion-mnist": mnist.read_fashion_mnist,
    "medmnist": medmnist.read,
    "folder": folder.read,
}


def read(data: Data, *, may_be_empty: bool = False) -> ImageData:
    """Reads the data set that the scenario names.

    Args:
        data: where it is, and how it is to be read.
        may_be_empty: whether a split may hold no image. A hospital goes on without patients who withdrew, be it all of
            them; a class without images is never an error.

    Raises:
        ConfigError: the source is unknown, or a key does not fit it.
        DataError: the data is missing, corrupt or not what the scenario says.
    """
    reader = lookup(READERS, data.source, "data.source")
    if data.patients is not None and reader is not folder.read:
        raise ConfigError("data.patients", f"does not fit source '{data.source}'", "remove it")
    found = reader(data)
    if not may_be_empty and not (len(found.train) and len(found.test)):
        hint = "give images for training and for testing, or change data.test_fraction"
        raise DataError(f"data of source '{data.source}'", "has too few images for two splits", hint)
    if data.images_per_patient == 1:
        return found
    if found.train.patients is not None:
        problem = f"is {data.images_per_patient}, but the data says whose each image is"
        raise ConfigError("data.images_per_patient", problem, "remove it")
    train, test = (
        replace(part, patients=simulated_patients(part.labels, data.images_per_patient))
        for part in (found.train, found.test)
    )
    return replace(found, train=train, test=test)
