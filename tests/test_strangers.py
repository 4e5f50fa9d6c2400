"""A stranger who has the coordinator's certificate and address, and nothing else: each thing it may try, over the wire.

The coordinator is real: SuperLink, SuperExec and nginx, as `silogan server start` runs them, on this machine.
"""

import json
import os
import shutil
import socket
import socketserver
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Generator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from flwr.proto.fab_pb2 import GetFabRequest
from flwr.proto.fleet_pb2 import (
    ActivateNodeRequest,
    PullMessagesRequest,
    PushMessagesRequest,
    RegisterNodeFleetRequest,
)
from flwr.proto.message_pb2 import PullObjectRequest
from flwr.proto.node_pb2 import Node
from flwr.proto.run_pb2 import GetRunRequest
from flwr.proto.runtime_pb2 import AcquireTaskRequest
from flwr.supercore.interceptors import RuntimeVersionHttpInterceptor
from flwr.supercore.primitives.asymmetric import public_key_to_bytes
from flwr.supercore.runtime import RuntimeHttpClient
from flwr.supernode.fleet_http_client import FleetHttpClient
from flwr.supernode.node_auth_http_interceptor import NodeAuthHttpInterceptor

from silogan.client.ledger.policy import template
from silogan.client.node.joining import prepare_connection
from silogan.client.node.node import Node as Hospital
from silogan.client.node.node_key import NODE_KEY
from silogan.common.files import create_secret
from silogan.common.modality.image_options import Digits
from silogan.common.operations.flower import free_port
from silogan.server.operations.coordinator import Coordinator
from silogan.server.operations.settings import SETTINGS_FILE

ROOT = Path(__file__).parent.parent
NGINX = shutil.which("nginx") or Path("/usr/sbin/nginx").exists()
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (shutil.which("nginx") or Path("/usr/sbin/nginx").exists()),
        reason="nginx is not installed (apt install nginx)",
    ),
]


@dataclass
class Target:
    """A coordinator with one enrolled hospital."""

    coordinator: Coordinator
    key: ec.EllipticCurvePrivateKey
    node: int

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.coordinator.settings.port}"

    @property
    def ca(self) -> str:
        return str(self.coordinator.folder / "ca.pem")

    def client(self, key: ec.EllipticCurvePrivateKey) -> FleetHttpClient:
        """The SuperNode's own client, with a key."""
        interceptors: list[Any] = [
            RuntimeVersionHttpInterceptor(component_name="SuperNode"),
            NodeAuthHttpInterceptor(key, key.public_key()),
        ]
        return FleetHttpClient.from_server_address(
            self.address, False, Path(self.ca).read_bytes(), interceptors=interceptors
        )


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Generator[Target]:
    folder = tmp_path_factory.mktemp("coordinator")
    coordinator = Coordinator.create(folder, ["127.0.0.1"], listen="127.0.0.1", port=free_port())
    settings = (folder / SETTINGS_FILE).read_text().splitlines()
    ports = {"superlink_port": free_port(), "metrics_port": free_port()}
    changed = [f"{key}: {ports[key]}" if (key := line.partition(":")[0]) in ports else line for line in settings]
    (folder / SETTINGS_FILE).write_text("\n".join(changed))
    coordinator = Coordinator(folder)
    key = ec.generate_private_key(ec.SECP384R1())
    public = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    coordinator.enrolment.enrol("bergen", public, 100)
    command = [sys.executable, "-m", "silogan", "server", "start", "--folder", str(folder)]
    command += ["--as-root"] if os.geteuid() == 0 else []
    with (folder / "out.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and not coordinator.enrolment.all()["bergen"].node:
            assert process.poll() is None, (folder / "out.log").read_text()
            time.sleep(0.2)
        yield Target(coordinator, key, coordinator.enrolment.all()["bergen"].node)
    finally:
        process.terminate()
        assert process.wait(timeout=60) == 0


@pytest.fixture
def stranger() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP384R1())


