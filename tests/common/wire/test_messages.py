"""What leaves a site is exactly what the protocol says, and what arrives is trusted in nothing."""

from dataclasses import replace

import pytest
import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict
from flwr.common.serde import recorddict_from_proto, recorddict_to_proto
from flwr.proto.recorddict_pb2 import RecordDict as ProtoRecordDict

from silogan.common.errors import Code, FederationError
from silogan.common.wire.messages import Instruction, Reply, pack, unpack

WEIGHTS = {
    "generator.layers.0.weight": torch.arange(6.0).reshape(2, 3),
    "discriminator.layers.0.bias": torch.tensor([-0.0, 1e-40, 3e38]),
    "discriminator.scalar": torch.tensor(2.5, dtype=torch.float64),
}
INSTRUCTION = Instruction("5a" * 32, "1b" * 32, "training", 3)
REPLY = Reply("site-1", "training", 3, "ab" * 32)


def over_the_wire(record: RecordDict) -> RecordDict:
    return recorddict_from_proto(ProtoRecordDict.FromString(recorddict_to_proto(record).SerializeToString()))


def header(**values: object) -> RecordDict:
    return RecordDict({"weights": pack(WEIGHTS), "header": ConfigRecord(values)})  # pyright: ignore[reportArgumentType]


def assert_same(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert found[name].dtype == tensor.dtype
        assert found[name].shape == tensor.shape
        assert found[name].numpy().tobytes() == tensor.numpy().tobytes()


def test_a_reply_holds_these_keys_and_no_others() -> None:
    """A figure on real data that was added to the reply would show up here."""
    record = over_the_wire(REPLY.to_record(WEIGHTS))
    assert {name: (type(part), set(part)) for name, part in record.items()} == {
        "weights": (ArrayRecord, set(WEIGHTS)),
        "header": (ConfigRecord, {"site", "phase", "round", "ledger_head"}),
    }
    assert dict(record["header"]) == {"site": "site-1", "phase": "training", "round": 3, "ledger_head": "ab" * 32}


def test_a_reply_arrives_as_it_was_sent() -> None:
    reply, weights = Reply.from_record(over_the_wire(REPLY.to_record(WEIGHTS)))
    assert reply == REPLY
    assert isinstance(weights, ArrayRecord)
    assert_same(unpack(weights), WEIGHTS)


def test_an_instruction_arrives_as_it_was_sent_and_shares_its_weights() -> None:
    packed = pack(WEIGHTS)
    record = INSTRUCTION.to_record(packed)
    assert record["weights"] is packed
    instruction, weights = Instruction.from_record(over_the_wire(record))
    assert instruction == INSTRUCTION
    assert_same(unpack(weights), WEIGHTS)


GOOD = dict(REPLY.to_record({})["header"])


@pytest.mark.parametrize(
    "values",
    [
        {},
        {**GOOD, "accuracy_on_real": 0.9},
        {**GOOD, "steps": 50},
        {**GOOD, "fake_accuracy": 0.5},
        {name: value for name, value in GOOD.items() if name != "round"},
        {**GOOD, "site": b"site-1"},
        {**GOOD, "site": ["site-1"]},
        {**GOOD, "round": 3.0},
        {**GOOD, "round": "3"},
        {**GOOD, "round": True},
        {**GOOD, "ledger_head": b"\x00"},
    ],
)
def test_a_reply_with_other_fields_or_types_is_refused(values: dict[str, object]) -> None:
    with pytest.raises(FederationError, match="malformed header"):
        Reply.from_record(over_the_wire(header(**values)))


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"site": ""}, "has no valid site name"),
        ({"site": "x" * 256}, "has no valid site name"),
        ({"site": "\x1b[2Jsite-1"}, "has no valid site name"),
        ({"site": "site\n1"}, "has no valid site name"),
        ({"round": -1}, "has no valid round"),
        ({"round": 10**6 + 1}, "has no valid round"),
        ({"ledger_head": "AB" * 32}, "has no valid ledger head"),
        ({"ledger_head": "ab" * 33}, "has no valid ledger head"),
        ({"ledger_head": "ab" * 32 + "\n"}, "has no valid ledger head"),
    ],
)
def test_a_reply_with_values_out_of_range_is_refused(changes: dict[str, object], why: str) -> None:
    with pytest.raises(FederationError, match=why) as caught:
        Reply.from_record(over_the_wire(header(**{**GOOD, **changes})))
    assert caught.value.code is Code.MESSAGE


