"""Metrics for Prometheus, on the loopback address only: how the federation stands, nothing of any patient."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from common.errors import ConfigError, reason
from server.coordinator import Coordinator
from server.status import status


def serve_metrics(coordinator: Coordinator) -> ThreadingHTTPServer:
    """Answers `GET /metrics` on 127.0.0.1 in a thread, for as long as this process runs.

    Raises:
        ConfigError: the port is taken.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body, code = b"", 404
            if self.path == "/metrics":
                try:
                    body, code = metrics_text(status(coordinator)).encode(), 200
                except Exception as error:  # one answer is lost, and says why; the next may succeed
                    body, code = f"# {reason(error)}\n".encode(), 500
            self.send_response(code)
            self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """One line a question would fill the log."""

    port = coordinator.settings.metrics_port
    try:
        server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    except OSError:
        raise ConfigError("metrics_port", f"{port} is taken", "choose another in server.yaml") from None
    threading.Thread(target=server.serve_forever, name="metrics", daemon=True).start()
    return server


def metrics_text(found: dict[str, Any]) -> str:
    """The facts of `server.status.status` in Prometheus' text format, version 0.0.4."""
    return "".join(f"{line}\n" for line in _lines(found))


def _lines(found: dict[str, Any]) -> Iterator[str]:
    yield "# TYPE silogan_service_up gauge"
    for name in ("superlink", "superexec", "proxy"):
        yield f'silogan_service_up{{service="{name}"}} {int(name in found["services"])}'
    yield "# TYPE silogan_problems gauge"
    yield f"silogan_problems {len(found['problems'])}"
    if found["certificate"]["days_left"] is not None:
        yield "# TYPE silogan_certificate_days_left gauge"
        yield f"silogan_certificate_days_left {found['certificate']['days_left']}"
    yield "# TYPE silogan_site_online gauge"
    for site in found["sites"]:
        yield f'silogan_site_online{{site="{_escaped(site["name"])}"}} {int(site["status"] == "online")}'
    yield "# TYPE silogan_site_heard_seconds gauge"
    for site in found["sites"]:
        if site["heard"] is not None:
            yield f'silogan_site_heard_seconds{{site="{_escaped(site["name"])}"}} {site["heard"]:.0f}'
    for metric, key in (
        ("round", "round"),
        ("rounds", "rounds"),
        ("sites_answered", "answered"),
        ("epsilon", "epsilon"),
    ):
        yield f"# TYPE silogan_run_{metric} gauge"
        for run in found["runs"]:
            if run[key] is not None:
                yield f'silogan_run_{metric}{{run="{run["name"]}"}} {run[key]}'
    yield "# TYPE silogan_run_state gauge"
    for run in found["runs"]:
        yield f'silogan_run_state{{run="{run["name"]}",state="{run["state"]}"}} 1'
    yield "# TYPE silogan_run_sites_refused gauge"
    for run in found["runs"]:
        yield f'silogan_run_sites_refused{{run="{run["name"]}"}} {len(run["refused"])}'


def _escaped(text: str) -> str:
    """A label's value: backslash, quote and line feed escaped."""
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
