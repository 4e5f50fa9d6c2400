"""Real nginx in front of a small HTTPS server: what passes, what does not, and in whose words it fails."""

import json
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from silogan.common.errors import ConfigError
from silogan.common.operations.certificates import fetch_certificate
from silogan.server.operations.authority import Authority
from silogan.server.operations.proxy import ROUTES, Proxy, find_nginx
from tests.tls import Server, listens, serving

try:
    find_nginx()
    MISSING = False
except ConfigError:
    MISSING = True
needs_nginx = pytest.mark.skipif(MISSING, reason="nginx is not installed (apt install nginx-light)")

START_SECONDS = 20.0
ROUTE = ROUTES[0]
WEIGHTS = "/v1/fleet/push-object"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


@contextmanager
def running(proxy: Proxy) -> Iterator[subprocess.Popen[bytes]]:
    """nginx as a supervisor runs it, once it listens."""
    proxy.write()
    proxy.check()
    process = subprocess.Popen(proxy.command(), stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: listens(proxy.port))
        yield process
    finally:
        process.terminate()
        assert process.wait() == 0


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "it has not come about"
        time.sleep(0.02)


class Front:
    """nginx before a SuperLink: `folder`, `port`, and the server behind it in `superlink`."""

    def __init__(self, proxy: Proxy, superlink: Server) -> None:
        self.proxy, self.port, self.superlink = proxy, proxy.port, superlink
        self.context = ssl.create_default_context(cafile=str(proxy.folder / "ca.pem"))

    def client(self) -> httpx.Client:
        return httpx.Client(verify=self.context, base_url=f"https://localhost:{self.port}", trust_env=False)

    def post(self, path: str = ROUTE, **request: Any) -> httpx.Response:
        with self.client() as client:
            return client.post(path, **request)

    def send(self, content: bytes) -> bytes:
        """Sends bytes as they are, and returns all that comes back."""
        answer = b""
        with (
            socket.create_connection(("127.0.0.1", self.port)) as plain,
            self.context.wrap_socket(plain, server_hostname="localhost") as secure,
        ):
            secure.sendall(content)
            while more := secure.recv(4096):
                answer += more
        return answer

    def logged(self) -> list[dict[str, Any]]:
        text = (self.proxy.run_folder / "access.log").read_text()
        return [json.loads(line) for line in text.splitlines()]


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Front]]:
    """`start(**settings)`: nginx before a server, in a folder whose name would disturb a careless configuration."""
    with ExitStack() as stack:

        def front(**settings: Any) -> Front:
            folder = tmp_path_factory.mktemp("proxy") / "server $host; {' \" #é"
            folder.mkdir()
            Authority.create(folder).renew(["fl.example.org"])
            superlink = stack.enter_context(serving(folder))
            proxy = Proxy(folder, "127.0.0.1", free_port(), superlink.port, **settings)
            stack.enter_context(running(proxy))
            return Front(proxy, superlink)

        yield front


@pytest.fixture(scope="module")
def front(start: Callable[..., Front]) -> Front:
    return start()


def request(method: str, target: str) -> bytes:
    return f"{method} {target} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode()


# --- what passes -----------------------------------------------------------------------------------------------------


def test_routes_are_what_an_enrolled_node_calls() -> None:
    """Of Flower's own router: a new version that calls something else fails here, not at a hospital."""
    from flwr.superlink.routers.fleet.router import router  # noqa: PLC0415  (takes seconds)

    fleet = {route.path for route in router.routes}  # pyright: ignore[reportAttributeAccessIssue]
    assert set(ROUTES) == fleet - {"/v1/fleet/register-node", "/v1/fleet/unregister-node"}
    assert len(ROUTES) == 10


@needs_nginx
@pytest.mark.parametrize("route", ROUTES)
def test_route_passes_with_its_body(front: Front, route: str) -> None:
    front.superlink.seen.clear()
    size = front.proxy.body_bytes(route)
    answer = front.post(route, content=b"x" * size)
    assert (answer.status_code, answer.text) == (200, str(size))
    assert front.superlink.seen == [f"POST {route}"]


