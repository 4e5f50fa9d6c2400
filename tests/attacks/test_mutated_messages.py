"""Whatever arrives instead of an instruction or a reply: it is taken for just what it says, or refused by a code.

Hypothesis changes valid messages: header values of other types, out of range, not finite; fields and parts that are
missing or too many; arrays of other names, types, shapes and bytes; thousands of them. Each is given to a real node, or
to the server's `RoundReplies`. On 97d0510 a type such as `i4,(` was a SyntaxError, and `lr_factor` of NaN a text.
"""

import math
import resource
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MessageType, MetricRecord, RecordDict
from flwr.proto.node_pb2 import NodeInfo
from flwr.supercore.task_identity import TaskIdentity
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from silogan.client.node.hospital import Hospital
from silogan.common.errors import Code, FederationError
from silogan.common.wire.envelope import fold, unfold
from silogan.common.wire.messages import Instruction, Reply, Weights, pack, unpack
from silogan.common.wire.refusals import public_error, refusal_from_record, refusal_record
from silogan.server.rounds.members import Members
from silogan.server.rounds.quarantine import ProtocolViolation, Quarantine
from silogan.server.rounds.replies import RoundReplies
from tests.attacks.nodes import Ward, make_ward, weights_for

MOST_SECONDS, MOST_BYTES = 2.0, 200 * 2**20
WORDS = "secret words of the sender"

Mutation = Callable[[RecordDict], None]


def examples(count: int) -> settings:
    """So many; the fixtures of a function hold nothing that one example leaves to the next."""
    return settings(
        max_examples=count, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
    )


@contextmanager
def within_limits() -> Generator[None]:
    """No example takes more than 2 s of this process, or 200 MB."""
    began, peak = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    assert time.process_time() - began < MOST_SECONDS
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak) * 1024 < MOST_BYTES


# --- mutations -------------------------------------------------------------------------------------------------------

NUMBERS: list[Any] = [0, 1, -1, 2, 5, 10**6, 10**6 + 1, 2**63 - 1, -(2**63), 0.0, 0.5, 1.0, 1.5, -1.0, 5e-324, 1e308]
NUMBERS += [math.nan, math.inf, -math.inf, True, False]
TEXTS: list[Any] = ["", WORDS, "0" * 64, "F" * 64, "0" * 65, "../" * 30, "site-1", "site-2", "bergen", "budget"]
TEXTS += [
    "\x1b[2J\x00\n",
    "\ud800",
    "ä" * 300,
    "x" * 100_000,
    "[red]",
    b"",
    b"\xff" * 64,
    [],
    [1, 2],
    ["a"],
    [math.nan],
]
values = st.sampled_from([*NUMBERS, *TEXTS]) | st.integers(-(2**63), 2**63 - 1) | st.floats() | st.text(max_size=70)
dtypes = st.sampled_from(["i4,(", "object", "O", "float16", "float64", "<f4", ">f4", "V8", "U4", "f4,f4", "(2,)f4", ""])
shapes = st.lists(st.sampled_from([-1, 0, 1, 2, 3, 7, 2**31, 2**62]), max_size=4).map(tuple)
THOUSANDS = pack({f"generator.{number}": torch.ones(1) for number in range(5000)})
BYTES = [b"", b"\x93NUMPY", b"\x93NUMPY\x01\x00\xff\xff", b"\x80\x04N.", bytes(10_000_000)]


@st.composite
def header_mutations(draw: st.DrawFn, part: str, keys: tuple[str, ...]) -> Mutation:
    """One change of the header (or of a refusal, which is one)."""
    kind = draw(st.sampled_from(["value", "value", "value", "drop", "add", "other", "gone"]))
    key, value = draw(st.sampled_from(keys)), draw(values)

    def mutate(record: RecordDict) -> None:
        header = record.get(part)
        if kind == "gone":
            record.pop(part, None)
        elif kind == "other":
            record[part] = MetricRecord({"round": 1}) if key == keys[0] else ArrayRecord()
        elif isinstance(header, ConfigRecord):
            if kind == "drop":
                header.pop(key, None)
            else:
                header["seed" if kind == "add" else key] = value

    return mutate


