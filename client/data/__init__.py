"""Reading images: one file a source, one line a source in `READERS`."""

from dataclasses import replace

from client.data import digits, folder, medmnist, mnist
from client.data.patients import simulated_patients
from client.data.records import ImageData, Images, Reader, to_unit_range
from common.config import Data
from common.errors import ConfigError
from common.registry import lookup

__all__ = ["READERS", "ImageData", "Images", "Reader", "read", "to_unit_range"]

READERS: dict[str, Reader] = {
    "digits": digits.read,
    "mnist": mnist.read_mnist,
    "fashion-mnist": mnist.read_fashion_mnist,
    "medmnist": medmnist.read,
    "folder": folder.read,
}


def read(data: Data) -> ImageData:
    """Reads the data set that the scenario names.

    Raises:
        ConfigError: the source is unknown, or a key does not fit it.
        DataError: the data is missing, corrupt or not what the scenario says.
    """
    reader = lookup(READERS, data.source, "data.source")
    if data.patients is not None and reader is not folder.read:
        raise ConfigError("data.patients", f"does not fit source '{data.source}'", "remove it")
    found = reader(data)
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
