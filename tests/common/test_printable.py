import json
import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from silogan.common.errors import FederationError
from silogan.common.operations.logs import JsonLines
from silogan.common.printable import printable


@given(st.text())
def test_nothing_else_comes_out(text: str) -> None:
    assert printable(text).isprintable()
    assert str(FederationError(text, text, text)).isprintable()


@given(st.text().filter(str.isprintable))
def test_what_can_be_printed_stays(text: str) -> None:
    assert printable(text) == text


@given(st.text())
@pytest.mark.parametrize("ready", [False, True])
def test_a_log_line_is_printable_json_with_all_that_was_said(ready: bool, text: str) -> None:
    line = json.dumps({"message": text}, ensure_ascii=False) if ready else text
    record = logging.LogRecord("silogan.x", logging.INFO, "", 0, "%s", (line,), None)
    record.ready = ready
    out = JsonLines().format(record)
    assert out.isprintable()
    assert json.loads(out)["message"] == text
