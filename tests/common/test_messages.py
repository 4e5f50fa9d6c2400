"""What leaves a site is exactly what the protocol says, and what arrives is trusted in nothing."""

from dataclasses import replace

import pytest
import torch
from flwr.app import ArrayRecord, ConfigRecord, MetricRecord, RecordDict
from flwr.common.serde import recorddict_from_proto, recorddict_to_proto
from flwr.proto.recorddict_pb2 import RecordDict as ProtoRecordDict

from common.errors import ERRORS_BY_EXIT_CODE, ConfigError, FederationError, PrivacyRefusal, SiloganError
from common.messages import Instruction, Reply, pack, refusal_from_record, refusal_record, unpack

WEIGHTS = {
    "generator.layers.0.weight": torch.arange(6.0).reshape(2, 3),
    "discriminator.layers.0.bias": torch.tensor([-0.0, 1e-40, 3e38]),
    "discriminator.scalar": torch.tensor(2.5, dtype=torch.float64),
}
INSTRUCTION = Instruction("study", "plan", 3)
REPLY = Reply("site-1", 3, 50, 0.75, 5, "ab" * 32)


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
        "header": (ConfigRecord, {"site", "round", "steps", "fake_accuracy", "d_steps_per_g_step", "ledger_head"}),
    }
    assert dict(record["header"]) == {
        "site": "site-1",
        "round": 3,
        "steps": 50,
        "fake_accuracy": 0.75,
        "d_steps_per_g_step": 5,
        "ledger_head": "ab" * 32,
    }


def test_a_refusal_holds_these_keys_and_no_others() -> None:
    record = over_the_wire(refusal_record("site-1", PrivacyRefusal("budget", "is spent", "stop")))
    assert {name: dict(part) for name, part in record.items()} == {
        "refusal": {"site": "site-1", "exit_code": 5, "error": ["budget", "is spent", "stop"]}
    }


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
    assert_same(weights, WEIGHTS)


@pytest.mark.parametrize("kind", [*ERRORS_BY_EXIT_CODE.values()])
def test_every_kind_of_refusal_arrives_as_what_it_was(kind: type[SiloganError]) -> None:
    error = kind("data.root", "is missing", "give a folder")
    refusal = refusal_from_record(over_the_wire(refusal_record("site-1", error)))
    assert refusal is not None
    site, received = refusal
    assert site == "site-1"
    assert type(received) is kind
    assert (received.thing, received.problem, received.mend) == (error.thing, error.problem, error.mend)


def test_a_reply_is_no_refusal() -> None:
    assert refusal_from_record(REPLY.to_record(WEIGHTS)) is None


def test_a_refusal_of_an_unknown_kind_is_the_federations() -> None:
    record = RecordDict({"refusal": ConfigRecord({"site": "s", "exit_code": 99, "error": ["a", "b", "c"]})})
    refusal = refusal_from_record(record)
    assert refusal is not None
    assert type(refusal[1]) is FederationError


@pytest.mark.parametrize("parts", [[1, 2, 3], [b"a", b"b", b"c"], [0.5, 0.5, 0.5], ["a\nb", "", "\x1b[2J\n"]])
def test_a_refusal_of_other_types_is_still_one_line(parts: list[object]) -> None:
    record = RecordDict({"refusal": ConfigRecord({"site": 1, "exit_code": 3, "error": parts})})
    refusal = refusal_from_record(record)
    assert refusal is not None
    assert refusal[0] == "1"
    assert isinstance(refusal[1], ConfigError)
    assert len(str(refusal[1]).splitlines()) == 1


GOOD = dict(REPLY.to_record({})["header"])


@pytest.mark.parametrize(
    "values",
    [
        {},
        {**GOOD, "accuracy_on_real": 0.9},
        {name: value for name, value in GOOD.items() if name != "steps"},
        {**GOOD, "site": b"site-1"},
        {**GOOD, "site": ["site-1"]},
        {**GOOD, "round": 3.0},
        {**GOOD, "steps": "50"},
        {**GOOD, "steps": True},
        {**GOOD, "fake_accuracy": 1},
        {**GOOD, "d_steps_per_g_step": float("nan")},
        {**GOOD, "ledger_head": b"\x00"},
    ],
)
def test_a_reply_with_other_fields_or_types_is_refused(values: dict[str, object]) -> None:
    with pytest.raises(FederationError, match="malformed header"):
        Reply.from_record(over_the_wire(header(**values)))


@pytest.mark.parametrize("wrong", [MetricRecord({"site": 1}), pack(WEIGHTS)])
def test_a_header_of_another_kind_is_refused(wrong: MetricRecord | ArrayRecord) -> None:
    record = REPLY.to_record(WEIGHTS)
    record["header"] = wrong
    with pytest.raises(FederationError, match="malformed header"):
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
