"""Reading images: one file a source, one line a source in `READERS`."""

from client.data import digits, folder, medmnist, mnist
from client.data.records import ImageData, Images, Reader, to_unit_range
from common.config import Data
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
    return lookup(READERS, data.source, "data.source")(data)
