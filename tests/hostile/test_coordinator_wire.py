"""A real coordinator, with SuperLink and nginx: what it says, whom it lets in, and the loss of its database."""

import hashlib
import json
import os
import shutil
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from flwr.proto.fleet_pb2 import ActivateNodeRequest
from flwr.supercore.interceptors import RuntimeVersionHttpInterceptor
from flwr.supercore.primitives.asymmetric import public_key_to_bytes
from flwr.supernode.fleet_http_client import FleetHttpClient
from flwr.supernode.node_auth_http_interceptor import NodeAuthHttpInterceptor

from silogan.common.operations.supervise import running
from silogan.server.operations.control import Control
from silogan.server.operations.coordinator import CONTROL_SECRET, INNER, Coordinator
from silogan.server.operations.database import DATABASE
from tests.hostile.coordinators import make_coordinator, public_line, server

ROOT = Path(__file__).parents[2]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (shutil.which("nginx") or Path("/usr/sbin/nginx").exists()), reason="nginx is not installed"
    ),
]


@dataclass
class Running:
    """A coordinator that runs, and the key of its one hospital's node."""

    coordinator: Coordinator
    key: ec.EllipticCurvePrivateKey

    @property
    def said(self) -> str:
        return (self.coordinator.folder.parent / "out.log").read_text()

    @property
    def bergen(self) -> dict[str, Any]:
        done = server(self.coordinator.folder, "status", "--json")
        assert done.code == 0, done.err
        return json.loads(done.out)["sites"][0]

    def activate(self) -> int:
        """What a SuperNode does first; returns its number."""
        key = public_key_to_bytes(self.key.public_key())
        interceptors: list[Any] = [
            RuntimeVersionHttpInterceptor(component_name="SuperNode"),
            NodeAuthHttpInterceptor(self.key, self.key.public_key()),
        ]
        address = f"127.0.0.1:{self.coordinator.settings.port}"
        trusted = (self.coordinator.folder / "ca.pem").read_bytes()
        with FleetHttpClient.from_server_address(address, False, trusted, interceptors=interceptors) as client:
            return client.ActivateNode(ActivateNodeRequest(public_key=key, heartbeat_interval=30)).node_id


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Generator[Running]:
    folder = tmp_path_factory.mktemp("wire") / "server"
    coordinator, key = make_coordinator(folder), ec.generate_private_key(ec.SECP384R1())
    coordinator.enrolment.enrol("bergen", public_line(key), 100)
    command = [sys.executable, "-m", "silogan", "server", "start", "--folder", str(folder)]
    command += ["--as-root"] if os.geteuid() == 0 else []
    with (folder.parent / "out.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
    found = Running(coordinator, key)
    try:
        eventually(lambda: "ready" in found.said and coordinator.enrolment.all()["bergen"].node != 0)
        yield found
    finally:
        process.terminate()
        assert process.wait(timeout=60) == 0


def eventually(holds: Callable[[], bool], seconds: float = 90.0) -> None:
    """Waits until something holds."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it does not hold in time"
        time.sleep(0.2)


def test_start_says_where_it_listens_with_which_authority_and_how_to_stop_it(target: Running) -> None:
    settings = target.coordinator.settings
    assert f"listens on 127.0.0.1:{settings.port}" in target.said
    authority = ssl.PEM_cert_to_DER_cert((target.coordinator.folder / "ca.pem").read_text())
    fingerprint = hashlib.sha256(authority).digest().hex(":").upper()
    assert f"authority (ca.pem) SHA-256 {fingerprint}" in target.said
    assert "1 hospital enrolled; 0 runs" in target.said
    assert f"`silogan server stop --folder {target.coordinator.folder}`" in target.said
    assert target.said.rstrip().endswith("ready")


def test_status_says_when_a_hospital_was_last_heard_of(target: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    before = time.time()
    assert target.activate() == target.coordinator.enrolment.all()["bergen"].node
    bergen = target.bergen
    assert bergen["status"] == "online"
    assert before - 2 <= bergen["heard"] <= time.time() + 2
    assert " s ago (" in server(target.coordinator.folder, "status").out
    monkeypatch.setattr(
        "silogan.server.operations.status.SILENT_SECONDS", -5.0
    )  # it was killed, and Flower still calls it online
    assert target.bergen["status"] == "silent"


def test_the_control_interface_is_for_who_can_read_its_secret(target: Running, tmp_path: Path) -> None:
    folder = target.coordinator.folder
    assert (folder / CONTROL_SECRET).stat().st_mode & 0o777 == 0o600
    address = f"127.0.0.1:{target.coordinator.settings.superlink_port}"
    (tmp_path / "guessed").write_bytes(bytes(32))
    with pytest.raises(Exception, match=r"refuses \(40[13]"):
        Control(address, folder / INNER / "ca.pem", tmp_path / "guessed").nodes()
    with httpx.Client(verify=False, trust_env=False) as client:  # noqa: S501
        for route in ("list-nodes", "start-run", "stop-run", "register-node", "list-runs"):
            for headers in ({}, {"authorization": "Bearer x"}, {"authorization": "Basic x"}):
                answer = client.post(f"https://{address}/v1/control/{route}", content=b"", headers=headers)
                assert answer.status_code in (401, 403), (route, answer.text)
    assert len(target.coordinator.control.nodes()) == 1


def test_a_run_that_the_superlink_does_not_know_is_unknown(target: Running) -> None:
    """As after its database was lost: such a run is begun again, and not waited for."""
    assert target.coordinator.control.run_status(7) == "unknown"


def test_a_lost_database_costs_nothing(target: Running) -> None:
    """Last, since the SuperLink begins anew: it dies, and its database is gone."""
    folder = target.coordinator.folder
    old = target.coordinator.enrolment.all()["bergen"].node
    for path in folder.glob(f"{DATABASE}*"):
        path.unlink()
    superlink = running(folder)["superlink"]
    os.kill(superlink, signal.SIGKILL)
    eventually(lambda: target.coordinator.enrolment.all()["bergen"].node not in (0, old))
    assert target.activate() == target.coordinator.enrolment.all()["bergen"].node
    assert target.bergen["status"] == "online"
    done = server(folder, "repair")
    assert (done.code, done.out) == (0, "All checks passed\n")