def refused(caught: pytest.ExceptionInfo[httpx.HTTPStatusError]) -> int:
    return caught.value.response.status_code


# First: later the strangers of the other tests have used up what nginx allows an address, and it would wait a minute.
def test_a_node_contacts_its_coordinator_and_nothing_else(target: Target, tmp_path: Path) -> None:
    """All traffic of a node's programs goes through a proxy that records where to."""
    folder = tmp_path / "node"
    node = Hospital.create(folder, template(epsilon=1.0, delta=1e-4, unit="record"))
    registration, _ = node.add_cohort(name="digits", site="bergen", data=Digits(), declared_size=100)
    private = target.key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
    create_secret(folder / NODE_KEY, private)
    with Recorder() as recorder:
        threading.Thread(target=recorder.serve_forever, daemon=True).start()
        coordinator = f"localhost:{target.coordinator.settings.port}"  # 127.0.0.1 is reached without a proxy
        proxy = f"http://127.0.0.1:{recorder.server_address[1]}"
        prepare_connection(folder, registration, server=coordinator, ca=Path(target.ca), proxy=proxy)
        env = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
        command = [sys.executable, "-m", "silogan", "node", "start", str(folder)]
        command += ["--as-root"] if os.geteuid() == 0 else []
        with subprocess.Popen(command, cwd=ROOT, env=env, stdin=subprocess.DEVNULL) as process:
            log, deadline = folder / "logs" / "node.jsonl", time.monotonic() + 120
            while time.monotonic() < deadline:
                text = log.read_text(encoding="utf-8") if log.exists() else ""
                if "SuperNode ID" in text and '"message": "ready"' in text:
                    break
                time.sleep(0.2)
            time.sleep(4)  # it asks for work every 3 s
            process.terminate()
            assert process.wait(timeout=60) == 0
        recorder.shutdown()
    assert "SuperNode ID" in text
    assert set(recorder.asked) == {f"CONNECT {coordinator}"}


def test_an_enrolled_hospital_is_let_in(target: Target) -> None:
    """The other tests mean something only if this one passes."""
    with target.client(target.key) as client:
        request = ActivateNodeRequest(public_key=public_key_to_bytes(target.key.public_key()), heartbeat_interval=30)
        assert client.ActivateNode(request).node_id == target.node
        assert not client.PullMessages(PullMessagesRequest(node=Node(node_id=target.node))).messages_list


def test_cannot_enrol(target: Target, stranger: ec.EllipticCurvePrivateKey) -> None:
    with target.client(stranger) as client, pytest.raises(httpx.HTTPStatusError) as caught:
        client.RegisterNode(RegisterNodeFleetRequest(public_key=public_key_to_bytes(stranger.public_key())))
    assert refused(caught) == 404  # the proxy does not pass the route


def test_cannot_activate_a_key_that_nobody_enrolled(target: Target, stranger: ec.EllipticCurvePrivateKey) -> None:
    request = ActivateNodeRequest(public_key=public_key_to_bytes(stranger.public_key()), heartbeat_interval=30)
    with target.client(stranger) as client, pytest.raises(httpx.HTTPStatusError) as caught:
        client.ActivateNode(request)
    assert 400 <= refused(caught) < 500


def test_cannot_take_a_task_or_read_weights_or_submit(target: Target, stranger: ec.EllipticCurvePrivateKey) -> None:
    node = Node(node_id=target.node)
    with target.client(stranger) as client:
        for call, request in (
            (client.PullMessages, PullMessagesRequest(node=node)),
            (client.GetRun, GetRunRequest(node=node, run_id=1)),
            (client.GetFab, GetFabRequest(node=node, hash_str="0" * 64, run_id=1)),
            (client.PullObject, PullObjectRequest(node=node, run_id=1, object_id="0" * 64)),
            (client.PushMessages, PushMessagesRequest(node=node)),
        ):
            with pytest.raises(httpx.HTTPStatusError) as caught:
                call(request)  # type: ignore[operator]
            assert refused(caught) == 401, call


