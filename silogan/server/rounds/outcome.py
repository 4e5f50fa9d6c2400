"""The outcome of a federation as a file, for engines that run the server in another process."""

import json
from pathlib import Path

from silogan.common.errors import ERRORS_BY_EXIT_CODE, FederationError, SiloganError
from silogan.common.files import write_bytes_atomically
from silogan.common.wire.run_folder import OUTCOME_FILE


def write_outcome(run_dir: Path, error: SiloganError | None) -> None:
    """Records success (None) or the error that ended the run."""
    content = {"exit_code": 0, "error": None}
    if error is not None:
        parts = {"thing": error.thing, "problem": error.problem, "hint": error.hint}
        content = {"exit_code": error.exit_code, "error": parts}
    write_bytes_atomically(run_dir / OUTCOME_FILE, json.dumps(content).encode())


def raise_outcome(run_dir: Path) -> None:
    """Raises the recorded error, if there is one.

    Raises:
        FederationError: nothing was recorded: the server died.
    """
    try:
        content = json.loads((run_dir / OUTCOME_FILE).read_text(encoding="utf-8"))
        kind = ERRORS_BY_EXIT_CODE.get(content["exit_code"], FederationError)
        parts = [str(content["error"][part]) for part in ("thing", "problem", "hint")] if content["exit_code"] else []
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        raise FederationError(
            "server", "exited without reporting a result", "see the run folder's logs, then use --resume"
        ) from None
    if parts:
        raise kind(*parts)
