"""Reads the made-up ward: the ill are older, with more sugar and pressure; two rows a patient."""

import torch

from silogan.client.data import DataSet, Records
from tests.modality.schema import RANGES, Ward


def read(data: Ward) -> DataSet:
    def part(count: int, seed: int) -> Records:
        rng = torch.Generator().manual_seed(seed)
        labels = torch.arange(count) % 2
        stored = {
            name: (low + (high - low) * (0.35 + 0.3 * labels + 0.08 * torch.randn(count, generator=rng))).clamp(
                low, high
            )
            for name, (low, high) in RANGES.items()
        }
        return Records(stored, labels).of_patients([number // 4 * 2 + number % 2 for number in range(count)])

    return DataSet(data.declared_schema(), part(data.rows, 1), part(data.rows // 4, 2))
