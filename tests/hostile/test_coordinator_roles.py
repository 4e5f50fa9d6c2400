"""Operator and reader: what a user of the machine may do follows from the rights of files, and from nothing else."""

import grp
import importlib
import json
import os
import shutil
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from silogan.server.operations.coordinator import CONTROL_SECRET, Coordinator
from silogan.server.operations.submission import Submission
from silogan.server.operations.view import View, admit_readers
from tests.hostile.coordinators import add_run, make_coordinator, new_line, server

STRANGER, READER = 65534, 65533
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be other users")


@contextmanager
def user(number: int, *groups: int) -> Generator[None]:
    """This process with another user's rights to files."""
    for module in (
        "silogan.server.operations.backup",
        "silogan.server.operations.repair",
        "silogan.server.operations.view",
        "rich.table",
    ):
        importlib.import_module(module)  # the other user may not be able to read this software
    before = os.getgroups()
    os.setgroups(groups)
    os.setegid(groups[0] if groups else number)
    os.seteuid(number)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(before)


@pytest.fixture
def coordinator() -> Generator[Coordinator]:
    """In a folder to which every user of the machine has a way, with files as a lax umask makes them."""
    place = Path(tempfile.mkdtemp())
    place.chmod(0o755)
    before = os.umask(0o022)
    try:
        made = make_coordinator(place / "server")
        made.enrolment.enrol("bergen", new_line(), 300)
        yield made
    finally:
        os.umask(before)
        shutil.rmtree(place)


@pytest.fixture
def group(coordinator: Coordinator) -> int:
    """A group whose members are readers; the coordinator has written its view."""
    found = grp.getgrall()[1]
    admit_readers(coordinator.folder, found.gr_name)
    View(coordinator).refresh()
    return found.gr_gid


def files(folder: Path) -> list[Path]:
    """All files of a coordinator, as its operator sees them."""
    return [path for path in folder.rglob("*") if path.is_file()]


def readable(paths: list[Path]) -> set[str]:
    """The names of those that this user can read, who knows where they are."""
    return {path.name for path in paths if os.access(path, os.R_OK, effective_ids=True)}


def test_a_reader_sees_how_it_stands_and_who_did_what(coordinator: Coordinator, group: int) -> None:
    every = files(coordinator.folder)
    with user(READER, group):
        shown = server(coordinator.folder, "status", "--json")
        assert shown.code == 0, shown.err
        assert [site["name"] for site in json.loads(shown.out)["sites"]] == ["bergen"]
        assert server(coordinator.folder, "status").out.startswith("as of ")
        assert server(coordinator.folder, "status", "--actions").code == 0
        assert readable(every) == {"status.json"}


@pytest.mark.parametrize("who", ["reader", "stranger"])
def test_who_is_no_operator_can_change_nothing(coordinator: Coordinator, group: int, who: str) -> None:
    run = add_run(coordinator, 1, Submission("queued"))
    before = {path: path.read_bytes() for path in files(coordinator.folder)}
    groups = (group,) if who == "reader" else ()
    with user(READER if who == "reader" else STRANGER, *groups):
        for command in (("stop", run), ("stop",), ("enrol", "bergen", "--remove"), ("repair",), ("backup", "b")):
            done = server(coordinator.folder, *command)
            assert done.code in (2, 3), (command, done)
            assert done.err.count("\n") == 1
            assert "unexpected" not in done.err
    assert {path: path.read_bytes() for path in files(coordinator.folder)} == before


def test_a_stranger_sees_nothing(coordinator: Coordinator, group: int) -> None:
    every = files(coordinator.folder)
    with user(STRANGER):
        assert server(coordinator.folder, "status").code in (2, 3)
        assert readable(every) == set()


def test_the_operators_secret_is_the_operators(coordinator: Coordinator) -> None:
    assert (coordinator.folder / CONTROL_SECRET).stat().st_mode & 0o777 == 0o600
    with user(STRANGER):
        assert not os.access(coordinator.folder / CONTROL_SECRET, os.R_OK, effective_ids=True)


def test_a_group_that_does_not_exist_is_named(coordinator: Coordinator) -> None:
    done = server(coordinator.folder, "init", "--name", "127.0.0.1", "--readers", "nobodys-group")
    assert done.code == 3
    assert "group 'nobodys-group': does not exist" in done.err
