"""Flower's own programs: their paths, their environment, and how to call them.

Nothing is sent to anybody but the two sides of a federation: telemetry, the check for updates and the installation of
dependencies at run time are off in every process that is started with `environment`.
"""

import json
import os
import shutil
import socket
import subprocess
import sysconfig
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, cast

from silogan.common.errors import ConfigError

LOOPBACK = "127.0.0.1"
COMMAND_SECONDS = 120.0
"""For one `flwr` command, which imports for 3 s on an idle core."""

_ENDING_SECONDS = 5.0  # for what a coordinator that was killed has left, which ends with it


class FlowerError(Exception):
    """One of Flower's programs failed; the message is a clause that says which."""


def environment(home: Path, **more: str) -> dict[str, str]:
    """This process's environment, with a private home for Flower, nothing sent and nothing installed.

    Args:
        home: Flower's own folder (configuration and installed apps).
        more: further variables.
    """
    env = os.environ | {
        "FLWR_HOME": str(home),
        "FLWR_TELEMETRY_ENABLED": "0",
        "FLWR_DISABLE_UPDATE_CHECK": "1",
        "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
        "FLWR_LOG_LEVEL": "INFO",  # DEBUG logs configurations in full
        "NO_PROXY": _without_proxy(),
        "NO_COLOR": "1",
        "PYTHONUNBUFFERED": "1",
        # Flower starts its programs by name; they lie next to this Python, which need not be on the PATH.
        "PATH": os.pathsep.join(filter(None, [sysconfig.get_path("scripts"), os.environ.get("PATH")])),
        **more,
    }
    return {name: value for name, value in env.items() if name not in ("no_proxy", "FORCE_COLOR")}


def program(name: str, env: Mapping[str, str]) -> str:
    """The path of one of Flower's programs.

    Raises:
        FlowerError: it is not installed.
    """
    path = shutil.which(name, path=env["PATH"])
    if path is None:
        raise FlowerError(f"the program '{name}' is not on the PATH")
    return path


def write_connection(home: Path, name: str, address: str) -> None:
    """Tells the `flwr` command where the SuperLink on this machine is; the connection is not encrypted."""
    home.mkdir(parents=True, exist_ok=True)
    link = f'[superlink]\ndefault = "{name}"\n\n[superlink.{name}]\naddress = "{address}"\ninsecure = true\n'
    (home / "config.toml").write_text(link, encoding="utf-8")


def ask(env: Mapping[str, str], folder: Path, log: IO[bytes] | int, *arguments: str) -> dict[str, Any]:
    """Runs one `flwr` command and returns the JSON object that it prints, which must report success.

    Args:
        env: its environment.
        folder: its working directory.
        log: where its messages go, and its answer if that is invalid.
        arguments: what follows `flwr`.

    Raises:
        FlowerError: it failed, or took too long.
    """
    try:
        done = subprocess.run(  # noqa: S603
            [program("flwr", env), *arguments, "--format", "json"],
            check=False,  # what it prints says more than its exit code
            env=env,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            timeout=COMMAND_SECONDS,
        )
    except subprocess.TimeoutExpired:
        raise FlowerError(f"'flwr {arguments[0]}' took more than {COMMAND_SECONDS:.0f} s") from None
    try:
        answer: object = json.loads(done.stdout)
    except ValueError:
        answer = None
    if isinstance(answer, dict) and cast(dict[str, Any], answer).get("success"):
        return cast(dict[str, Any], answer)
    if not isinstance(log, int):
        log.write(done.stdout)
    raise FlowerError(f"'flwr {arguments[0]}' failed")


def free_port() -> int:
    """A free port of the loopback address."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return probe.getsockname()[1]


def check_free(host: str, port: int, name: str) -> None:
    """Checks that nobody else listens on a port that a program is about to use.

    Args:
        host: the address to listen on.
        port: the port.
        name: the setting that says so.

    Raises:
        ConfigError: somebody does, or the address is not this machine's.
    """
    deadline = time.monotonic() + _ENDING_SECONDS
    while (problem := _hindrance(host, port)) is not None:
        if time.monotonic() > deadline:
            hint = "stop the program that uses it, or choose another"
            raise ConfigError(f"{name} {port} on {host}", f"cannot be used ({problem})", hint)
        time.sleep(0.1)


def _hindrance(host: str, port: int) -> str | None:
    """Why a port cannot be used; None if it can."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # ignore connections that have ended
        try:
            probe.bind((host, port))
            probe.listen()
        except OSError as error:
            return error.strerror or type(error).__name__
    return None


def toml_string(text: str) -> str:
    """`text` as a TOML basic string: that of JSON, except that TOML wants DEL escaped as well."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _without_proxy() -> str:
    """Hosts that are reached without a proxy; always includes the loopback address."""
    own = os.environ.get("NO_PROXY", os.environ.get("no_proxy"))
    return f"127.0.0.1,{own}" if own else "127.0.0.1"
