"""A page for a browser on this machine alone: a few named contents, over HTTP on 127.0.0.1, with the standard library.

Privacy: it binds to the loopback interface only. Each address holds a random token, so that other users of the machine
cannot guess it. The Host header must be this server's own, so that no foreign web page reaches it by DNS rebinding.
Only GET is answered, with the contents that were given, by their exact names: no path becomes the name of a file.
"""

import hmac
import http.server
import secrets
import threading
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from socket import socket
from typing import Any, NamedTuple

MOST_AT_ONCE = 16
"""Connections that are served at the same time; further ones are closed."""

_SECONDS = 10.0  # in which a browser must have sent its request
_HEADERS = {
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class Content(NamedTuple):
    """What is sent: its media type, bytes, and the Content-Security-Policy of a page."""

    media_type: str
    body: bytes
    policy: str = "default-src 'none'"


Contents = Mapping[str, Callable[[], Content | None]]
"""By name, what makes it at each request; None where there is nothing now."""


class LocalPage(http.server.ThreadingHTTPServer):
    """The server; its page is the content named "".

    Args:
        contents: all that it serves.

    Attributes:
        address: of the page, with the token.
        asked: how many requests it has answered.

    Raises:
        OSError: no port can be had.
    """

    daemon_threads = True
    allow_reuse_address = False

    def __init__(self, contents: Contents) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.contents, self.token, self.asked = contents, secrets.token_urlsafe(24), 0
        self._free = threading.BoundedSemaphore(MOST_AT_ONCE)

    @property
    def address(self) -> str:
        """Of the page."""
        return f"http://127.0.0.1:{self.server_port}/{self.token}/"

    def process_request(self, request: socket | tuple[bytes, socket], client_address: Any) -> None:
        """Serves a connection in a thread of its own, if not too many are open."""
        if self._free.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: socket | tuple[bytes, socket], client_address: Any) -> None:
        """See `process_request`."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: socket | tuple[bytes, socket], client_address: Any) -> None:
        """A browser that goes away is no error, and a connection's fault is nobody else's."""


class _Handler(http.server.BaseHTTPRequestHandler):
    server: LocalPage  # pyright: ignore[reportIncompatibleVariableOverride]
    timeout = _SECONDS
    server_version, sys_version = "SiloGAN", ""
    error_message_format, error_content_type = "refused\n", "text/plain"

    def do_GET(self) -> None:
        page = self.server
        own = (f"127.0.0.1:{page.server_port}", f"localhost:{page.server_port}")
        if self.headers.get_all("Host") not in ([own[0]], [own[1]]):
            self.send_error(HTTPStatus.MISDIRECTED_REQUEST)
            return
        token, stroke, name = self.path.partition("?")[0].removeprefix("/").partition("/")
        known = hmac.compare_digest(token.encode(), page.token.encode())
        if not (known and stroke and name in page.contents):
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        try:
            found = page.contents[name]()
        except Exception:
            self.send_error(HTTPStatus.SERVICE_UNAVAILABLE)
            return
        page.asked += 1
        if found is None:
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        self.send_response(HTTPStatus.OK)
        sent = {"Content-Type": found.media_type, "Content-Length": str(len(found.body))}
        for header, value in {**sent, "Content-Security-Policy": found.policy, **_HEADERS}.items():
            self.send_header(header, value)
        self.end_headers()
        self.wfile.write(found.body)

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing: the terminal is for the run."""


@contextmanager
def served(contents: Contents) -> Generator[LocalPage]:
    """Serves contents within the context, in a thread of its own.

    Raises:
        OSError: no port can be had.
    """
    with LocalPage(contents) as page:
        server = threading.Thread(target=page.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True)
        server.start()
        try:
            yield page
        finally:
            page.shutdown()
            server.join()
