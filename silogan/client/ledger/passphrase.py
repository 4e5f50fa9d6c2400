"""The passphrase that may protect a hospital's keys; asked for once per process, and kept in memory only.

A parent of this process gives it (the node to its services), else systemd or a container does as a credential, else a
person on a terminal.
"""

import getpass
import os
import sys
from pathlib import Path
from typing import BinaryIO

from silogan.common.errors import UsageError

CREDENTIAL, NEW_CREDENTIAL = "silogan.passphrase", "silogan.new-passphrase"
"""Files in `$CREDENTIALS_DIRECTORY` (systemd: `LoadCredential=`, `ImportCredential=`) with it and with the next one."""

_LONGEST = 1024

_given: bytes | None = None


def passphrase() -> bytes:
    """The passphrase, one line without its end.

    Raises:
        UsageError: no passphrase is given.
    """
    global _given  # noqa: PLW0603  (asked for once)
    if _given is None:
        _given = _from_credential(CREDENTIAL) or _asked("passphrase of this node's keys: ")
    return _given


def new_passphrase() -> bytes:
    """A new passphrase: from the credential, else asked for twice on a terminal.

    Raises:
        UsageError: none is given, it is empty or too long, or the second one differs.
    """
    new = _from_credential(NEW_CREDENTIAL)
    if new is None:
        new = _asked("new passphrase: ", NEW_CREDENTIAL)
        if _asked("repeat it: ", NEW_CREDENTIAL) != new:
            raise UsageError("passphrase", "differs from the first one", "try again")
    return new


def remember(given: bytes) -> None:
    """Stores the passphrase that this process was given; empty means none."""
    global _given  # noqa: PLW0603  (given once)
    _given = given or None


def handed_over() -> bytes:
    """What a service gets on its standard input: the passphrase if there is one, else nothing."""
    return _given or b""


def take_over(stream: BinaryIO) -> None:
    """Remembers what a process that called `handed_over` has written to this one's standard input."""
    remember(stream.read(_LONGEST))


def _from_credential(name: str) -> bytes | None:
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    if not folder:
        return None
    try:
        with (Path(folder) / name).open("rb") as file:
            return _checked(file.read(_LONGEST + 2).rstrip(b"\r\n"))
    except FileNotFoundError:
        return None
    except OSError as error:
        problem = f"cannot be read ({error.strerror})"
        raise UsageError(f"credential '{name}'", problem, "let this user read it") from None


def _asked(question: str, name: str = CREDENTIAL) -> bytes:
    if sys.stdin is None or not sys.stdin.isatty():
        hint = f"answer on a terminal, or give the credential {name}"
        raise UsageError("passphrase", "is needed, but there is no terminal to ask on", hint)
    return _checked(getpass.getpass(question).encode())


def _checked(given: bytes) -> bytes:
    if not 0 < len(given) <= _LONGEST or b"\n" in given:
        raise UsageError("passphrase", "is empty or not one line", f"give one line of at most {_LONGEST} bytes")
    return given
