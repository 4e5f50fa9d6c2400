"""A small HTTPS server in a thread, which notes what it was asked."""

import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any


class Server(ThreadingHTTPServer):
    """Answers each POST with the length of its body, and anything else with 404.

    Attributes:
        seen: method and target of each request, as it came.
        headers: those of the last request.
        date: what the `Date` header says; the present, if None.
    """

    def __init__(self, certificates: Path | None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.seen: list[str] = []
        self.headers: dict[str, str] = {}
        self.date: str | None = None
        if certificates is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificates / "server.pem", certificates / "server.key")
            self.socket = context.wrap_socket(self.socket, server_side=True)

    @property
    def port(self) -> int:
        return self.server_address[1]


class _Handler(BaseHTTPRequestHandler):
    server: Server

    def parse_request(self) -> bool:
        whole = super().parse_request()
        if whole:
            self.server.seen.append(f"{self.command} {self.path}")
            self.server.headers = {name.lower(): value for name, value in self.headers.items()}
        return whole

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        answer = str(len(body)).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def do_GET(self) -> None:
        self.send_response(404)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def date_time_string(self, timestamp: float | None = None) -> str:
        return super().date_time_string(timestamp) if self.server.date is None else self.server.date

    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextmanager
def serving(certificates: Path | None) -> Iterator[Server]:
    """A server on 127.0.0.1 with the server.pem and server.key of a folder; without TLS, if that is None."""
    with Server(certificates) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def listens(port: int) -> bool:
    """Whether something listens on a port of the loopback address."""
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True
