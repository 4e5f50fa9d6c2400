import numpy as np
import pytest
import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict
from hypothesis import given
from hypothesis import strategies as st

from silogan.common.errors import FederationError
from silogan.common.wire.envelope import fold, unfold
from silogan.common.wire.messages import pack, unpack

SHAPES = st.lists(st.lists(st.integers(0, 4), max_size=3), min_size=1, max_size=4)


@given(SHAPES, st.integers(0, 2**32 - 1))
def test_what_is_folded_comes_back(shapes: list[list[int]], seed: int) -> None:
    drawn = torch.Generator().manual_seed(seed)
    weights = {f"w{index}": torch.randn(shape, generator=drawn) for index, shape in enumerate(shapes)}
    header = ConfigRecord({"round": 3})
    folded = fold(RecordDict({"weights": pack(weights), "header": header}))
    assert len(folded["weights"]) == 1
    content = unfold(folded)
    assert content["header"] == header
    found = unpack(content["weights"])
    assert found.keys() == weights.keys()
    assert all(found[name].equal(tensor) for name, tensor in weights.items())


def test_what_was_not_folded_stays() -> None:
    content = RecordDict({"weights": pack({"a": torch.ones(2), "b": torch.zeros(3)})})
    assert unfold(content)["weights"] == content["weights"]
    assert unfold(RecordDict({"weights": pack({"a": torch.ones(2)})}))["weights"] == pack({"a": torch.ones(2)})


@pytest.mark.parametrize("content", [b"\xff" * 20, b"\x0a\x05ab"], ids=repr)
def test_hostile_bytes_are_one_error(content: bytes) -> None:
    record = ArrayRecord({"folded": Array(np.frombuffer(content, np.uint8))})
    with pytest.raises(FederationError, match="cannot be unpacked"):
        unfold(RecordDict({"weights": record}))


def test_another_header_than_declared_is_refused() -> None:
    array = Array(np.zeros(3, np.uint8))
    array.data = b"no array at all"
    with pytest.raises(FederationError, match="another size than declared"):
        unfold(RecordDict({"weights": ArrayRecord({"folded": array})}))