@needs_nginx
def test_node_s_own_headers_pass_and_forged_ones_do_not(front: Front) -> None:
    own = {"flwr-public-key": "cHVibGlj", "flwr-signature": "c2ln", "flwr-timestamp": "2026-01-01T00:00:00+00:00"}
    forged = {"X-Forwarded-For": "10.9.8.7", "X-Forwarded-Proto": "http", "Forwarded": "for=10.9.8.7", "Host": "evil"}
    front.post(headers=own | forged)
    seen = front.superlink.headers
    assert {name: seen[name] for name in own} == own
    assert (seen["x-forwarded-for"], seen["x-forwarded-proto"], seen["host"]) == ("127.0.0.1", "https", "localhost")
    assert "forwarded" not in seen


# --- what does not ---------------------------------------------------------------------------------------------------

PIECES = st.sampled_from(
    ["/", "//", "/./", "/../", "..", "%2f", "%2F", "%2e%2e", "%252f", "\\", ";", "?", "#", "%00", "%20", ":", "@", "*",
     "v1", "V1", "fleet", "control", "runtime", "health", "docs", "get-run", "Get-Run", "%67et-run", "push-object",
     "register-node", "start-run", "https://superlink", "http:", "é", "\t"]
)  # fmt: skip
TARGETS = st.one_of(
    st.lists(PIECES, min_size=1, max_size=9).map("".join),
    st.tuples(st.sampled_from(ROUTES), st.lists(PIECES, max_size=4).map("".join)).map("".join),
    st.tuples(st.lists(PIECES, max_size=4).map("".join), st.sampled_from(ROUTES)).map("".join),
    st.sampled_from(ROUTES).map(str.upper),
)
METHODS = st.sampled_from(["POST", "POST", "POST", "GET", "HEAD", "PUT", "DELETE", "OPTIONS", "post", "PRI", "CONNECT"])


@needs_nginx
@settings(max_examples=300)
@given(METHODS, TARGETS)
@example("POST", "/v1/fleet/register-node")
@example("POST", "/v1/fleet/unregister-node")
@example("POST", "/v1/control/start-run")
@example("POST", "/v1/runtime/acquire-task")
@example("GET", "/health")
@example("GET", "/docs")
@example("GET", ROUTE)
@example("POST", ROUTE + "/")
@example("POST", ROUTE + "?x=1")
@example("POST", ROUTE + "#x")
@example("POST", ROUTE + "%00")
@example("POST", "/" + ROUTE)
@example("POST", "/v1/fleet/../control/start-run")
@example("POST", "/v1/fleet/%2e%2e/control/start-run")
@example("POST", "/v1/fleet/..%2fcontrol%2fstart-run")
@example("POST", ROUTE + "/../../control/start-run")
@example("POST", "/v1/control/../fleet/activate-node")
@example("POST", "/v1/fleet/%61ctivate-node")
@example("POST", "/v1/Fleet/activate-node")
@example("POST", "https://localhost/v1/control/start-run")
@example("POST", "*")
def test_nothing_else_ever_reaches_the_superlink(front: Front, method: str, target: str) -> None:
    allowed = {f"POST {route}" for route in ROUTES}
    front.superlink.seen.clear()
    answer = front.send(request(method, target))
    if f"{method} {re.sub('^https?://[^/]*', '', target)}" in allowed:
        assert set(front.superlink.seen) <= allowed  # a target with a host is that of its path (RFC 9112, 3.2.2)
        return
    assert front.superlink.seen == []
    status, _, body = answer.partition(b"\r\n\r\n")
    assert status.split()[1:2] in ([b"404"], [b"400"])
    assert body == (b"the request cannot be read\n" if b" 400 " in status and method != "HEAD" else b"")


