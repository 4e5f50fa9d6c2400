"""Checks a Croissant description with the library of MLCommons, without a network."""

import socket
import warnings
from pathlib import Path
from typing import Any

import mlcroissant
import pytest


def validated(path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The data set, after its description was found without an error."""

    def refuse(*_: object) -> None:
        raise AssertionError("no network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the library's own dependencies
        described = mlcroissant.Dataset(str(path))
    assert not described.metadata.issues.errors
    return described


def records(described: Any, name: str) -> list[dict[str, Any]]:
    """The records of a set; names of fields without that of the set."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = list(described.records(name))
    return [{key.partition("/")[2]: _text(value) for key, value in record.items()} for record in found]


def _text(value: Any) -> Any:
    return value.decode() if isinstance(value, bytes) else value
