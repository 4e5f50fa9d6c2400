"""Logs as JSON lines: one object per line with time, level, source and message, in rotated files.

Privacy:
    An exception is written as its type and where it was raised, never with its text, which may quote a patient's data.
    A `SiloganError` is the exception to this: its text is made to be read by others (`common/errors.py`).
"""

import json
import logging
import sys
import traceback
from datetime import UTC, datetime
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import cast

from silogan.common.errors import SiloganError
from silogan.common.files import writing

_BYTES, _KEPT = 10 * 2**20, 5  # of one file, and how many older ones stay


class JsonLines(logging.Formatter):
    """A record as one line of JSON; one with the attribute `ready` is such a line already."""

    def format(self, record: logging.LogRecord) -> str:
        """See `logging.Formatter`."""
        if getattr(record, "ready", False):
            text = record.getMessage()
            return text if text.isprintable() else _escaped(json.loads(text))
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "from": record.name.removeprefix("silogan."),
            "message": record.getMessage(),
        }
        error = record.exc_info[1] if record.exc_info else None
        if error is not None:
            line |= describe(error)
        text = json.dumps(line, ensure_ascii=False)
        return text if text.isprintable() else _escaped(line)


def _escaped(line: object) -> str:
    """JSON without a character that moves a terminal's cursor or turns the direction of writing."""
    return json.dumps(line).replace("\x7f", "\\u007f")


def describe(error: BaseException) -> dict[str, object]:
    """What a log may contain of an exception: its type, its origin, and its text if the exception is ours."""
    frames = traceback.extract_tb(error.__traceback__)
    where = [f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in frames]
    text = {"error_text": str(error)} if isinstance(error, SiloganError) else {}
    return {"error": type(error).__name__, **text, "where": where}


def open_log(path: Path) -> None:
    """Sends everything that this process logs to a file of JSON lines.

    Raises:
        ConfigError: the file cannot be written.
    """
    with writing(f"log '{path}'", "free or repair the disk"):
        path.parent.mkdir(parents=True, exist_ok=True)
        handler = RotatingFileHandler(path, maxBytes=_BYTES, backupCount=_KEPT, encoding="utf-8")
    _log_to(handler)


def log_to_stderr() -> None:
    """Sends everything that this process logs to its standard error, as JSON lines for a supervisor's log."""
    _log_to(logging.StreamHandler(sys.stderr))


def is_line(text: str) -> bool:
    """Whether a text is a line that `JsonLines` has made, which a supervisor passes on as it is."""
    try:
        line: object = json.loads(text)
    except ValueError:
        return False
    return isinstance(line, dict) and {"time", "level", "from", "message"} <= set(cast(dict[str, object], line))


def _log_to(handler: logging.Handler) -> None:
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    logging.getLogger("httpx").setLevel(logging.WARNING)  # one line a request