@needs_nginx
@pytest.mark.parametrize(
    "smuggled",
    [
        b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"Content-Length: 0\r\nContent-Length: 44\r\n\r\n",
        b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        b"Content-Length: 0\r\nUpgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\n\r\n",
        b"Content-Length: 0\r\n\r\n",
    ],
)
def test_second_request_behind_a_first_is_judged_by_itself(front: Front, smuggled: bytes) -> None:
    front.superlink.seen.clear()
    first = f"POST {ROUTE} HTTP/1.1\r\nHost: x\r\n".encode() + smuggled
    front.send(first + request("POST", "/v1/control/start-run"))
    assert set(front.superlink.seen) <= {f"POST {ROUTE}"}


@needs_nginx
def test_large_body_on_another_path_goes_nowhere(front: Front) -> None:
    front.superlink.seen.clear()
    answer = front.post("/v1/control/start-run", content=b"x" * (3 << 20))
    assert (answer.status_code, answer.content, front.superlink.seen) == (404, b"", [])


@needs_nginx
def test_refusal_is_empty_and_names_no_version(front: Front) -> None:
    with front.client() as client:
        answer = client.get("/")
    assert (answer.status_code, answer.content) == (404, b"")
    assert answer.headers["server"] == "nginx"
    assert "date" in answer.headers  # by which a hospital checks its clock


@needs_nginx
def test_plain_http_gets_one_line(front: Front) -> None:
    answer = httpx.get(f"http://127.0.0.1:{front.port}/", trust_env=False)
    assert (answer.status_code, answer.text) == (400, "the request cannot be read\n")


# --- limits ----------------------------------------------------------------------------------------------------------


@needs_nginx
def test_bodies_are_limited_and_only_weights_may_be_large(start: Callable[..., Front]) -> None:
    front = start(object_bytes=20 << 20)
    whole, too_large = b"x" * (20 << 20), b"x" * ((20 << 20) + 1)
    assert front.post(WEIGHTS, content=whole).text == str(len(whole))
    front.superlink.seen.clear()
    for path, body in ((WEIGHTS, too_large), ("/v1/fleet/push-messages", whole)):
        answer = front.post(path, content=body)
        assert (answer.status_code, answer.text) == (413, "the request is too large\n")
    assert front.superlink.seen == []


@needs_nginx
def test_flood_of_requests_is_told_to_come_back(start: Callable[..., Front]) -> None:
    """503 is what a SuperNode tries again after; the burst of 10 passes first."""
    front = start(requests_per_second=1)
    with front.client() as client:
        answers = [client.post(ROUTE) for _ in range(60)]
    assert [answer.status_code for answer in answers[:10]] == [200] * 10
    assert {(answer.status_code, answer.text) for answer in answers} == {
        (200, "0"),
        (503, "too many requests\n"),
    }


def is_held(front: Front, stack: ExitStack) -> bool:
    """Sends a request whose body does not come; whether nginx waits for it, and does not refuse it."""
    plain = stack.enter_context(socket.create_connection(("127.0.0.1", front.port)))
    slow = stack.enter_context(front.context.wrap_socket(plain, server_hostname="localhost"))
    slow.sendall(f"POST {ROUTE} HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n".encode())
    slow.settimeout(0.5)
    try:
        slow.recv(1)
    except TimeoutError:
        return True
    return False


@needs_nginx
def test_connections_of_one_address_are_limited(start: Callable[..., Front]) -> None:
    front = start(connections=2)
    with ExitStack() as stack:
        for _ in range(2):
            wait_until(lambda: is_held(front, stack))  # the connection before it may still count
        wait_until(lambda: front.post().status_code == 503)
    wait_until(lambda: front.post().status_code == 200)


# --- the SuperLink behind --------------------------------------------------------------------------------------------


@needs_nginx
def test_superlink_must_prove_who_it_is(tmp_path: Path) -> None:
    """Another process that has taken the SuperLink's port gets no request."""
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    for folder in (ours, theirs):
        folder.mkdir()
        Authority.create(folder).renew(["fl.example.org"])
    with serving(theirs) as impostor:
        proxy = Proxy(ours, "127.0.0.1", free_port(), impostor.port)
        with running(proxy):
            answer = Front(proxy, impostor).post()
        assert (answer.status_code, answer.text) == (502, "the SuperLink does not answer\n")
        assert impostor.seen == []


