"""Metrics for Prometheus, on the loopback address only: the state of the federation, nothing about patients."""

import threading
from collections.abc import Iterable, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.registry import Collector

from silogan.common.errors import ConfigError, reason
from silogan.server.operations.coordinator import Coordinator
from silogan.server.operations.status import status


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
                    body, code = metrics_text(status(coordinator)), 200
                except Exception as error:  # one answer is lost, and says why; the next may succeed
                    body, code = f"# {reason(error)}\n".encode(), 500
            self.send_response(code)
            self.send_header("Content-Type", CONTENT_TYPE_PLAIN_0_0_4)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Logs nothing: one line per request would fill the log."""

    port = coordinator.settings.metrics_port
    try:
        server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    except OSError:
        raise ConfigError("metrics_port", f"{port} is taken", "choose another port in server.yaml") from None
    threading.Thread(target=server.serve_forever, name="metrics", daemon=True).start()
    return server


def metrics_text(found: dict[str, Any]) -> bytes:
    """The facts of `silogan.server.operations.status.status` in Prometheus' text format, and none of this process."""
    registry = CollectorRegistry()
    registry.register(_Facts(found))
    return generate_latest(registry)


class _Facts(Collector):
    def __init__(self, found: dict[str, Any]) -> None:
        self._found = found

    def collect(self) -> Iterator[GaugeMetricFamily]:
        services, days_left = self._found["services"], self._found["certificate"]["days_left"]
        sites, runs = self._found["sites"], self._found["runs"]
        up = [((name,), name in services) for name in ("superlink", "superexec", "proxy")]
        yield _gauge("service_up", "Whether a service runs.", up, "service")
        yield _gauge("problems", "Problems listed by `silogan server status`.", [((), len(self._found["problems"]))])
        if days_left is not None:
            yield _gauge("certificate_days_left", "Days until the certificate ends.", [((), days_left)])
        online = [((site["name"],), site["status"] == "online") for site in sites]
        yield _gauge("site_online", "Whether a site is connected.", online, "site")
        heard = [((site["name"],), round(site["heard"])) for site in sites if site["heard"] is not None]
        since = "Time when a site was last heard of, or when it went offline, in seconds since 1970."
        yield _gauge("site_heard_seconds", since, heard, "site")
        for metric, key, what in (
            ("round", "round", "Completed rounds of a run."),
            ("rounds", "rounds", "Planned rounds of a run."),
            ("sites_answered", "answered", "Sites whose reply to the newest round was used."),
            ("epsilon", "epsilon", "Privacy loss ε of the site that spent the most in a run."),
        ):
            values = [((run["name"],), run[key]) for run in runs if run[key] is not None]
            yield _gauge(f"run_{metric}", what, values, "run")
        state = [((run["name"], run["state"]), 1) for run in runs]
        yield _gauge("run_state", "1 for the state that a run is in.", state, "run", "state")
        refused = [((run["name"],), len(run["refused"])) for run in runs]
        yield _gauge("run_sites_refused", "Sites whose reply to the newest round was not used.", refused, "run")


def _gauge(name: str, what: str, values: Iterable[tuple[Sequence[str], float]], *labels: str) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"silogan_{name}", what, labels=labels)
    for where, value in values:
        family.add_metric(where, value)
    return family
