"""A tiny study, and a grid whose sites answer as a test tells them to."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import pytest
from flwr.app import Error, Message, RecordDict
from flwr.proto.node_pb2 import NodeInfo
from flwr.serverapp import Grid
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity

from silogan.common.config.scenario import parse_scenario
from silogan.common.modality.image import ImageSchema
from silogan.common.models.weights import generator_weights
from silogan.common.privacy.plan import make_plan
from silogan.common.wire.messages import Instruction, Reply, Weights, pack, unpack
from silogan.common.wire.run_folder import CHECKPOINT_FOLDER, SAMPLES_FOLDER
from silogan.common.wire.study import SiteDeclaration, Study
from silogan.server.app import initial_weights
from silogan.server.rounds.checkpoint import Checkpoint
from silogan.server.rounds.strategy import FederatedGAN

SCHEMA = ImageSchema(8, 1, ("zero", "one", "two"))
Answer = Callable[[int, Instruction, Weights], RecordDict | Error | None]


@pytest.fixture
def make_study() -> Callable[..., Study]:
    """Builds a study of a few hundred weights and full batches, so that its ε is quickly known."""

    def make(
        *,
        seed: int | None = 1,
        sizes: tuple[int, ...] = (100, 200, 300),
        schema: ImageSchema = SCHEMA,
        **sections: dict[str, Any],
    ) -> Study:
        values: dict[str, dict[str, Any]] = {
            "sites": {"count": len(sizes)},
            "model": {"latent_dim": 2, "width": 2},
            "training": {"rounds": 4, "local_steps": 3, "sample_rate": 1.0},
            "privacy": {"epsilon": 50.0, "noise_multiplier": 2.0},
            "federation": {"join_timeout": 0.01},
        }
        merged = {name: {**values.get(name, {}), **sections.get(name, {})} for name in {**values, **sections}}
        scenario = parse_scenario({"name": "tiny", "seed": seed, **merged})
        sites = tuple(SiteDeclaration(f"site-{number}", size) for number, size in enumerate(sizes, start=1))
        return Study(scenario, schema, make_plan(scenario), sites)

    return make


@pytest.fixture
def study(make_study: Callable[..., Study]) -> Study:
    return make_study()


@pytest.fixture
def start(study: Study) -> Checkpoint:
    """The study's state before its first round."""
    weights = initial_weights(study)
    ema = generator_weights(weights)
    return Checkpoint(study.study_id, 0, weights, ema)


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    """A run folder with the folders that a prepared run has."""
    folder = tmp_path / "run"
    for name in (CHECKPOINT_FOLDER, SAMPLES_FOLDER):
        (folder / name).mkdir(parents=True)
    return folder


@dataclass
class FakeGrid(Grid):
    """Nodes 1, 2, ... that answer at once.

    Attributes:
        answer: what a node replies to an instruction and weights; None is silence.
        nodes: ids of the connected nodes.
        names: what the nodes are registered as, where they are.
        order: turns the replies of a round into the order in which they arrive.
        asked: the instructions sent, with their nodes.
    """

    answer: Answer
    nodes: list[int]
    names: dict[int, str] = field(default_factory=dict[int, str])
    order: Callable[[list[Message]], list[Message]] = list
    asked: list[tuple[int, Instruction]] = field(default_factory=list)
    streams: ClassVar[bool] = True

    def set_run(self, run: Run) -> None:
        raise NotImplementedError

    @property
    def run(self) -> Run:
        raise NotImplementedError

    def create_message(self, *_: object, **__: object) -> Message:
        raise NotImplementedError

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        raise NotImplementedError

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        raise NotImplementedError

    def get_node_ids(self) -> list[int]:
        return list(self.nodes)

    def get_nodes(self) -> list[NodeInfo]:
        return [NodeInfo(node_id=node, name=self.names.get(node)) for node in self.get_node_ids()]

    def send_and_receive(self, messages: Iterable[Message], **_: object) -> list[Message]:
        replies: list[Message] = []
        for message in messages:
            node = message.metadata.dst_node_id
            instruction, packed = Instruction.from_record(message.content)
            self.asked.append((node, instruction))
            answer = self.answer(node, instruction, unpack(packed))
            if answer is not None:
                replies.append(Message(answer, reply_to=message))
        return self.order(replies) if replies else []


@pytest.fixture
def honest(study: Study) -> Callable[..., Answer]:
    """`honest(round=2, ...)`: sites that answer rightly, but for the named fields; node n adds n to every weight.

    It adds a little more, by which no two replies of a run are the same: that would be a violation.
    """

    def make(shift: Callable[[int], float] = lambda node: node + 4e-7 * node**2, **changes: Any) -> Answer:
        def answer(node: int, instruction: Instruction, weights: Weights) -> RecordDict:
            reply = Reply(f"site-{node}", instruction.phase, instruction.round, f"{instruction.round}{node}" * 32)
            record = reply.to_record({name: w + shift(node) for name, w in weights.items()})
            record["header"].update(changes)
            return record

        return answer

    return make


@pytest.fixture
def make_grid(monkeypatch: pytest.MonkeyPatch) -> Callable[..., FakeGrid]:
    """`FakeGrid`, in a process that a message may be made in (flwr 1.41 looks the sender up in a class)."""
    for name in ("_task_id", "_run_id", "_node_id"):
        monkeypatch.setattr(TaskIdentity, name, 1)
    return FakeGrid


@pytest.fixture
def federate(make_grid: Callable[..., Any], study: Study, start: Checkpoint, run_dir: Path) -> Callable[..., Any]:
    """`federate(answer, rounds=1, ...)`: trains the tiny study for some rounds and returns the grid."""

    def run(
        answer: Answer,
        *,
        rounds: int = 1,
        of: Study = study,
        since: Checkpoint = start,
        into: Path = run_dir,
        **grid: Any,
    ) -> Any:
        nodes = make_grid(answer, **{"nodes": [1, 2, 3], **grid})
        FederatedGAN(of, since, into).start(nodes, pack(since.weights), num_rounds=rounds)
        return nodes

    return run
