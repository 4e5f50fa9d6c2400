"""The coordinator's control of its SuperLink: enrol nodes, start and stop runs, query their state.

It talks to the SuperLink's Control API on the loopback address, over TLS. The proxy does not pass that interface on.
It uses functions of flwr 1.41 that are not documented, which is why flwr is pinned to one minor version.
"""

import hashlib
import ssl
from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import partial
from http import HTTPStatus
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

import httpx
from flwr.cli.build import build_fab_from_disk
from flwr.common.constant import HEARTBEAT_PATIENCE
from flwr.common.serde import fab_to_proto, user_config_to_proto
from flwr.proto import control_pb2 as wire
from flwr.supercore.control import ControlHttpClient
from flwr.supercore.fab import Fab
from flwr.supercore.interceptors import RuntimeVersionHttpInterceptor
from flwr.supercore.protobuf.client import ProtobufCall, ProtobufRequestContext

from silogan.common.errors import ConfigError, FederationError
from silogan.common.wire.bundle import stage
from silogan.server.operations.nodes import NodeFacts, key_bytes

_Answer = TypeVar("_Answer")


class Control:
    """Commands to one SuperLink.

    Args:
        address: host:port of the SuperLink, on this machine.
        authority: PEM file with the authority of its certificate.
        secret: file with what an operator has to know (`server/operations/hub.py`).
    """

    def __init__(self, address: str, authority: Path, secret: Path) -> None:
        self._address = address
        self._authority, self._secret = authority, secret

    def is_up(self) -> bool:
        """Whether the SuperLink answers."""
        try:
            context = ssl.create_default_context(cafile=self._authority)
            with httpx.Client(verify=context, trust_env=False, timeout=5) as client:
                return client.get(f"https://{self._address}/health").is_success
        except (httpx.HTTPError, OSError):
            return False

    def register(self, name: str, public_key: str) -> int:
        """Enrols a node under a name; returns its number.

        Raises:
            FederationError: the SuperLink refuses, because the key is enrolled already, or does not answer.
        """
        request = wire.RegisterNodeRequest(public_key=key_bytes(public_key), name=name)
        return self._ask(lambda client: client.RegisterNode(request).node_id)

    def unregister(self, node: int) -> None:
        """Ends a node's enrolment.

        Raises:
            FederationError: the SuperLink does not know it, or does not answer.
        """
        self._ask(lambda client: client.UnregisterNode(wire.UnregisterNodeRequest(node_id=node)))

    def nodes(self) -> dict[int, NodeFacts]:
        """What the SuperLink knows of each node by its number, those that it has taken back among them."""
        found = self._ask(lambda client: client.ListNodes(wire.ListNodesRequest()))
        return {
            node.node_id: NodeFacts(
                node.status,
                node.public_key,
                node.online_until - (HEARTBEAT_PATIENCE * node.heartbeat_interval if node.status == "online" else 0.0)
                if node.online_until
                else None,
            )
            for node in found.nodes_info
        }

    def start_run(self, run: str) -> int:
        """Starts the installed software on a run folder of this coordinator; returns the run's number.

        Raises:
            FederationError: the SuperLink refuses or does not answer.
        """
        bundle = _bundle()
        request = wire.StartRunRequest(
            fab=fab_to_proto(Fab(hashlib.sha256(bundle).hexdigest(), bundle, {})),
            override_config=user_config_to_proto({"run-dir": run}),
        )
        return self._ask(lambda client: client.StartRun(request).run_id)

    def stop_run(self, number: int) -> None:
        """Stops a run.

        Raises:
            FederationError: the SuperLink does not know it, or does not answer.
        """
        self._ask(lambda client: client.StopRun(wire.StopRunRequest(run_id=number)))

    def run_status(self, number: int) -> str:
        """How a run stands: `finished:completed`, `running`, ..., or `unknown` if the SuperLink does not know it."""
        found = self._ask(partial(_runs, number=number))
        if number not in found.run_dict:
            return "unknown"
        status = found.run_dict[number].status
        return f"{status.status}:{status.sub_status}".rstrip(":")

    def _ask(self, ask: Callable[[ControlHttpClient], _Answer]) -> _Answer:
        with _answered(), self._client() as client:
            return ask(client)

    @contextmanager
    def _client(self) -> Generator[ControlHttpClient]:
        client = ControlHttpClient.from_server_address(
            server_address=self._address,
            insecure=False,
            root_certificates=self._authority.read_bytes(),
            interceptors=[RuntimeVersionHttpInterceptor(component_name="flwr CLI"), _Login(bearer(self._secret))],
        )
        try:
            yield client
        finally:
            client.close()


class _Login:
    """Shows the operator's secret with each request."""

    def __init__(self, token: str) -> None:
        self._token = token

    def intercept(self, context: ProtobufRequestContext, call_next: ProtobufCall) -> httpx.Response:
        """See flwr's own interceptors."""
        context.request.headers["authorization"] = f"Bearer {self._token}"
        return call_next(context)


def bearer(secret: Path) -> str:
    """What shows that a caller may read the operator's secret.

    Raises:
        ConfigError: it cannot be read.
    """
    try:
        return hashlib.sha256(b"silogan operator\0" + secret.read_bytes()).hexdigest()
    except OSError as error:
        problem = f"cannot be read ({error.strerror})"
        raise ConfigError(f"secret '{secret.name}'", problem, "run this as the coordinator's user") from None


def _bundle() -> bytes:
    with TemporaryDirectory(prefix="silogan-") as scratch:
        stage(Path(scratch) / "app")
        return build_fab_from_disk(Path(scratch) / "app")


def _runs(client: ControlHttpClient, number: int) -> wire.ListRunsResponse:
    """A run, or none where the SuperLink does not know it, as after its database was lost."""
    try:
        return client.ListRuns(wire.ListRunsRequest(run_id=number))
    except httpx.HTTPStatusError as error:
        if error.response.status_code != HTTPStatus.NOT_FOUND:
            raise
        return wire.ListRunsResponse()


@contextmanager
def _answered() -> Generator[None]:
    """Turns errors of the HTTP client into one line."""
    try:
        yield
    except httpx.HTTPStatusError as error:
        problem = f"refuses ({error.response.status_code}: {error.response.text[:200]})"
        raise FederationError("SuperLink", problem, "see logs/server.jsonl") from None
    except (httpx.HTTPError, OSError) as error:
        problem = f"does not answer ({type(error).__name__})"
        raise FederationError("SuperLink", problem, "start it with `silogan server start`") from None