@st.composite
def array_mutations(draw: st.DrawFn) -> Mutation:
    """One change of the arrays."""
    kinds = ["dtype", "shape", "stype", "bytes", "cut", "longer", "flip", "drop", "rename", "add", "swap"]
    kind = draw(st.sampled_from([*kinds, "values", "values", "thousands", "none", "other", "gone", "more"]))
    place, dtype, shape = draw(st.integers(0, 100)), draw(dtypes), draw(shapes)
    content, name = (
        draw(st.sampled_from(BYTES)),
        draw(st.sampled_from(["", "x", "generator.x", "discriminator", WORDS])),
    )
    value = draw(st.sampled_from([math.nan, math.inf, -math.inf, 3e38, -3e38, 1e30, 1e-45, 0.0]))

    def mutate(record: RecordDict) -> None:
        arrays = record.get("weights")
        if kind == "gone":
            record.pop("weights", None)
        elif kind == "other":
            record["weights"] = ConfigRecord({"a": 1})
        elif kind == "none":
            record["weights"] = ArrayRecord()
        elif kind == "thousands":
            record["weights"] = THOUSANDS
        elif kind == "more":
            record["more"] = pack({"a": torch.ones(1)})
        elif isinstance(arrays, ArrayRecord) and arrays and arrays is not THOUSANDS:
            record["weights"] = ArrayRecord(_changed(dict(arrays)))

    def _changed(arrays: dict[str, Array]) -> dict[str, Array]:
        key = sorted(arrays)[place % len(arrays)]
        old = arrays[key]
        data = old.data
        at = place * 7 % max(1, len(data))
        match kind:
            case "drop":
                del arrays[key]
            case "rename":
                arrays[name] = arrays.pop(key)
            case "add":
                arrays[name] = old
            case "swap":
                arrays[key] = arrays[sorted(arrays)[0]]
            case "values":
                tensor = unpack(ArrayRecord({key: old}))[key]
                tensor.view(-1)[place % max(1, tensor.numel())] = value
                arrays[key] = pack({key: tensor})[key]
            case _:
                arrays[key] = Array(
                    dtype if kind == "dtype" else old.dtype,
                    shape if kind == "shape" else tuple(old.shape),
                    "pickle" if kind == "stype" else old.stype,
                    {
                        "bytes": content,
                        "cut": data[:at],
                        "longer": data + content,
                        "flip": data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :] if data else b"",
                    }.get(kind, data),
                )
        return arrays

    return mutate


def several(*mutations: st.SearchStrategy[Mutation]) -> st.SearchStrategy[list[Mutation]]:
    """One to three changes of a message."""
    return st.lists(st.one_of(*mutations), min_size=1, max_size=3)


def mutated(record: RecordDict, changes: list[Mutation]) -> RecordDict:
    """The record, changed; a change that Flower's own types cannot hold cannot arrive."""
    for change in changes:
        try:
            change(record)
        except (TypeError, ValueError, FederationError):
            continue
    return record


# --- instructions to a node ------------------------------------------------------------------------------------------

ASKED = ("study_id", "plan_id", "round", "known_head", "lr_factor", "fresh")


@pytest.fixture(scope="module")
def ward(tmp_path_factory: pytest.TempPathFactory) -> Ward:
    return make_ward(tmp_path_factory.mktemp("ward"))


@pytest.fixture(scope="module")
def asked(ward: Ward) -> tuple[Hospital, Weights]:
    """A node that has answered a round, so that all that it imports and reads is there, and what it was asked."""
    hospital, weights = Hospital(ward.node.folder), weights_for(ward.study)
    assert refusal_from_record(hospital.answer(ward.ask(1, weights))) is None
    return hospital, weights


def assert_answers_just_that(ward: Ward, record: RecordDict, answer: RecordDict) -> None:
    """A refusal by a code, or a reply to exactly the instruction, which then was whole."""
    refusal = refusal_from_record(answer)
    if refusal is not None:
        assert refusal[0] in ("hospital", "bergen")
        assert len(answer["refusal"]) == 2
        return
    instruction, _ = Instruction.from_record(record)
    reply, arrays = Reply.from_record(answer)
    assert (instruction.study_id, instruction.plan_id) == (ward.study.study_id, ward.study.plan.plan_id)
    assert (reply.site, reply.round) == ("bergen", instruction.round)
    assert 1 <= reply.round <= ward.study.plan.training.rounds
    found, expected = unpack(arrays), weights_for(ward.study)
    assert {name: tensor.shape for name, tensor in found.items()} == {
        name: tensor.shape for name, tensor in expected.items()
    }


@examples(1800)
@given(changes=several(header_mutations("header", ASKED), array_mutations()))
def test_a_node_answers_what_was_asked_or_refuses_by_a_code(
    ward: Ward, asked: tuple[Hospital, Weights], changes: list[Mutation]
) -> None:
    hospital, weights = asked
    record = mutated(ward.ask(2, weights), changes)
    with within_limits():
        answer = hospital.answer(record)
    assert_answers_just_that(ward, record, answer)


# --- replies and refusals to the server ------------------------------------------------------------------------------

ROSTER = ("site-1", "site-2", "site-3")
SENT: Weights = {"generator.a": torch.ones(2, 3), "generator.b": torch.zeros(4), "discriminator.a": torch.ones(5)}
HEADER, REFUSAL = ("site", "round", "ledger_head"), ("site", "code")


