import json
import logging
from pathlib import Path

import pytest

from silogan.common.errors import ConfigError, DataError
from silogan.common.operations.logs import JsonLines, is_line, open_log

PATIENT = "Astrid Lindqvist"


def line_of(error: BaseException | None, message: str = "round failed") -> str:
    record = logging.LogRecord("silogan.worker", logging.WARNING, "file", 1, message, (), None)
    if error is not None:
        try:
            raise error
        except type(error) as caught:
            record.exc_info = (type(caught), caught, caught.__traceback__)
    return JsonLines().format(record)


def test_text_of_an_exception_is_not_written() -> None:
    line = line_of(ValueError(f"cannot decode {PATIENT}.png"))
    assert PATIENT not in line
    assert json.loads(line)["error"] == "ValueError"
    assert "line_of" in json.loads(line)["where"][0]


def test_our_own_errors_are_written_whole() -> None:
    error = DataError("cohort 'xrays'", "holds records that were not registered", "register it")
    assert json.loads(line_of(error))["error_text"] == str(error)


def test_lines_are_known_again_and_other_text_is_not() -> None:
    assert is_line(line_of(None))
    assert not any(is_line(text) for text in ("", "INFO: started", "[1]", '{"message": "x"}', "{"))


def test_a_line_that_is_ready_passes_as_it_is() -> None:
    ready = line_of(None)
    record = logging.LogRecord("silogan.x", logging.INFO, "file", 1, "%s", (ready,), None)
    record.ready = True
    assert JsonLines().format(record) == ready


def test_a_log_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "logs").write_text("a file")
    with pytest.raises(ConfigError, match=r"node\.jsonl.*cannot be written"):
        open_log(tmp_path / "logs" / "node.jsonl")
