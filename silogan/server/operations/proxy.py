"""The reverse proxy in front of the SuperLink: nginx, which passes only what an enrolled hospital needs.

The SuperLink has one port for all its interfaces. Those for its operator (/v1/control) and for its own processes
(/v1/runtime) must not be open to the network, so it listens on 127.0.0.1 only and nginx listens outside.

    hospital ── TLS ── nginx ── TLS, verified ── SuperLink on 127.0.0.1
                       │ ten routes, compared byte by byte; anything else is 404 and goes nowhere

The SuperLink reads a whole request, several times, before it checks the sender. So nginx limits what reaches it: each
route's body to what an honest node needs, and for routes with weights the number of simultaneous requests
(`Proxy.pieces_at_once`). nginx holds back further bodies in files, and answers 502 if there are too many, after which a
SuperNode tries again. `tests/hostile/test_wire_strangers.py` measures the load that the SuperLink then has.

Privacy:
    A request passes only if its method and its target as sent, before any decoding, are one of `ROUTES`; what nginx
    then asks of the SuperLink is that route as written here, never a part of what was sent. Bodies are not logged.
"""

import os
import re
import shutil
import signal
import subprocess
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from cryptography.x509 import DNSName

from silogan.common.errors import ConfigError
from silogan.common.files import write_bytes_atomically, writing
from silogan.common.operations.certificates import parse_name

_CALLS = (
    *("activate-node", "deactivate-node", "send-node-heartbeat", "pull-messages", "push-messages", "get-run"),
    *("get-fab", "push-object", "pull-object", "confirm-message-received"),
)
ROUTES = tuple(f"/v1/fleet/{call}" for call in _CALLS)
"""What an enrolled SuperNode posts to (flwr 1.41, `supernode/fleet_http_connection.py`).

`register-node` and `unregister-node` are left out: nodes are enrolled by the coordinator, over /v1/control.
"""

_PUSH, _PULL = "/v1/fleet/push-object", "/v1/fleet/pull-object"  # the two that carry weights, in and out
_ANNOUNCE = "/v1/fleet/push-messages"
_ANNOUNCE_BYTES = 32 << 10  # the names of 450 objects: a message of 2 GB
_REQUEST_BYTES = 4 << 10  # of all others: a node's number, and a hash or a key
# Two: the SuperLink writes one piece at a time into its database, and answers 500 to who waits for 5 s.
_PIECES_AT_ONCE, _REQUESTS_AT_ONCE = 2, 32
OBJECT_BYTES = 6 << 20
"""Of a piece of weights: Flower's 5 MiB, and what stands around them."""
_CHECK_SECONDS = 60.0
_LOG_BYTES = 10 << 20
_BURST_SECONDS = 10  # a round's objects come all at once
_MOST = {
    **dict.fromkeys(("port", "superlink_port", "connections", "pieces_at_once", "all_connections"), 65535),
    **dict.fromkeys(("requests_per_second", "pieces_per_second"), 10**6),
    "object_bytes": 1 << 40,
}
"""The largest value of each number."""

_FILE_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*")

# A SuperNode tries again after 502, 503 and 504, not after other errors.
_ERRORS = {
    400: "the request cannot be read",
    413: "the request is too large",
    502: "the SuperLink does not answer",
    503: "too many requests",
    504: "the SuperLink takes too long",
}
_AS_400 = (408, 411, 412, 414, 416, 494, 495, 496, 497)  # nginx's own names for requests that cannot be read
_AS_502 = (500, 501, 505)


