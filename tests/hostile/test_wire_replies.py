"""One enrolled hospital that means harm, over a real SuperLink: each thing its reply may be, while others answer.

Whatever it sends, the round ends in its time, the honest replies are taken, and the sender is named. On 97d0510 each of
these ended the run, held it up for minutes, cost an honest reply, or took gigabytes.
"""

import json
import resource
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, RecordDict
from flwr.app.message.arraychunk import ArrayChunk
from flwr.proto.message_pb2 import ObjectTree
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects, get_object_id, get_object_tree

from silogan.common.errors import Code
from silogan.common.wire.envelope import fold
from silogan.common.wire.messages import Reply, Weights
from silogan.common.wire.refusals import refusal_record
from silogan.server.rounds.inbox import largest_reply
from silogan.server.rounds.members import Members
from silogan.server.rounds.polling_grid import polling
from silogan.server.rounds.quarantine import ProtocolViolation, Quarantine
from silogan.server.rounds.replies import RoundReplies
from tests.hostile.superlink import Enrolled, Hub, hub, instruction

TIMEOUT = 2.0
SENT: Weights = {"generator.a": torch.ones(300, 300), "discriminator.a": torch.zeros(300)}
ROSTER = ("bergen", "malice", "oslo")


@pytest.fixture(scope="module")
def link(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    with pytest.MonkeyPatch.context() as patch, hub(tmp_path_factory.mktemp("hub"), patch) as found:
        for name in ROSTER:
            found.enrol(name)
        yield found


def honest(site: str) -> RecordDict:
    """What an honest site answers, as its executor sends it."""
    drawn = torch.Generator().manual_seed(sum(site.encode()))
    weights = {name: tensor + 0.01 * torch.randn(tensor.shape, generator=drawn) for name, tensor in SENT.items()}
    return fold(Reply(site, "training", 1, "ab" * 32).to_record(weights))


class Round:
    """A round of the three, one of which is hostile; judged as the strategy judges it.

    Attributes:
        taken: whose replies are averaged.
        refused: why the others are not.
        violations: how many of whom are written down.
        seconds: that it took.
    """

    def __init__(self, link: Hub, folder: Path, attack: Callable[[Enrolled], object]) -> None:
        quarantine = Quarantine(folder / "quarantine.json", after=3)
        members = Members(ROSTER, quarantine)
        members.connected(link.grid)
        checked = RoundReplies(1, "training", SENT, 1e3, members, {})
        messages = [Message(instruction(), link.nodes[name].node, "train", ttl=60.0, group_id="1") for name in ROSTER]
        attacked = threading.Event()

        def act(name: str) -> None:
            if name != "malice":
                attacked.wait(20)
                link.nodes[name].answer(honest(name))
                return
            with suppress(Exception):  # whatever the SuperLink refuses has not worked
                attack(link.nodes[name])
            attacked.set()

        threads = [threading.Thread(target=act, args=(name,)) for name in ROSTER]
        for thread in threads:
            thread.start()
        began = time.monotonic()
        replies = polling(link.grid, largest_reply(SENT)).send_and_receive(messages, timeout=TIMEOUT)
        self.taken = {reply.site for reply, _ in checked.usable(replies)}
        self.seconds = time.monotonic() - began
        for thread in threads:
            thread.join()
        self.refused = dict(checked.refused)
        self.violations = quarantine.violations()


def assert_only_the_sender_is_left_out(done: Round, words: str, *, violation: bool = True) -> None:
    assert done.taken == {"bergen", "oslo"}
    assert list(done.refused) == ["malice"]
    error = done.refused["malice"]
    assert words in str(error)
    assert str(error).isprintable()
    assert isinstance(error, ProtocolViolation) == violation
    assert done.violations == ({"malice": 1} if violation else {})
    assert done.seconds < TIMEOUT + 5


def test_three_honest_replies_are_taken(link: Hub, tmp_path: Path) -> None:
    """The other tests mean something only if this one passes."""
    done = Round(link, tmp_path, lambda node: node.answer(honest("malice")))
    assert (done.taken, done.refused) == (set(ROSTER), {})


def test_a_refusal_is_understood(link: Hub, tmp_path: Path) -> None:
    done = Round(link, tmp_path, lambda node: node.answer(refusal_record("malice", Code.BUDGET)))
    assert_only_the_sender_is_left_out(done, "privacy budget", violation=False)


@pytest.mark.parametrize("without", [1, 2, 6], ids=["root", "two", "all"])
def test_a_reply_with_objects_missing_holds_up_nobody(link: Hub, tmp_path: Path, without: int) -> None:
    done = Round(link, tmp_path, lambda node: node.answer(honest("malice"), without=without))
    assert_only_the_sender_is_left_out(done, "did not send its whole reply in time", violation=False)


def test_the_first_object_of_a_reply_missing(link: Hub, tmp_path: Path) -> None:
    """All but the first is fetched, and asked for again and again beside the others."""

    def attack(node: Enrolled) -> None:
        message = Message(honest("malice"), reply_to=node.asked())
        wanted, session = node.announce(message)
        for name, content in list(deflated(message).items())[1:]:
            assert name in wanted
            node.send(name, content, session)

    assert_only_the_sender_is_left_out(
        Round(link, tmp_path, attack), "did not send its whole reply in time", violation=False
    )


def test_700_megabytes_are_not_fetched(link: Hub, tmp_path: Path) -> None:
    """So many pieces are announced; what is sent of them does not matter."""

    def attack(node: Enrolled) -> None:
        message = Message(honest("malice"), reply_to=node.asked())
        tree = get_object_tree(message)
        array = tree.children[0].children[0].children[0]
        for piece in range(140):
            array.children.append(ObjectTree(object_id=f"{piece:064x}"))
        node.announce(message, tree)

    assert_only_the_sender_is_left_out(Round(link, tmp_path, attack), "larger than requested")


def test_a_reply_of_larger_arrays_is_not_fetched_whole(link: Hub, tmp_path: Path) -> None:
    large = {**SENT, "generator.a": torch.ones(1000, 1000)}
    record = fold(Reply("malice", "training", 1, "ab" * 32).to_record(large))
    assert_only_the_sender_is_left_out(Round(link, tmp_path, lambda node: node.answer(record)), "larger than requested")


def test_an_array_that_repeats_a_piece_is_not_built(link: Hub, tmp_path: Path) -> None:
    """300 kB on the wire, 3 GB in memory."""

    def attack(node: Enrolled) -> None:
        chunk = ArrayChunk(memoryview(bytes(300_000)))
        body = json.dumps(
            {"dtype": "uint8", "shape": [1], "stype": "numpy.ndarray", "arraychunk_ids": [0] * 10_000}
        ).encode()
        array = b"Array %s %d\x00" % (chunk.object_id.encode(), len(body)) + body
        forge(node, [chunk.deflate(), array])

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert_only_the_sender_is_left_out(Round(link, tmp_path, attack), "larger than requested")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 << 10


def test_a_refusal_of_millions_of_control_characters(link: Hub, tmp_path: Path) -> None:
    refusal = RecordDict({"refusal": ConfigRecord({"site": "malice", "code": "\x1b" * 2_000_000})})
    done = Round(link, tmp_path, lambda node: node.answer(refusal))
    assert_only_the_sender_is_left_out(done, "larger than requested")


@pytest.mark.parametrize("code", ["\x1b]0;x\x07", "budget\n", "\u202egnp.exe"])
def test_a_refusal_of_some_control_characters(link: Hub, tmp_path: Path, code: str) -> None:
    refusal = RecordDict({"refusal": ConfigRecord({"site": "malice", "code": code})})
    done = Round(link, tmp_path, lambda node: node.answer(refusal))
    assert_only_the_sender_is_left_out(done, "refusal: is malformed")


@pytest.mark.parametrize("dtype", ["i4,(", "object", "V8", "f4,f4", "(2,)f4"])
@pytest.mark.parametrize("folded", [False, True])
def test_a_type_that_is_none(link: Hub, tmp_path: Path, dtype: str, folded: bool) -> None:
    record = honest("malice")
    arrays = record["weights"] if folded else Reply("malice", "training", 1, "ab" * 32).to_record(SENT)["weights"]
    assert isinstance(arrays, ArrayRecord)
    changed = {name: Array(dtype, tuple(one.shape), one.stype, one.data) for name, one in arrays.items()}
    record["weights"] = ArrayRecord(changed)
    assert_only_the_sender_is_left_out(Round(link, tmp_path, lambda node: node.answer(record)), "cannot be unpacked")


@pytest.mark.parametrize(
    "content",
    [b"", b"\xff" * 100, (2**40).to_bytes(8, "little") + b"{}", (99).to_bytes(8, "little") + b"[" * 99],
    ids=["empty", "noise", "long", "deep"],
)
def test_bytes_that_are_no_weights(link: Hub, tmp_path: Path, content: bytes) -> None:
    record = honest("malice")
    record["weights"] = ArrayRecord({"folded": Array(np.frombuffer(content, np.uint8))})
    assert_only_the_sender_is_left_out(Round(link, tmp_path, lambda node: node.answer(record)), "cannot be unpacked")


def test_one_record_under_many_names_is_not_copied(link: Hub, tmp_path: Path) -> None:
    record = honest("malice")
    many = RecordDict({**record, **{f"w{number}": record["weights"] for number in range(500)}})
    assert_only_the_sender_is_left_out(Round(link, tmp_path, lambda node: node.answer(many)), "cannot be unpacked")


@pytest.mark.parametrize(
    "objects",
    [
        [b"ArrayChunk  3\x00abc"],
        [b"Array  2\x00{}"],
        [b"ConfigRecord  4\x00\xff\xff\xff\xff"],
        [b"RecordDict  2\x00{}"],
        [b"ArrayRecord  9\x00[[[[[[[[["],
        [b"Array  80000\x00" + b"[" * 80_000],
    ],
    ids=["piece", "array", "config", "content", "record", "deep"],
)
def test_objects_that_stand_where_others_should(link: Hub, tmp_path: Path, objects: list[bytes]) -> None:
    done = Round(link, tmp_path, lambda node: forge(node, objects))
    assert done.taken == {"bergen", "oslo"}
    assert done.violations == {"malice": 1}
    assert isinstance(done.refused["malice"], ProtocolViolation)


def test_a_message_that_says_it_comes_from_another(link: Hub, tmp_path: Path) -> None:
    """The SuperLink compares what is announced; what is then sent says something else."""

    def attack(node: Enrolled) -> None:
        message = Message(honest("oslo"), reply_to=node.asked())
        own = message.metadata.src_node_id
        message.metadata.__dict__["_src_node_id"] = link.nodes["oslo"].node
        contents = deflated(message)
        tree, root = get_object_tree(message), message.object_id
        message.metadata.__dict__["_src_node_id"] = own
        message.metadata.__dict__["_message_id"] = root
        wanted, session = node.announce_as(message, tree)
        for name in wanted:
            node.send(name, contents[name], session)

    assert_only_the_sender_is_left_out(Round(link, tmp_path, attack), "comes from a node that is not this site's")


def test_a_message_to_the_server_itself_costs_nobody_a_reply(link: Hub, tmp_path: Path) -> None:
    """The SuperLink hands it out with whatever is asked for next."""

    def attack(node: Enrolled) -> None:
        message = Message(honest("oslo"), 1, "train", ttl=30.0)
        for name, value in (("run_id", node.run), ("src_node_id", 1)):
            message.metadata.__dict__[f"_{name}"] = value
        node.reply(message)

    done = Round(link, tmp_path, attack)
    assert (done.taken, done.violations, done.refused) == ({"bergen", "oslo"}, {}, {})


def deflated(message: Message) -> dict[str, bytes]:
    """A message's objects, the root last."""
    return {name: one.deflate() for name, one in get_all_nested_objects(message).items()}


def forge(node: Enrolled, objects: list[bytes]) -> None:
    """Sends a reply whose array record holds one chain of objects, the deepest first, whatever these are."""
    message = Message(RecordDict(), reply_to=node.asked())
    name = ""
    tree: ObjectTree | None = None
    contents: dict[str, bytes] = {}
    record = json.dumps({"folded": get_object_id(objects[-1])}).encode()
    chain = [*objects, b"ArrayRecord %s %d\x00" % (get_object_id(objects[-1]).encode(), len(record)) + record]
    content = json.dumps({"weights": get_object_id(chain[-1])}).encode()
    chain.append(b"RecordDict %s %d\x00" % (get_object_id(chain[-1]).encode(), len(content)) + content)
    body = message.deflate().partition(b"\x00")[2]
    chain.append(b"Message %s %d\x00" % (get_object_id(chain[-1]).encode(), len(body)) + body)
    for one in chain:
        name = get_object_id(one)
        tree = ObjectTree(object_id=name, children=[] if tree is None else [tree])
        contents[name] = one
    assert tree is not None
    message.metadata.__dict__["_message_id"] = name
    _, session = node.announce_as(message, tree)
    for name, one in contents.items():
        node.send(name, one, session)
