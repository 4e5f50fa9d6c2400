import sys

import pytest

from silogan.common.errors import UsageError
from silogan.common.libraries import library


def test_a_library_that_is_there_is_imported() -> None:
    assert library("json.decoder", "extra", "this").JSONDecoder().decode("1") == 1


def test_a_library_that_is_missing_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "json.tool", None)
    with pytest.raises(UsageError) as caught:
        library("json.tool", "extra", "these", needs="need", hint="do without")
    expected = "these: need json, which is not installed; pip install 'silogan[extra]', or do without"
    assert str(caught.value) == expected
