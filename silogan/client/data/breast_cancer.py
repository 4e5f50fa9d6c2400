"""The Wisconsin breast cancer data that scikit-learn carries: 569 patients, no file and no network needed.

Source: W. Wolberg, O. Mangasarian, N. Street and W. Street (1993), Breast Cancer Wisconsin (Diagnostic), UCI Machine
Learning Repository.
"""

import numpy as np
import torch

from silogan.client.data.records import DataSet, Records
from silogan.client.data.settings import own_classes
from silogan.common.errors import ConfigError
from silogan.common.modality.breast_cancer import CLASSES
from silogan.common.modality.table_options import BreastCancer

_SPLIT_SEED = 20240601


def read(data: BreastCancer) -> DataSet:
    """The rows, split by a fixed seed with the same share of each class in both splits.

    Raises:
        ConfigError: `data.test_fraction` leaves a split without some class, or `data.classes` names other classes.
    """
    # Imported here, for it takes seconds that readers of other sources need not wait.
    from sklearn.datasets import load_breast_cancer  # noqa: PLC0415
    from sklearn.model_selection import train_test_split  # noqa: PLC0415

    own_classes(data, CLASSES)
    schema = data.declared_schema()
    values, benign = load_breast_cancer(return_X_y=True)
    labels = torch.from_numpy(1 - benign).long()
    columns = dict(zip((column.name for column in schema.columns), torch.from_numpy(values).unbind(1), strict=True))
    everything = Records(columns, labels)
    try:
        parts = train_test_split(
            np.arange(len(labels)), test_size=data.test_fraction, stratify=benign, random_state=_SPLIT_SEED
        )
    except ValueError:
        problem = f"{data.test_fraction} leaves a split without some class"
        raise ConfigError("data.test_fraction", problem, "choose a value nearer to 0.2") from None
    train, test = (everything.select(np.sort(part)) for part in parts)
    return DataSet(schema, train, test)