@dataclass(frozen=True)
class Proxy:
    """How nginx is to run in front of a SuperLink.

    Attributes:
        folder: the coordinator's folder, which holds server.pem, server.key and `superlink_ca`. What nginx writes goes
            into `folder`/proxy: nginx.conf, nginx.pid, access.log (JSON lines), error.log and temporary files.
        address: IP address to listen on; 0.0.0.0 for all of IPv4, :: for all of IPv6.
        port: to listen on; below 1024 the system must allow it (`setcap cap_net_bind_service=+ep` on nginx).
        superlink_port: where the SuperLink listens on 127.0.0.1.
        superlink_name: DNS name (nginx compares no IP addresses) in the SuperLink's certificate.
        superlink_ca: file in `folder` with the authority of the SuperLink's certificate. An institution's certificate
            for the outside does not name localhost: the SuperLink then needs one from an `Authority` of its own.
        object_bytes: largest request with weights, in bytes. Flower sends them in pieces of 5 MiB.
        requests_per_second, connections: most for one address. A SuperNode has up to four requests at a time. What is
            more gets 503, after which a SuperNode tries again.
        pieces_per_second: requests with weights from one address; what is more waits.
        pieces_at_once: requests with weights at one time on the way into the SuperLink, and as many on the way out.
        all_connections: most in all, for which nginx may hold as many bodies in files.

    Raises:
        ConfigError: nginx cannot use a value.
    """

    folder: Path
    address: str
    port: int
    superlink_port: int
    superlink_name: str = "localhost"
    superlink_ca: str = "ca.pem"
    object_bytes: int = OBJECT_BYTES
    requests_per_second: int = 200
    connections: int = 96
    pieces_per_second: int = 20
    pieces_at_once: int = _PIECES_AT_ONCE
    all_connections: int = 512

    def __post_init__(self) -> None:
        # These values become nginx's own language, so nothing else may pass.
        try:
            ip_address(self.address)
        except ValueError:
            hint = "give 0.0.0.0, ::, or an address of this machine"
            raise ConfigError("address", f"{self.address!r} is not an IP address", hint) from None
        for key, most in _MOST.items():
            value: object = getattr(self, key)
            if type(value) is not int or not 1 <= value <= most:
                raise ConfigError(key, f"{value!r} is not a number from 1 to {most}", "correct the value")
        if self.port == self.superlink_port:
            raise ConfigError("port", f"{self.port} is also the SuperLink's", "use two different ports")
        if not isinstance(parse_name(self.superlink_name), DNSName) or "*" in self.superlink_name:
            raise ConfigError("superlink_name", "is not a DNS name", "give one that the certificate contains")
        if not _FILE_NAME.fullmatch(self.superlink_ca):
            raise ConfigError("superlink_ca", f"{self.superlink_ca!r} is not a file in the folder", "correct the name")

    @property
    def run_folder(self) -> Path:
        """The folder of nginx's files."""
        return self.folder / "proxy"

    def write(self) -> Path:
        """Writes nginx.conf and returns its path; a running nginx reads it, and new certificates, after SIGHUP.

        Raises:
            ConfigError: it cannot be written.
        """
        path = self.run_folder / "nginx.conf"
        with writing("file 'nginx.conf'", "repair the disk or the folder's rights"):
            self.run_folder.mkdir(mode=0o700, exist_ok=True)
            write_bytes_atomically(path, self.text().encode())
        return path

    def check(self) -> None:
        """Has nginx test the configuration and the certificates.

        Raises:
            ConfigError: nginx is missing, or refuses it.
        """
        command = [*self.command(), "-t"]
        try:
            done = subprocess.run(  # noqa: S603
                command, capture_output=True, text=True, errors="replace", timeout=_CHECK_SECONDS, check=False
            )
        except (OSError, subprocess.TimeoutExpired):
            raise ConfigError("nginx", "cannot be run", "install it again") from None
        if done.returncode:
            raise _fault(done.stderr)

    def command(self) -> list[str]:
        """The command that runs nginx in the foreground until SIGTERM (at once) or SIGQUIT (when requests are done).

        Its workers are processes of their own: who kills it with SIGKILL must kill its process group.

        Raises:
            ConfigError: nginx is missing.
        """
        return [str(find_nginx()), "-p", f"{self.run_folder.absolute()}/", "-c", "nginx.conf"]

    def rotate_logs(self, process: int) -> None:
        """Puts logs that have grown large aside, each in place of the one before, and has nginx begin new ones.

        Args:
            process: number of the nginx that `command` has started.
        """
        large = [path for path in self.run_folder.glob("*.log") if path.stat().st_size > _LOG_BYTES]
        for path in large:
            path.replace(path.with_name(f"{path.name}.1"))
        if large:
            os.kill(process, signal.SIGUSR1)

    def text(self) -> str:
        """The configuration; all its paths are relative, so that no character of the folder's own can disturb."""
        host = f"[{self.address}]" if ":" in self.address else self.address
        routes = "\n".join(self._location(route) for route in ROUTES)
        pattern = "|".join(re.escape(route).replace(r"\-", "-") for route in ROUTES)
        return _TEMPLATE.format(
            # root would give its workers to another user, who may not enter the folder
            user="user root;" if hasattr(os, "geteuid") and os.geteuid() == 0 else "",
            listen=f"{host}:{self.port}",
            pattern=pattern,
            burst=self.requests_per_second * _BURST_SECONDS,
            requests_at_once=_REQUESTS_AT_ONCE,
            errors=_error_pages(),
            routes=routes,
            **vars(self),
        )

    def body_bytes(self, route: str) -> int:
        """The largest request of a route."""
        return {_PUSH: self.object_bytes, _ANNOUNCE: _ANNOUNCE_BYTES}.get(route, _REQUEST_BYTES)

    def _location(self, route: str) -> str:
        behind = {_PUSH: "pieces_in", _PULL: "pieces_out"}.get(route, "superlink")
        slower = f"limit_req zone=pieces burst={self.pieces_per_second * _BURST_SECONDS};" if route == _PUSH else ""
        # With a path in `proxy_pass` the SuperLink is asked for that path, whatever was sent.
        return f"""\
        location = {route} {{
            if ($passes = 0) {{ return 404 $nothing; }}
            client_max_body_size {self.body_bytes(route)};
            {slower}
            proxy_pass https://{behind}{route};
        }}"""


