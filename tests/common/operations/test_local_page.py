"""The local page answers its own browser, and nobody else."""

import socket
from collections.abc import Iterator
from http.client import HTTPConnection

import pytest

from silogan.common.operations.local_page import MOST_AT_ONCE, Content, LocalPage, served


def broken() -> Content | None:
    raise ValueError("text of a patient's file")


@pytest.fixture
def page() -> Iterator[LocalPage]:
    contents = {
        "": lambda: Content("text/html", b"page", "default-src 'self'"),
        "state.json": lambda: Content("application/json", b"{}"),
        "nothing.png": lambda: None,
        "broken.json": broken,
    }
    with served(contents) as found:
        yield found


def ask(page: LocalPage, path: str, method: str = "GET", host: str | None = None) -> tuple[int, bytes, dict[str, str]]:
    connection = HTTPConnection("127.0.0.1", page.server_port, timeout=5)
    connection.putrequest(method, path, skip_host=True)
    if host != "":
        connection.putheader("Host", host or f"127.0.0.1:{page.server_port}")
    connection.endheaders()
    answer = connection.getresponse()
    found = answer.status, answer.read(), dict(answer.getheaders())
    connection.close()
    return found


def test_the_address_leads_to_the_page_with_its_policy(page: LocalPage) -> None:
    path = page.address.removeprefix(f"http://127.0.0.1:{page.server_port}")
    status, body, headers = ask(page, path)
    assert (status, body, headers["Content-Security-Policy"]) == (200, b"page", "default-src 'self'")
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Cache-Control"] == "no-store"
    assert len(page.token) >= 32


def test_it_listens_on_this_machine_alone(page: LocalPage) -> None:
    assert page.server_address[0] == "127.0.0.1"


@pytest.mark.parametrize(
    "path",
    [
        "/", "/state.json", "/{token}", "/{token}x/", "/{token}/../", "/{token}/../../etc/passwd",
        "/{token}/run.yaml", "/{token}/%2e%2e/run.yaml", "/{token}/state.json/", "/{token}/STATE.JSON", "/?{token}/",
        "/wrong/state.json", "/{token}/nothing.png", "http://evil.example/{token}/", "/\u00e9/",
    ],
)  # fmt: skip
def test_other_paths_lead_nowhere(page: LocalPage, path: str) -> None:
    raw = path.format(token=page.token).encode("latin-1")
    request = b"GET " + raw + b" HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n\r\n" % page.server_port
    with socket.create_connection(("127.0.0.1", page.server_port), timeout=5) as connection:
        connection.sendall(request)
        answer = connection.makefile("rb").read()
    assert answer.split(b" ", 2)[1] == b"404"
    assert page.token.encode() not in answer.split(b"\r\n\r\n", 1)[1]


@pytest.mark.parametrize(
    "host", ["", "evil.example", "evil.example:{port}", "127.0.0.1", "127.0.0.1:1", "[::1]:{port}"]
)
def test_another_host_is_refused(page: LocalPage, host: str) -> None:
    """As after DNS rebinding, where a foreign name leads to this machine."""
    status, body, _ = ask(page, f"/{page.token}/", host=host.format(port=page.server_port))
    assert (status, body) == (421, b"refused\n")


def test_two_hosts_are_refused(page: LocalPage) -> None:
    own = f"127.0.0.1:{page.server_port}"
    request = f"GET /{page.token}/ HTTP/1.1\r\nHost: {own}\r\nHost: evil.example\r\n\r\n"
    with socket.create_connection(("127.0.0.1", page.server_port), timeout=5) as connection:
        connection.sendall(request.encode())
        assert connection.makefile("rb").read().split(b" ", 2)[1] == b"421"


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "HEAD", "OPTIONS", "TRACE", "BREW"])
def test_only_get_is_answered(page: LocalPage, method: str) -> None:
    status, _, headers = ask(page, f"/{page.token}/", method=method)
    assert status == 501
    assert "Access-Control-Allow-Origin" not in headers


def test_a_fault_of_what_is_shown_says_nothing_and_ends_nothing(
    page: LocalPage, capfd: pytest.CaptureFixture[str]
) -> None:
    assert ask(page, f"/{page.token}/broken.json")[:2] == (503, b"refused\n")
    assert ask(page, f"/{page.token}/state.json")[:2] == (200, b"{}")
    assert capfd.readouterr() == ("", "")


def test_connections_that_say_nothing_do_not_stop_the_others(page: LocalPage) -> None:
    silent = [socket.create_connection(("127.0.0.1", page.server_port), timeout=5) for _ in range(MOST_AT_ONCE - 1)]
    assert ask(page, f"/{page.token}/state.json")[0] == 200
    for connection in silent:
        connection.close()


def test_it_is_gone_after_its_context() -> None:
    with served({}) as page:
        port = page.server_port
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=1)