class Nodes:
    """A grid that knows nodes 1 to 3, under names or without."""

    def __init__(self, *, named: bool) -> None:
        self._named = named

    def get_nodes(self) -> list[NodeInfo]:
        return [NodeInfo(node_id=index + 1, name=name if self._named else None) for index, name in enumerate(ROSTER)]


@pytest.fixture(autouse=True)
def _as_on_a_grid(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.fsync", lambda _: None)  # that files are durable is tested elsewhere
    for name in ("_task_id", "_run_id", "_node_id"):
        monkeypatch.setattr(TaskIdentity, name, 1)


@pytest.fixture(scope="module", params=[True, False], ids=["named", "unnamed"])
def named(request: pytest.FixtureRequest) -> bool:
    return request.param


@pytest.fixture
def violations(tmp_path: Path) -> Path:
    return tmp_path / "quarantine.json"


def judged(record: RecordDict, violations: Path, *, named: bool) -> tuple[RoundReplies, list[Any], set[str]]:
    """What the server makes of a message of node 2: the round, what is averaged, and who is blamed."""
    violations.unlink(missing_ok=True)
    quarantine = Quarantine(violations, after=3)
    members = Members(ROSTER, quarantine)
    members.connected(Nodes(named=named))  # pyright: ignore[reportArgumentType]
    checked = RoundReplies(1, "training", SENT, 1000.0, members, {})
    question = Message(RecordDict(), 2, MessageType.TRAIN)
    usable = list(checked.usable([Message(record, reply_to=question)]))
    return checked, usable, set(quarantine.violations())


def assert_taken_or_blamed(record: RecordDict, violations: Path, *, named: bool) -> None:
    with within_limits():
        checked, usable, blamed = judged(record, violations, named=named)
    assert len(usable) + len(checked.refused) == 1
    if usable:
        [(reply, weights)] = usable
        assert (reply.site in ROSTER, reply.round) == (True, 1)
        assert not named or reply.site == "site-2"
        assert weights.keys() == SENT.keys()
        assert all(bool(tensor.isfinite().all()) for tensor in weights.values())
        assert blamed == set()
        return
    [(title, error)] = checked.refused
    assert title == "site-2" if named else title in (*ROSTER, "node 2")
    if not isinstance(error, ProtocolViolation):
        assert str(error) in {str(public_error(code)) for code in Code}
    assert blamed <= ({"site-2"} if named else set(ROSTER))
    assert blamed or not (named and isinstance(error, ProtocolViolation)), "nobody was blamed"
    assert isinstance(error, ProtocolViolation) or not blamed, "a refusal is no violation"
    assert str(error).isprintable()
    assert len(str(error)) < 200
    assert WORDS not in str(error).replace("reply's", "")


@examples(1000)
@given(changes=several(header_mutations("header", HEADER), array_mutations()))
def test_the_server_takes_a_reply_or_names_the_violation(
    violations: Path, named: bool, changes: list[Mutation]
) -> None:
    weights = {name: tensor + 0.5 for name, tensor in SENT.items()}
    record = mutated(Reply("site-2", "training", 1, "ab" * 32).to_record(weights), changes)
    assert_taken_or_blamed(record, violations, named=named)


@examples(300)
@given(code=st.sampled_from(Code), changes=several(header_mutations("refusal", REFUSAL), array_mutations()))
def test_the_server_knows_a_code_or_names_the_violation(
    violations: Path, named: bool, code: Code, changes: list[Mutation]
) -> None:
    record = mutated(refusal_record("site-2", code), changes)
    assert_taken_or_blamed(record, violations, named=named)


# --- the envelope ----------------------------------------------------------------------------------------------------


@examples(700)
@given(flips=st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), max_size=8), cut=st.integers(0, 10**6))
def test_an_envelope_of_other_bytes_is_refused_or_opened_to_what_is_checked_again(
    flips: list[tuple[int, int]], cut: int
) -> None:
    record = fold(Reply("site-2", "training", 1, "").to_record(SENT))
    folded = record["weights"]
    assert isinstance(folded, ArrayRecord)
    [(name, array)] = folded.items()
    content = bytearray(array.data)
    for place, byte in flips:
        content[place % len(content)] = byte
    changed = Array(array.dtype, tuple(array.shape), array.stype, bytes(content[: cut % (2 * len(content))]))
    record["weights"] = ArrayRecord({name: changed})
    with within_limits(), refused_as_a_message():
        reply, arrays = Reply.from_record(unfold(record))
        assert reply == Reply("site-2", "training", 1, "")
        assert all(isinstance(tensor, torch.Tensor) for tensor in unpack(arrays).values())


@contextmanager
def refused_as_a_message() -> Generator[None]:
    """Lets pass what is refused, if it is refused as a message that cannot be understood."""
    try:
        yield
    except FederationError as error:
        if error.code is not Code.MESSAGE:
            raise
