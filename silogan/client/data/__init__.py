"""Reading records: one file and one line in `READERS` per source; its options are in `common/modality`."""

from dataclasses import replace

from silogan.client.data import (
    breast_cancer,
    digits,
    folder,
    images_with_masks,
    images_with_rows,
    medmnist,
    mnist,
    phantoms,
    table,
)
from silogan.client.data.patients import simulated_patients
from silogan.client.data.records import DataSet, Reader, Records
from silogan.common.errors import ConfigError, DataError
from silogan.common.modality import Data
from silogan.common.registry import lookup

__all__ = ["READERS", "DataSet", "Reader", "Records", "read"]

READERS: dict[str, Reader] = {
    "digits": digits.read,
    "mnist": mnist.read_mnist,
    "fashion-mnist": mnist.read_fashion_mnist,
    "medmnist": medmnist.read,
    "folder": folder.read,
    "images-with-rows": images_with_rows.read,
    "images-with-masks": images_with_masks.read,
    "phantoms": phantoms.read,
    "table": table.read,
    "breast-cancer": breast_cancer.read,
}


def read(data: Data, *, may_be_empty: bool = False) -> DataSet:
    """Reads the data set that the scenario names.

    Args:
        data: where it is, and how it is to be read.
        may_be_empty: whether a split may hold no record. A hospital continues without patients who withdrew, even
            without any them; a class without records is never an error.

    Raises:
        ConfigError: an option is missing, or does not fit the data.
        DataError: the data is missing, corrupt or not what the scenario says.
    """
    found = lookup(READERS, data.source, "data.source")(data)
    if not may_be_empty and not (len(found.train) and len(found.test)):
        hint = "give records for training and for testing, or change data.test_fraction"
        raise DataError(f"data of source '{data.source}'", "has too few records for two splits", hint)
    if data.simulated_per_patient == 1:
        return found
    if found.train.patients is not None:
        problem = f"is {data.simulated_per_patient}, but the data says whose each record is"
        raise ConfigError(f"data.{data.simulates}", problem, "remove it")
    train, test = (
        replace(part, patients=simulated_patients(part.labels, data.simulated_per_patient))
        for part in (found.train, found.test)
    )
    return replace(found, train=train, test=test)
