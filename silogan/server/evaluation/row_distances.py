"""Distances between table rows, column by column, and code set by code set."""

import numpy as np
from numpy.typing import NDArray

from silogan.common.modality.table import Category, Column
from silogan.server.evaluation.table_rows import Bools, Floats


def per_column(column: Column, first: Floats, second: Floats) -> NDArray[np.float32]:
    """Distances float32[N, M] in [0, 1] of values float64[N] and float64[M] of a column.

    0 and 1 for equal and other values of a category; of numbers the difference as a part of the public range; 1 where
    one value is missing, 0 where both are.

    Source: J. C. Gower (1971), A general coefficient of similarity and some of its properties, Biometrics 27(4).
    """
    a, b = first[:, None].astype(np.float32), second[None].astype(np.float32)
    if isinstance(column, Category):
        found = (a != b).astype(np.float32)
    else:
        found = np.minimum(np.abs(a - b) / np.float32(column.high - column.low), 1)
    absent = np.isnan(first), np.isnan(second)
    if absent[0].any() or absent[1].any():
        found[absent[0][:, None] | absent[1]] = 1
        found[np.ix_(*absent)] = 0
    return found


def per_code_set(first: Bools, second: Bools) -> NDArray[np.float32]:
    """Distances float32[N, M] in [0, 1] of sets of codes bool[N, codes] and bool[M, codes]; 0 of two empty ones.

    Source: P. Jaccard (1912), The distribution of the flora in the alpine zone, New Phytologist 11(2).
    """
    common = first.astype(np.float32) @ second.T.astype(np.float32)
    either = first.sum(axis=1, dtype=np.float32)[:, None] + second.sum(axis=1, dtype=np.float32) - common
    return np.where(either > 0, 1 - common / np.maximum(either, 1), 0).astype(np.float32)
