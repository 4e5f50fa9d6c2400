"""A hospital as the coordinator meets it: from its folder, through one instruction, to a reply or refusal."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from flwr.app import Message, MessageType, RecordDict
from flwr.supercore.task_identity import TaskIdentity

from silogan.client.data import Records
from silogan.client.ledger.keys import SiteKey
from silogan.client.ledger.policy import template
from silogan.client.ledger.register import Registration
from silogan.client.node import service
from silogan.client.node.connection import CONNECTION_FILE, Connection, connection_template
from silogan.client.node.executor import Executor
from silogan.client.node.hospital import Hospital
from silogan.client.node.joining import prepare_connection
from silogan.client.node.node import Node
from silogan.client.node.node_key import NODE_KEY, create_node_key, node_public_key
from silogan.client.node.preflight import preflight
from silogan.client.node.reading import read_registered
from silogan.client.node.review import REVIEWED_FILE, check_reviewed, review
from silogan.common.errors import Code, ConfigError, DataError, FederationError, UsageError, VerificationError
from silogan.common.modality import Data
from silogan.common.modality.image import ImageSchema
from silogan.common.modality.image_options import Digits
from silogan.common.privacy.plan import make_plan
from silogan.common.wire.bundle import installed_digest
from silogan.common.wire.messages import Instruction, Reply, Weights, pack
from silogan.common.wire.refusals import refusal_from_record
from silogan.common.wire.study import SiteDeclaration, Study
from silogan.server.operations.authority import Authority
from silogan.server.operations.nodes import parse_node_key
from tests.plans import phase_and_round

SERVER = "127.0.0.1:1"  # where nobody listens
DIGITS = ImageSchema(8, 1, tuple("0123456789"))


@pytest.fixture
def node(tmp_path: Path) -> Node:
    node = Node.create(tmp_path / "node", template(epsilon=8.0, delta=1e-4, unit="record"))
    path = node.folder / "policy.yaml"
    values = yaml.safe_load(path.read_text(encoding="utf-8"))
    path.write_text(yaml.safe_dump({**values, "servers": [SERVER, "elsewhere"]}), encoding="utf-8")
    registration, _ = node.add_cohort(name="digits", site="bergen", data=Digits(), declared_size=1000)
    prepare_connection(node.folder, registration, server=SERVER, ca=Authority.create(tmp_path).ca_pem)
    return node


@pytest.fixture
def study(make_scenario: Callable[..., Any]) -> Study:
    scenario = make_scenario(seed=None)
    return Study(scenario, DIGITS, make_plan(scenario), (SiteDeclaration("bergen", 1000), SiteDeclaration("oslo", 700)))


def ask(study: Study, weights: Weights, number: int = 1) -> RecordDict:
    return Instruction(study.study_id, study.plan.plan_id, *phase_and_round(number)).to_record(pack(weights))


def refusal(content: RecordDict) -> Code:
    found = refusal_from_record(content)
    assert found is not None
    return found[1]


def last(node: Node) -> str:
    return node.ledger(node.register.get(None)).entries()[-1].content["kind"]


def test_approved_study_is_answered_and_its_data_read_once(
    node: Node, study: Study, make_weights: Callable[..., Weights], monkeypatch: pytest.MonkeyPatch
) -> None:
    node.approve(study, node.register.get(None), server=SERVER)
    reads: list[Data] = []

    def counted(registration: Registration, key: SiteKey) -> Records:
        reads.append(registration.data)
        return read_registered(registration, key)

    monkeypatch.setattr("silogan.client.node.hospital.read_registered", counted)
    hospital = Hospital(node.folder)
    for number in (1, 2):
        reply, _ = Reply.from_record(hospital.answer(ask(study, make_weights(study, seed=number), number)))
        assert (reply.site, reply.round) == ("bergen", number)
        assert reply.ledger_head == node.ledger(node.register.get(None)).head()
    assert len(reads) == 1


def test_study_that_nobody_approved_is_refused_in_writing(
    node: Node, study: Study, make_weights: Callable[..., Weights]
) -> None:
    answer = Hospital(node.folder).answer(ask(study, make_weights(study)))
    assert refusal(answer) is Code.NOT_APPROVED
    assert last(node) == "refuse"


def test_study_that_was_approved_for_another_coordinator_is_refused(
    node: Node, study: Study, make_weights: Callable[..., Weights], caplog: pytest.LogCaptureFixture
) -> None:
    node.approve(study, node.register.get(None), server="elsewhere")
    assert refusal(Hospital(node.folder).answer(ask(study, make_weights(study)))) is Code.NOT_APPROVED
    assert "was approved for 'elsewhere'" in caplog.text
    assert not node.ledger(node.register.get(None)).mechanisms()


def test_rejected_study_is_refused(node: Node, study: Study, make_weights: Callable[..., Weights]) -> None:
    cohort = node.register.get(None)
    node.approve(study, cohort, server=SERVER)
    node.reject(study, cohort, "no longer")
    assert refusal(Hospital(node.folder).answer(ask(study, make_weights(study)))) is Code.NOT_APPROVED


def test_request_holds_what_the_coordinator_may_know_and_no_more(node: Node) -> None:
    request = json.loads((node.folder / "request.json").read_text())
    assert set(request) == {"site", "public_key", "declared_size"}
    assert request["public_key"] == node_public_key(node.folder)
    parse_node_key(request["public_key"])
    assert (node.folder / NODE_KEY).stat().st_mode & 0o077 == 0


def test_keys_stay_and_a_damaged_one_is_named(node: Node) -> None:
    assert create_node_key(node.folder) == node_public_key(node.folder)
    (node.folder / NODE_KEY).write_text("no key")
    with pytest.raises(DataError, match=r"node\.key.*is missing or not an ECDSA key"):
        node_public_key(node.folder)


@pytest.mark.parametrize("server", ["", "host", "host:", ":1", "host:0", "host:70000", "host:x"])
def test_a_server_is_host_and_port(tmp_path: Path, server: str) -> None:
    (tmp_path / CONNECTION_FILE).write_text(f"server: '{server}'\n")
    with pytest.raises(ConfigError, match="server"):
        Connection.load(tmp_path)


def test_connection_template_can_be_loaded(tmp_path: Path) -> None:
    text = connection_template("[::1]:9443", "http://proxy.example.org:3128")
    (tmp_path / CONNECTION_FILE).write_text(text.replace("server: [::1]:9443", "server: '[::1]:9443'"))
    found = Connection.load(tmp_path)
    assert (found.host, found.port, found.ca, found.proxy) == (
        "::1",
        9443,
        tmp_path / "ca.pem",
        "http://proxy.example.org:3128",
    )


def test_software_that_was_not_reviewed_does_not_start(node: Node) -> None:
    (node.folder / REVIEWED_FILE).write_text("0" * 64)
    with pytest.raises(VerificationError, match="differs from what this hospital has reviewed"):
        service.start(node.folder, as_root=True)
    review(node.folder)
    check_reviewed(node.folder)


def test_root_must_be_asked_for(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0)
    with pytest.raises(UsageError, match="would run as root"):
        service.start(node.folder)


def test_programs_of_a_node_only_connect_outwards(node: Node) -> None:
    supernode, executor = service.services(node.folder, Connection.load(node.folder))
    words = " ".join(supernode.command)
    assert f"--superlink {SERVER}" in words
    assert "--isolation process --superexec-auth-secret-file" in words
    assert "--host 127.0.0.1" in words
    assert "--insecure" not in words
    assert (node.folder / "runtime.secret").stat().st_mode & 0o077 == 0
    assert executor.command[1:3] == ("-m", "silogan.client.node.service")


def test_preflight_names_each_thing_that_fails(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    checks = {check.name: check for check in preflight(node.folder)}
    assert {name for name, check in checks.items() if not check.ok} == {"coordinator", "clock"}
    assert all(check.hint for check in checks.values() if not check.ok)
    (node.folder / "policy.yaml").unlink()
    (node.folder / REVIEWED_FILE).write_text("other")
    (node.folder / "ca.pem").write_text("no certificate")
    monkeypatch.setattr(
        "silogan.client.node.reading._real",
        lambda *_, **__: (_ for _ in ()).throw(DataError("cohort", "is gone", "look")),
    )
    failed = {check.name for check in preflight(node.folder) if not check.ok}
    assert failed == {"coordinator", "clock", "policy", "software", "authority", "data 'digits'"}


class Scribe:
    """A worker that notes how long it may take."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def ask(self, content: RecordDict, seconds: float) -> RecordDict:
        self.seconds.append(seconds)
        return content


