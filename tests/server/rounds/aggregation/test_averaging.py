"""Only what fits is averaged, whatever a site sends, and the average is the average."""

import io
import math
from pathlib import Path
from random import Random

import numpy as np
import pytest
import torch
from flwr.app import Array, ArrayRecord
from hypothesis import given
from hypothesis import strategies as st

from common.errors import FederationError
from common.wire.messages import Weights, pack
from server.rounds.aggregation.averaging import WeightedMean, checked_weights, distance, moving_average

REFERENCE: Weights = {"generator.w": torch.zeros(2, 3), "discriminator.b": torch.ones(4)}
FLOATS = st.floats(-1e6, 1e6, width=32)


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


def mean(values: list[float], weights: list[float]) -> torch.Tensor:
    running = WeightedMean({"w": torch.zeros(1)})
    for value, weight in zip(values, weights, strict=True):
        running.add({"w": torch.tensor([value])}, weight)
    return running.value()["w"]


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
    with pytest.raises(FederationError, match="has other weights than were asked for"):
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

    monkeypatch.setattr("server.rounds.aggregation.averaging.unpack", fail)
    arrays = {name: Array(tensor.numpy()) for name, tensor in REFERENCE.items()}
    arrays["generator.w"] = Array(dtype="float32", shape=(2, 3), stype="numpy.ndarray", data=bytes(10**6))
    with pytest.raises(FederationError, match="has another shape"):
        check(ArrayRecord(arrays))


def test_the_mean_is_weighted() -> None:
    """(1 · 10 + 3 · 20 + 6 · 40) / 10 = 31."""
    running = WeightedMean(REFERENCE)
    for weight, value in ((1.0, 10.0), (3.0, 20.0), (6.0, 40.0)):
        running.add({name: torch.full_like(tensor, value) for name, tensor in REFERENCE.items()}, weight)
    for name, tensor in running.value().items():
        assert tensor.dtype == torch.float32
        assert torch.equal(tensor, torch.full_like(REFERENCE[name], 31.0))


def test_the_mean_leaves_its_reference_alone() -> None:
    reference = {"w": torch.tensor([5.0])}
    running = WeightedMean(reference)
    running.add({"w": torch.tensor([1.0])}, 2.0)
    assert torch.equal(running.value()["w"], torch.tensor([1.0]))
    assert torch.equal(reference["w"], torch.tensor([5.0]))


def test_the_sum_is_kept_in_double_precision() -> None:
    """In float32 10⁸ + 1 is 10⁸."""
    assert mean([1e8, 1.0, -1e8, 3.0], [1.0] * 4).item() == 1.0


@given(st.lists(FLOATS, min_size=1, max_size=20), st.data())
def test_the_mean_is_that_of_the_definition(values: list[float], data: st.DataObject) -> None:
    weights = data.draw(st.lists(st.floats(1, 1e6), min_size=len(values), max_size=len(values)))
    exact = math.fsum(w * x for w, x in zip(weights, values, strict=True)) / math.fsum(weights)
    assert mean(values, weights).item() == pytest.approx(exact, rel=1e-6, abs=1e-6)
    assert min(values) - 1e-6 <= mean(values, weights).item() <= max(values) + 1e-6


@given(st.lists(FLOATS, min_size=1, max_size=20), st.randoms(use_true_random=False))
def test_the_mean_does_not_depend_on_the_order(values: list[float], random: Random) -> None:
    shuffled = list(values)
    random.shuffle(shuffled)
    uniform = [1.0] * len(values)
    assert mean(shuffled, uniform).item() == pytest.approx(mean(values, uniform).item(), rel=1e-6, abs=1e-6)


def test_the_moving_average_is_that_of_its_formula() -> None:
    old, new = {"w": torch.tensor([1.0, 10.0])}, {"w": torch.tensor([2.0, -10.0]), "other": torch.ones(1)}
    assert torch.allclose(moving_average(old, new, 0.75)["w"], torch.tensor([1.25, 5.0]))
    assert torch.equal(moving_average(old, new, 0.0)["w"], new["w"])
    assert moving_average(old, new, 0.5).keys() == {"w"}


def test_the_distance_goes_over_all_weights() -> None:
    a = {"v": torch.tensor([1.0, 2.0]), "w": torch.zeros(2, 2)}
    b = {"v": torch.tensor([1.0, 5.0]), "w": torch.full((2, 2), 2.0)}
    assert distance(a, b) == distance(b, a) == 5.0
    assert distance(a, a) == 0.0