@needs_nginx
@pytest.mark.parametrize(("name", "status"), [("fl.example.org", 200), ("other.example.org", 502)])
def test_superlink_s_name_is_compared(start: Callable[..., Front], name: str, status: int) -> None:
    assert start(superlink_name=name).post().status_code == status


@needs_nginx
def test_outside_and_inside_may_have_authorities_of_their_own(tmp_path: Path) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    for folder in (tmp_path, inside):
        Authority.create(folder).renew(["fl.example.org"])
    with serving(inside) as superlink:
        proxy = Proxy(tmp_path, "127.0.0.1", free_port(), superlink.port, superlink_ca="inside/ca.pem")
        with running(proxy):
            assert Front(proxy, superlink).post().status_code == 200


@needs_nginx
def test_superlink_that_is_down(tmp_path: Path) -> None:
    """502 whatever was sent: a SuperNode tries again after it."""
    Authority.create(tmp_path).renew(["fl.example.org"])
    with serving(tmp_path) as superlink:
        proxy = Proxy(tmp_path, "127.0.0.1", free_port(), free_port())
        with running(proxy):
            for body in (b"", b"x" * (3 << 20)):
                answer = Front(proxy, superlink).post(WEIGHTS, content=body)
                assert (answer.status_code, answer.text) == (502, "the SuperLink does not answer\n")


# --- running it ------------------------------------------------------------------------------------------------------


@needs_nginx
def test_renewed_certificate_is_shown_after_a_hangup(tmp_path: Path) -> None:
    authority = Authority.create(tmp_path)
    first = authority.renew(["fl.example.org"])
    proxy = Proxy(tmp_path, "127.0.0.1", free_port(), free_port())

    def shown() -> object:
        return fetch_certificate("localhost", proxy.port, authority.ca_pem)

    with running(proxy) as process:
        assert shown() == first
        second = authority.renew(["new.example.org"])
        process.send_signal(signal.SIGHUP)
        wait_until(lambda: shown() == second)


@needs_nginx
def test_log_has_a_line_of_json_for_each_request_and_no_body(front: Front) -> None:
    before = len(front.logged())
    front.post(content=b"weights of a model")
    front.send(request("POST", '/"quoted"\\x'))
    wait_until(lambda: len(front.logged()) == before + 2)
    first, second = front.logged()[before:]
    assert (first["request"], first["status"], first["address"]) == (f"POST {ROUTE}", 200, "127.0.0.1")
    assert (second["request"], second["status"]) == ('POST /"quoted"\\x', 404)
    assert not any(b"weights of a model" in path.read_bytes() for path in front.proxy.run_folder.glob("*.log"))


@needs_nginx
def test_large_logs_are_put_aside_and_nginx_goes_on(front: Front, monkeypatch: pytest.MonkeyPatch) -> None:
    log = front.proxy.run_folder / "access.log"
    process = int((front.proxy.run_folder / "nginx.pid").read_text())
    front.post()
    wait_until(lambda: log.stat().st_size > 0)
    front.proxy.rotate_logs(process)  # not large yet
    assert not log.with_name("access.log.1").exists()
    monkeypatch.setattr("silogan.server.operations.proxy._LOG_BYTES", 10)
    for _ in range(2):
        before = log.read_bytes()
        front.proxy.rotate_logs(process)
        assert log.with_name("access.log.1").read_bytes().startswith(before)
        # a worker may write a last line to the old one
        wait_until(lambda: front.post().status_code == 200 and log.exists() and log.stat().st_size > 0)
    log.with_name("access.log.1").unlink()