def find_nginx() -> Path:
    """Where nginx is: on the PATH, or in a folder for system programs, which a user's PATH may lack.

    Raises:
        ConfigError: it is not installed.
    """
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])
    found = shutil.which("nginx", path=path)
    if found is None:
        raise ConfigError("nginx", "is not installed", "install it (Debian, Ubuntu: apt install nginx-light)")
    return Path(found)


def _error_pages() -> str:
    # Paths, not named locations: nginx has none of these for a request whose own path it could not read.
    lines = [
        "        error_page 404 405 =404 /error/404;",
        "        location = /error/404 { internal; return 404 $nothing; }",
    ]
    for code, words in _ERRORS.items():
        also = {400: _AS_400, 502: _AS_502}.get(code, ())
        lines.append(f"        error_page {' '.join(map(str, (code, *also)))} ={code} /error/{code};")
        lines.append(f'        location = /error/{code} {{ internal; return {code} "{words}\\n"; }}')
    return "\n".join(lines)


def _fault(said: str) -> ConfigError:
    """One line of what `nginx -t` prints: the first fault, not the warnings before it."""
    faults = [line for line in said.splitlines() if "[emerg]" in line]
    words = faults[0].partition("[emerg]")[2].strip() if faults else "fails without a message"
    words = re.sub(r"^\d+#\d+: ", "", words)  # its process
    if "bind()" in words and "Cannot assign" in words:
        hint = "give an address of this machine, or 0.0.0.0"
    elif "bind()" in words:
        hint = "use a port of 1024 or above, or allow it: setcap cap_net_bind_service=+ep on nginx"
    elif "SSL_CTX" in words or "certificate" in words or "PEM_" in words:
        hint = "check the server's certificates"
    else:
        hint = "correct the server's configuration; nginx must be 1.18 or newer"
    return ConfigError("nginx", f"refuses its configuration: {words}", hint)