ASKED = dict(INSTRUCTION.to_record(ArrayRecord())["header"])


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"study_id": ""}, "has no valid study"),
        ({"study_id": "study"}, "has no valid study"),
        ({"plan_id": "../" * 21 + "x"}, "has no valid study"),
        ({"plan_id": "F" * 64}, "has no valid study"),
        ({"round": -1}, "has no valid round"),
        ({"round": 10**6 + 1}, "has no valid round"),
        ({"round": 1.0}, "malformed header"),
        ({"round": True}, "malformed header"),
        ({"known_head": "x"}, "has no valid ledger head"),
        ({"lr_factor": 0.0}, "has no valid learning rate"),
        ({"lr_factor": -1.0}, "has no valid learning rate"),
        ({"lr_factor": 1.5}, "has no valid learning rate"),
        ({"lr_factor": float("nan")}, "has no valid learning rate"),
        ({"lr_factor": float("inf")}, "has no valid learning rate"),
        ({"lr_factor": 1}, "malformed header"),
        ({"fresh": 1}, "malformed header"),
        ({"seed": 7}, "malformed header"),
    ],
)
def test_an_instruction_with_values_out_of_range_is_refused(changes: dict[str, object], why: str) -> None:
    with pytest.raises(FederationError, match=why) as caught:
        Instruction.from_record(over_the_wire(header(**{**ASKED, **changes})))
    assert caught.value.code is Code.MESSAGE


def test_a_message_with_another_part_is_refused() -> None:
    record = REPLY.to_record(WEIGHTS)
    record["metrics"] = MetricRecord({"accuracy_on_real": 0.9})
    with pytest.raises(FederationError, match="more than header and weights"):
        Reply.from_record(record)


@pytest.mark.parametrize("wrong", [MetricRecord({"site": 1}), pack(WEIGHTS)])
def test_a_header_of_another_kind_is_refused(wrong: MetricRecord | ArrayRecord) -> None:
    record = REPLY.to_record(WEIGHTS)
    record["header"] = wrong
    with pytest.raises(FederationError, match="holds no header"):
        Reply.from_record(record)


@pytest.mark.parametrize("missing", ["weights", "header"])
def test_a_reply_without_a_part_is_refused(missing: str) -> None:
    record = REPLY.to_record(WEIGHTS)
    del record[missing]
    with pytest.raises(FederationError, match=f"holds no {missing}"):
        Reply.from_record(record)


def test_weights_that_are_no_arrays_are_refused() -> None:
    record = REPLY.to_record(WEIGHTS)
    record["weights"] = ConfigRecord({})
    with pytest.raises(FederationError, match="holds no weights"):
        Reply.from_record(record)


def test_an_instruction_with_another_header_is_refused() -> None:
    record = INSTRUCTION.to_record(pack(WEIGHTS))
    record["header"] = replace(REPLY, site="x").to_record({})["header"]
    with pytest.raises(FederationError, match="malformed header"):
        Instruction.from_record(record)


# --- arrays ----------------------------------------------------------------------------------------------------------

CONTENT = pack({"a": torch.zeros(2, 3)})["a"].data


@pytest.mark.parametrize(
    "array",
    [
        Array("float16", (2, 3), "numpy.ndarray", CONTENT),
        Array("object", (2, 3), "numpy.ndarray", CONTENT),
        Array("<f4", (2, 3), "numpy.ndarray", CONTENT),
        Array("i4,(", (2, 3), "numpy.ndarray", CONTENT),
        Array("float32", (2, 3), "pickle", CONTENT),
        Array("float32", (3, 2), "numpy.ndarray", CONTENT),
        Array("float32", (-2, -3), "numpy.ndarray", CONTENT),
        Array("float32", (2**40, 2**40), "numpy.ndarray", CONTENT),
        Array("float32", (0, 2**62), "numpy.ndarray", CONTENT),
        Array("float32", (1,) * 100_000, "numpy.ndarray", CONTENT),
        Array("float32", (2, 3), "numpy.ndarray", CONTENT[:-1]),
        Array("float32", (2, 3), "numpy.ndarray", CONTENT + b"\0"),
        Array("float32", (2, 3), "numpy.ndarray", b""),
        Array("float64", (3,), "numpy.ndarray", CONTENT),
    ],
)
def test_an_array_that_is_not_what_it_declares_is_refused(array: Array) -> None:
    with pytest.raises(FederationError, match="holds an array of") as caught:
        unpack(ArrayRecord({"a": array}))
    assert caught.value.code is Code.MESSAGE


def test_thousands_of_arrays_are_refused() -> None:
    with pytest.raises(FederationError, match="too many arrays"):
        unpack(ArrayRecord({str(number): Array("float32", (2, 3), "numpy.ndarray", CONTENT) for number in range(5000)}))


def test_an_array_without_values_is_one() -> None:
    assert unpack(pack({"a": torch.zeros(0, 3)}))["a"].shape == (0, 3)
