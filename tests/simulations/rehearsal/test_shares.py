"""A share of embedded data is read as it was written: a rehearsal's node registers what a simulated site has."""

from pathlib import Path

import numpy as np
import pytest
from torch import equal

from silogan.client.data import read
from silogan.common.config.scenario import parse_data
from silogan.common.modality import Data
from silogan.common.modality.image_options import Digits
from silogan.common.modality.table_options import BreastCancer
from silogan.common.reading import read_keys
from silogan.simulations.rehearsal.shares import write_share


@pytest.mark.parametrize("source", [Digits(), BreastCancer()], ids=lambda source: source.source)
def test_a_share_is_read_as_it_was_written(source: Data, tmp_path: Path) -> None:
    data, positions = read(source), np.arange(3, 400, 7)
    found = read(parse_data(read_keys(write_share(tmp_path / "share", data, positions), "data", "")), may_be_empty=True)
    share = data.train.select(positions)
    assert found.schema == data.schema
    assert equal(found.train.labels, share.labels)
    assert found.train.stored.keys() == share.stored.keys()
    for name, values in share.stored.items():
        assert equal(found.train.stored[name], values)