@pytest.fixture
def executor(tmp_path: Path) -> Executor:
    (tmp_path / "secret").write_bytes(b"s" * 32)
    return Executor("127.0.0.1:1", tmp_path / "secret", Scribe(), installed_digest(), 100.0)  # type: ignore[arg-type]


def message(seconds: float) -> Message:
    TaskIdentity.task_id = TaskIdentity.run_id = TaskIdentity.node_id = 1
    return Message(RecordDict(), 1, MessageType.TRAIN, ttl=seconds)


@pytest.mark.parametrize(
    ("ttl", "late", "allowed"), [(30.0, 0, 25.0), (30.0, 10, 15.0), (500.0, 0, 100.0), (8.0, 9, 1.0)]
)
def test_a_round_has_the_shorter_of_both_deadlines_less_the_way_back(
    executor: Executor, monkeypatch: pytest.MonkeyPatch, ttl: float, late: float, allowed: float
) -> None:
    monkeypatch.setattr("silogan.client.node.executor.bundle_digest", lambda _bundle: installed_digest())
    asked = message(ttl)
    monkeypatch.setattr(
        "silogan.client.node.executor.time", SimpleNamespace(time=lambda: asked.metadata.created_at + late)
    )
    executor._answer(asked, b"")
    assert executor._worker.seconds == [pytest.approx(allowed)]  # type: ignore[attr-defined]


def test_a_worker_that_died_is_in_the_hospitals_own_log_and_a_code_outside(
    executor: Executor, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def dies(*_: object) -> RecordDict:
        raise FederationError("site's worker", "ended during the round", "see the log")

    monkeypatch.setattr("silogan.client.node.executor.bundle_digest", lambda _bundle: installed_digest())
    monkeypatch.setattr(executor._worker, "ask", dies)
    assert refusal(executor._answer(message(30.0), b"")) is Code.UNAVAILABLE
    assert caplog.messages == [
        "refused (unavailable): site's worker: ended during the round; see the log",
    ]


def test_other_software_is_refused_before_anything_is_done(executor: Executor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("silogan.client.node.executor.bundle_digest", lambda _bundle: "f" * 64)
    assert refusal(executor._answer(message(30.0), b"")) is Code.SOFTWARE
    assert executor._worker.seconds == []  # type: ignore[attr-defined]