@needs_nginx
def test_all_that_nginx_writes_is_in_its_folder(front: Front) -> None:
    found = {path.name for path in front.proxy.run_folder.iterdir()}
    assert found == {"nginx.conf", "nginx.pid", "access.log", "error.log", "body", "answers", "unused"}
    assert {path.name for path in front.proxy.folder.iterdir()} == {
        "proxy", "ca.pem", "ca.key", "server.pem", "server.key",
    }  # fmt: skip


@needs_nginx
@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda folder: (folder / "server.key").unlink(), "server.key.*check the server's certificates"),
        (lambda folder: (folder / "server.pem").write_bytes(b"x"), "server.pem.*check the server's certificates"),
        (lambda folder: (folder / "ca.pem").unlink(), "ca.pem"),
        (lambda folder: (folder / "proxy/nginx.conf").write_text("nonsense;"), "correct the server's configuration"),
    ],
)
def test_faults_are_one_line(tmp_path: Path, spoil: Callable[[Path], object], words: str) -> None:
    Authority.create(tmp_path).renew(["fl.example.org"])
    proxy = Proxy(tmp_path, "127.0.0.1", free_port(), free_port())
    proxy.write()
    proxy.check()
    spoil(tmp_path)
    with pytest.raises(ConfigError, match=f"nginx: refuses its configuration: .*{words}") as refused:
        proxy.check()
    assert len(str(refused.value).splitlines()) == 1


@needs_nginx
def test_address_of_another_machine(tmp_path: Path) -> None:
    Authority.create(tmp_path).renew(["fl.example.org"])
    proxy = Proxy(tmp_path, "203.0.113.1", free_port(), free_port())
    proxy.write()
    with pytest.raises(ConfigError, match="give an address of this machine"):
        proxy.check()


@needs_nginx
@pytest.mark.parametrize("address", ["0.0.0.0", "::1"])  # noqa: S104
def test_other_addresses_are_understood(tmp_path: Path, address: str) -> None:
    if address == "::1" and not has_ipv6():
        pytest.skip("this machine has no IPv6")
    Authority.create(tmp_path).renew(["fl.example.org"])
    proxy = Proxy(tmp_path, address, free_port(), free_port())
    proxy.write()
    proxy.check()


def has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


def test_missing_nginx_is_told_with_the_mend(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda *_, **__: None)
    with pytest.raises(ConfigError, match=r"nginx: is not installed; .*apt install nginx"):
        find_nginx()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("address", "localhost"),
        ("address", "0.0.0.0; root /"),
        ("address", ""),
        ("port", 0),
        ("port", 65536),
        ("port", "443; user root"),
        ("port", True),
        ("port", 9091),
        ("superlink_port", float("nan")),
        ("superlink_name", "127.0.0.1"),
        ("superlink_name", "a; return 200"),
        ("superlink_name", "*.example.org"),
        ("superlink_ca", "../ca.pem"),
        ("superlink_ca", "/etc/ca.pem"),
        ("superlink_ca", "a b"),
        ("object_bytes", -1),
        ("requests_per_second", 0),
        ("connections", 10**9),
        ("pieces_per_second", 0),
        ("pieces_at_once", "8"),
        ("all_connections", True),
    ],
)
def test_values_that_nginx_could_misread_are_refused(tmp_path: Path, key: str, value: object) -> None:
    settings: dict[str, Any] = {"address": "0.0.0.0", "port": 9443, "superlink_port": 9091, key: value}  # noqa: S104
    with pytest.raises(ConfigError):
        Proxy(tmp_path, **settings)


def test_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "proxy").write_bytes(b"")
    with pytest.raises(ConfigError, match=r"nginx\.conf.*cannot be written"):
        Proxy(tmp_path, "127.0.0.1", 9443, 9091).write()


def test_workers_keep_the_rights_of_whoever_starts_nginx(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    proxy = Proxy(tmp_path, "127.0.0.1", 9443, 9091)
    for user, line in ((0, "user root;"), (1000, "")):
        monkeypatch.setattr(os, "geteuid", lambda user=user: user)
        assert re.findall(r"^user .*$", proxy.text(), re.MULTILINE) == ([line] if line else [])
