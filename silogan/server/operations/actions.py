"""The action log: who did what at the coordinator, as JSON lines to which commands only append.

A line has `when` (UTC), `who` (the user of the operating system; with `sudo`, also who that was), `what` (the command),
what it was about, and `result`: done, or why not.
"""

import json
import os
import pwd
from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

from silogan.common.errors import ConfigError, SiloganError

ACTIONS_FILE = "actions.jsonl"
_LONGEST = 200  # characters of a value


@contextmanager
def acting(folder: Path, what: str, **about: object) -> Generator[None]:
    """Logs the action inside the context, and its result.

    Raises:
        ConfigError: it could not be written down; nothing was done.
    """
    line: dict[str, object] = {"when": _now(), "who": _who(), "what": what}
    line |= {key: _shown(value) for key, value in about.items() if value is not None}
    try:
        descriptor = os.open(folder / ACTIONS_FILE, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    except OSError as error:
        problem = f"cannot be written ({error.strerror}), so the command does nothing"
        raise ConfigError(f"action log '{ACTIONS_FILE}'", problem, "run this as the coordinator's user") from None
    result = "interrupted"
    try:
        yield
        result = "done"
    except SiloganError as error:
        result = str(error)
        raise
    except Exception as error:
        result = type(error).__name__
        raise
    finally:
        content = json.dumps({**line, "result": _shown(result)}).encode() + b"\n"
        with os.fdopen(descriptor, "wb", buffering=0) as file:
            file.write(content)  # one call: lines of two commands do not mix
            os.fsync(file.fileno())


def read_actions(folder: Path) -> list[dict[str, Any]]:
    """All readable lines, oldest first."""
    try:
        lines = (folder / ACTIONS_FILE).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    found: list[dict[str, Any]] = []
    for line in lines:
        try:
            action: object = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(action, dict):
            found.append({str(key): _shown(value) for key, value in cast(dict[object, object], action).items()})
    return found


def _shown(value: object) -> str:
    """A value as one printable line."""
    return "".join(letter if letter.isprintable() else "?" for letter in str(value))[:_LONGEST]


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _who() -> str:
    """The user who runs this, and the original login user, from the kernel or else from sudo."""
    user = _name(os.geteuid())
    try:
        login = int(Path("/proc/self/loginuid").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        login = 2**32 - 1
    before = _name(login) if login != 2**32 - 1 else os.environ.get("SUDO_USER", user)
    return user if before == user else f"{user} (logged in as {before})"


def _name(user: int) -> str:
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return f"user {user}"