_TEMPLATE = """\
# Written by SiloGAN at each start: changes are lost. Paths are relative to this folder.
daemon off;
{user}
pid nginx.pid;
error_log error.log error;
worker_processes 2;
worker_shutdown_timeout 60s;
events {{ worker_connections 4096; }}

http {{
    client_body_temp_path body;
    proxy_temp_path answers;
    fastcgi_temp_path unused;
    uwsgi_temp_path unused;
    scgi_temp_path unused;
    default_type text/plain;
    server_tokens off;

    log_format lines escape=json '{{"time": "$time_iso8601", "address": "$remote_addr", '
        '"request": "$request_method $request_uri", "status": $status, '
        '"bytes_in": $request_length, "bytes_out": $bytes_sent, "seconds": $request_time}}';
    access_log access.log lines;

    # $request_uri is the target as it was sent: no %2f, .., // or capital letter can stand for something else.
    map "$request_method $request_uri" $passes {{
        default 0;
        "~^POST ({pattern})$" 1;
    }}
    map $passes $nothing {{ default ""; }}

    limit_req_zone $binary_remote_addr zone=requests:10m rate={requests_per_second}r/s;
    limit_req_zone $binary_remote_addr zone=pieces:10m rate={pieces_per_second}r/s;
    limit_conn_zone $binary_remote_addr zone=connections:10m;
    limit_conn_zone $server_port zone=all:1m;

    # The SuperLink ends idle connections after 5 s. A zone counts for all of nginx's workers together.
    upstream superlink {{
        zone superlink 64k;
        server 127.0.0.1:{superlink_port} max_conns={requests_at_once};
        keepalive 16;
        keepalive_timeout 3s;
    }}
    upstream pieces_in {{
        zone pieces_in 64k;
        server 127.0.0.1:{superlink_port} max_conns={pieces_at_once};
        keepalive 4;
        keepalive_timeout 3s;
    }}
    upstream pieces_out {{
        zone pieces_out 64k;
        server 127.0.0.1:{superlink_port} max_conns={pieces_at_once};
        keepalive 4;
        keepalive_timeout 3s;
    }}

    server {{
        listen {listen} ssl;
        ssl_certificate ../server.pem;
        ssl_certificate_key ../server.key;
        ssl_protocols TLSv1.2 TLSv1.3;
        ssl_ciphers ECDHE+AESGCM:ECDHE+CHACHA20;
        ssl_session_cache shared:tls:5m;
        ssl_session_tickets off;

        limit_req zone=requests burst={burst} nodelay;
        limit_conn connections {connections};
        limit_conn all {all_connections};
        client_max_body_size 0;   # each route has its own; an error is answered whatever was sent
        client_header_timeout 10s;
        client_body_timeout 20s;   # without a byte
        send_timeout 20s;
        keepalive_timeout 30s;     # a SuperNode asks every 3 s
        reset_timedout_connection on;

        proxy_http_version 1.1;
        proxy_set_header Connection "";
        proxy_set_header Host {superlink_name};
        # The SuperLink believes these from 127.0.0.1, so a client's own must not pass.
        proxy_set_header X-Forwarded-For $remote_addr;
        proxy_set_header X-Forwarded-Proto https;
        proxy_set_header Forwarded "";
        proxy_connect_timeout 5s;
        proxy_read_timeout 60s;
        proxy_next_upstream off;
        proxy_redirect off;
        proxy_ssl_verify on;
        proxy_ssl_verify_depth 5;
        proxy_ssl_trusted_certificate ../{superlink_ca};
        proxy_ssl_name {superlink_name};
        proxy_ssl_server_name on;
        proxy_ssl_protocols TLSv1.2 TLSv1.3;

{errors}

        location / {{ return 404 $nothing; }}
{routes}
    }}
}}
"""
