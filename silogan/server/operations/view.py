"""The readers' view of a coordinator: its status and action log, in a file that a group may read.

operator   the user whose folder it is: has the secrets, may do everything
reader     in the group of `view/`: sees `view/status.json`, a snapshot that is a few seconds old, and nothing else
"""

import grp
import json
import os
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

from silogan.common.errors import ConfigError
from silogan.common.files import write_bytes_atomically
from silogan.server.operations.actions import read_actions
from silogan.server.operations.coordinator import CONTROL_SECRET, Coordinator, require_access
from silogan.server.operations.status import status

VIEW_FOLDER = "view"
_FILE = "status.json"
_SECONDS = 5.0
_ACTIONS = 1000  # the latest


def admit_readers(folder: Path, group: str) -> None:
    """Gives a group of the operating system read access to a coordinator's status.

    Raises:
        ConfigError: there is no such group, or this user may not give it access.
    """
    try:
        number = grp.getgrnam(group).gr_gid
        view = folder / VIEW_FOLDER
        view.mkdir(exist_ok=True)
        for path, mode in ((folder, 0o710), (view, 0o2750)):
            os.chown(path, -1, number)
            path.chmod(mode)
    except KeyError:
        raise ConfigError(
            f"group '{group}'", "does not exist", "create it with `groupadd`, or correct the name"
        ) from None
    except OSError as error:
        hint = "run this as a member of the group"
        raise ConfigError(
            f"group '{group}'", f"cannot be given access to the status ({error.strerror})", hint
        ) from None
    _close(folder)


class View:
    """The snapshot of a running coordinator; none if no group was admitted.

    Args:
        coordinator: whose.
    """

    def __init__(self, coordinator: Coordinator) -> None:
        self._coordinator = coordinator
        self._written = 0.0

    def refresh(self) -> None:
        """Rewrites the snapshot every few seconds."""
        folder = self._coordinator.folder
        if time.monotonic() - self._written < _SECONDS or not (folder / VIEW_FOLDER).is_dir():
            return
        self._written = time.monotonic()
        facts = {
            "when": datetime.now(UTC).isoformat(timespec="seconds"),
            "status": status(self._coordinator),
            "actions": read_actions(folder)[-_ACTIONS:],
        }
        with suppress(OSError):  # a full disk: readers see an older one
            _close(folder)
            write_bytes_atomically(folder / VIEW_FOLDER / _FILE, json.dumps(facts).encode())
            (folder / VIEW_FOLDER / _FILE).chmod(0o640)


def read_view(folder: Path) -> dict[str, Any] | None:
    """The snapshot, for a user who is not an operator; None for an operator, or if there is no snapshot.

    Raises:
        ConfigError: it is damaged, or this user may not see it.
    """
    require_access(folder)
    if os.access(folder / CONTROL_SECRET, os.R_OK, effective_ids=True):
        return None
    try:
        facts: object = json.loads((folder / VIEW_FOLDER / _FILE).read_bytes())
    except OSError:
        return None
    except (ValueError, RecursionError):
        facts = None
    if not isinstance(facts, dict) or not {"when", "status", "actions"} <= cast(dict[str, Any], facts).keys():
        raise ConfigError(f"file '{_FILE}'", "is damaged", "wait until the coordinator writes it again")
    return cast(dict[str, Any], facts)


def _close(folder: Path) -> None:
    """Takes from other users what the group could reach by name: all in the folder but the view."""
    for path in folder.iterdir():
        if path.name != VIEW_FOLDER and path.stat().st_mode & 0o077:
            with suppress(FileNotFoundError):
                path.chmod(path.stat().st_mode & 0o700)
