"""Only weights that fit are combined, whatever a site sends."""

import io
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from flwr.app import Array, ArrayRecord

from silogan.common.errors import FederationError
from silogan.common.models.weights import Weights
from silogan.common.wire.messages import pack
from silogan.server.rounds.replies import checked_weights

REFERENCE: Weights = {"generator.w": torch.zeros(2, 3), "discriminator.b": torch.ones(4)}


def npy(values: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, values, allow_pickle=True)
    return buffer.getvalue()


def npy_claiming(shape: tuple[int, ...], descr: str = "<f4", body: bytes = bytes(24)) -> bytes:
    """An npy file whose header says what `body` may not hold."""
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": descr, "fortran_order": False, "shape": shape})
    return buffer.getvalue() + body


def sent(**changes: torch.Tensor) -> ArrayRecord:
    return pack({**REFERENCE, **{name.replace("_", "."): tensor for name, tensor in changes.items()}})


def check(record: ArrayRecord, max_update_norm: float = 10.0) -> Weights:
    return checked_weights(record, REFERENCE, max_update_norm)


def test_good_weights_pass_unchanged() -> None:
    changed = torch.tensor([[1.0, 2, 3], [4, 5, 6]])
    weights = check(sent(generator_w=changed))
    assert weights.keys() == REFERENCE.keys()
    assert torch.equal(weights["generator.w"], changed)
    assert torch.equal(weights["discriminator.b"], REFERENCE["discriminator.b"])


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_single_value_that_is_not_finite_is_refused(value: float) -> None:
    bad = torch.zeros(2, 3)
    bad[1, 2] = value
    with pytest.raises(FederationError, match=r"reply's generator\.w: is not finite"):
        check(sent(generator_w=bad), max_update_norm=math.inf)


@pytest.mark.parametrize(
    "bad",
    [
        torch.zeros(3, 2),
        torch.zeros(6),
        torch.zeros(2, 3, 1),
        torch.zeros(()),
        torch.zeros(2, 3, dtype=torch.float64),
    ],
    ids=lambda tensor: f"{tensor.dtype}{list(tensor.shape)}",
)
def test_another_shape_or_type_is_refused_by_name(bad: torch.Tensor) -> None:
    with pytest.raises(FederationError, match=r"reply's generator\.w: has another shape"):
        check(sent(generator_w=bad))


@pytest.mark.parametrize("dtype", [torch.float16, torch.int32, torch.complex64])
def test_a_type_that_no_network_has_is_not_even_unpacked(dtype: torch.dtype) -> None:
    with pytest.raises(FederationError, match="reply: cannot be unpacked"):
        check(sent(generator_w=torch.zeros(2, 3, dtype=dtype)))


@pytest.mark.parametrize(
    "weights",
    [
        {},
        {"generator.w": REFERENCE["generator.w"]},
        {**REFERENCE, "generator.extra": torch.zeros(1)},
        {"generator.w": REFERENCE["generator.w"], "discriminator.B": REFERENCE["discriminator.b"]},
    ],
    ids=["none", "missing", "extra", "renamed"],
)
def test_other_names_are_refused(weights: Weights) -> None:
    with pytest.raises(FederationError, match="does not have the requested weights"):
        check(pack(weights))


def test_the_update_may_be_as_long_as_allowed_and_no_longer() -> None:
    """Both tensors count: 6 · 2² + 4 · 2.5² = 7²."""
    record = sent(generator_w=torch.full((2, 3), 2.0), discriminator_b=torch.full((4,), 3.5))
    check(record, max_update_norm=7.0)
    with pytest.raises(FederationError, match=r"moves the weights by more than 6\.99"):
        check(record, max_update_norm=6.99)


def test_a_length_beyond_float32_is_refused() -> None:
    with pytest.raises(FederationError, match="moves the weights by more than 10;"):
        check(sent(generator_w=torch.full((2, 3), 3e38)))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"junk",
        npy(np.zeros((2, 3), np.float32))[:-1],
        npy(np.array([[{}, 1, "x"], [0, 0, 0]], dtype=object)),
        npy_claiming((2, 3), body=bytes(4)),
        npy_claiming((10**12,)),
        npy_claiming((10**6, 10**6)),
        npy_claiming((-2, 3)),
        npy_claiming((3, 2)),
        npy_claiming((6,)),
        npy_claiming((2, 3), "<f8", bytes(48)),
        npy_claiming((2, 3), "<i4"),
        npy_claiming((2, 3), "|S4"),
        npy_claiming((2, 3), "|O", bytes(48)),
        b"\x93NUMPY\x01\x00" + (1000).to_bytes(2, "little") + b"(" * 999 + b"\n",
        npy(np.zeros((2, 3), np.float32)) + bytes(2000),
        npy(np.zeros((2000, 3), np.float32)),
    ],
    ids=lambda data: f"{len(data)} bytes",
)
def test_hostile_bytes_are_refused(data: bytes) -> None:
    """The record says float32 [2, 3]; the bytes say something else."""
    arrays = {name: Array(tensor.numpy()) for name, tensor in REFERENCE.items()}
    arrays["generator.w"] = Array(dtype="float32", shape=(2, 3), stype="numpy.ndarray", data=data)
    with pytest.raises(FederationError) as caught:
        check(ArrayRecord(arrays))
    assert caught.value.hint == "the reply is left out of the average"


def test_a_pickle_is_never_run(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return open, (str(trap), "w")

    trap = tmp_path / "trap"
    data = npy(np.array([Bomb()], dtype=object))
    arrays = {name: Array(tensor.numpy()) for name, tensor in REFERENCE.items()}
    arrays["generator.w"] = Array(dtype="float32", shape=(2, 3), stype="numpy.ndarray", data=data)
    with pytest.raises(FederationError, match="cannot be unpacked"):
        check(ArrayRecord(arrays))
    assert not trap.exists()


def test_oversized_bytes_are_refused_before_they_are_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: object) -> Weights:
        raise AssertionError("unpacked")

    monkeypatch.setattr("silogan.server.rounds.replies.unpack", fail)
    arrays = {name: Array(tensor.numpy()) for name, tensor in REFERENCE.items()}
    arrays["generator.w"] = Array(dtype="float32", shape=(2, 3), stype="numpy.ndarray", data=bytes(10**6))
    with pytest.raises(FederationError, match="has another shape"):
        check(ArrayRecord(arrays))
