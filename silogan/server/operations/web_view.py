"""The live view of a coordinator in a browser: its hospitals and runs, and the newest run in detail."""

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from silogan.common.errors import SiloganError, reason
from silogan.common.pages.words import duration, epsilon
from silogan.common.printable import printable
from silogan.server.operations.coordinator import Coordinator
from silogan.server.operations.run_state import run_state
from silogan.server.operations.status import status
from silogan.server.operations.view import read_view

_SECONDS = 2.0
"""For which a status is shown again, however many pages ask."""


def coordinator_state(folder: Path) -> Callable[[], dict[str, Any]]:
    """What `silogan.server.operations.live_page` shows of a coordinator, looked up at most every two seconds.

    Raises:
        ConfigError: it is no coordinator's folder, or this user may not see it.
    """
    look = _looker(folder)
    lock, last, when = threading.Lock(), look(), time.monotonic()

    def state() -> dict[str, Any]:
        nonlocal last, when
        with lock:
            if time.monotonic() - when > _SECONDS:
                last, when = look(), time.monotonic()
            return last

    return state


def newest_run(folder: Path) -> Callable[[], Path | None]:
    """The folder of the run that is shown in detail: the one that runs, else the last; None if there is none."""

    def found() -> Path | None:
        if read_view(folder) is not None:
            return None  # a reader sees the status alone
        runs = Coordinator(folder).runs
        states = runs.all()
        running = [name for name, submission in states.items() if submission.state == "running"]
        names = running or list(states)
        return runs.path(names[-1]) if names else None

    return found


def _looker(folder: Path) -> Callable[[], dict[str, Any]]:
    newest = newest_run(folder)

    def look() -> dict[str, Any]:
        seen = read_view(folder)
        found: dict[str, Any] = status(Coordinator(folder)) if seen is None else seen["status"]
        services, run_dir = found["services"], newest()
        state: dict[str, Any] = {
            "title": "Coordinator",
            "terms": f"running: {', '.join(services)}" if services else "not running",
            "warnings": list(map(printable, (*found["certificate"]["warnings"], *found["problems"]))),
        }
        try:
            own = {} if run_dir is None else run_state(run_dir)
        except SiloganError as error:
            own = {"warnings": [printable(reason(error))]}
        left = [one["seconds_left"] for one in found["runs"] if one["seconds_left"] is not None]
        return {
            **state,
            **own,
            "warnings": state["warnings"] + own.get("warnings", []),
            "left": f"{duration(left[-1])} left" if left else "",
            "nodes": [{"name": printable(one["name"]), "state": printable(one["status"])} for one in found["sites"]],
            "runs": [_run(one) for one in found["runs"]],
            "ended": False,
        }

    return look


def _run(one: dict[str, Any]) -> dict[str, str]:
    rounds = "" if one["rounds"] is None else f"round {one['round']} of {one['rounds']}"
    spent = "" if one["epsilon"] is None else f"ε {epsilon(one['epsilon'])}"
    told = ", ".join(part for part in (rounds, spent, one["problem"]) if part)
    return {"name": printable(one["name"]), "state": one["state"], "told": printable(told)}