def test_cannot_speak_for_another_node_with_an_enrolled_key(target: Target) -> None:
    with target.client(target.key) as client, pytest.raises(httpx.HTTPStatusError) as caught:
        client.PullMessages(PullMessagesRequest(node=Node(node_id=target.node + 1)))
    assert refused(caught) == 401


@pytest.mark.parametrize(
    "path",
    [
        "/v1/control/start-run",
        "/v1/control/register-node",
        "/v1/runtime/acquire-task",
        "/v1/fleet/../control/list-runs",
        "/v1/fleet/%2e%2e/control/list-runs",
        "//v1/control/list-runs",
        "/health",
        "/docs",
        "/openapi.json",
    ],
)
def test_cannot_reach_what_is_not_for_hospitals(target: Target, path: str) -> None:
    context = ssl.create_default_context(cafile=target.ca)
    with httpx.Client(verify=context, trust_env=False) as client:
        for method in ("GET", "POST"):
            answer = client.request(method, f"https://{target.address}{path}")
            assert (answer.status_code, answer.content) == (404, b"")


def test_cannot_take_the_server_apps_task(target: Target) -> None:
    """Even from the coordinator's own machine: it needs the secret."""
    inner = target.coordinator.folder / "inner" / "ca.pem"
    client = RuntimeHttpClient.from_server_address(
        server_address=f"127.0.0.1:{target.coordinator.settings.superlink_port}",
        insecure=False,
        root_certificates=inner.read_bytes(),
        interceptors=[RuntimeVersionHttpInterceptor(component_name="SuperExec")],
    )
    try:
        with pytest.raises(httpx.HTTPStatusError) as caught:
            client.AcquireTask(AcquireTaskRequest(supported_task_types=["flwr-serverapp"]))
    finally:
        client.close()
    assert refused(caught) in (401, 403)


def test_plain_http_is_refused(target: Target) -> None:
    with httpx.Client(trust_env=False) as client:
        answer = client.post(f"http://{target.address}/v1/fleet/pull-messages")
    assert answer.status_code == 400


def test_another_certificate_is_not_trusted(target: Target, tmp_path: Path) -> None:
    from silogan.server.operations.authority import Authority  # noqa: PLC0415

    other = Authority.create(tmp_path).ca_pem
    context = ssl.create_default_context(cafile=str(other))
    with httpx.Client(verify=context, trust_env=False) as client, pytest.raises(httpx.ConnectError):
        client.get(f"https://{target.address}/")


def test_nothing_of_the_hub_is_open_to_the_network(target: Target) -> None:
    settings = target.coordinator.settings
    command = json.dumps([service.command for service in target.coordinator.services()])
    assert f'"--host", "127.0.0.1", "--port", "{settings.superlink_port}"' in command
    assert '"--isolation", "process"' in command
    assert '"--enable-supernode-auth"' in command
    assert '"--insecure"' not in command


class Recorder(socketserver.ThreadingTCPServer):
    """An HTTP proxy that connects whoever asks, and remembers where to."""

    allow_reuse_address = daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Tunnel)
        self.asked: list[str] = []


class _Tunnel(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        method, wanted, _ = self.rfile.readline().decode().split()
        while self.rfile.readline().strip():
            pass
        assert isinstance(self.server, Recorder)
        self.server.asked.append(f"{method} {wanted}")
        host, _, port = wanted.rpartition(":")
        with socket.create_connection((host, int(port))) as there:
            self.wfile.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            back = threading.Thread(target=_copy, args=(there, self.request), daemon=True)
            back.start()
            _copy(self.request, there)
            back.join()


def _copy(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while content := source.recv(1 << 16):
            sink.sendall(content)
        sink.shutdown(socket.SHUT_WR)
