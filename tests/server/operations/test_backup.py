"""A coordinator's folder goes into one file and comes back as it was, or not at all."""

import gzip
import hashlib
import io
import json
import sqlite3
import stat
import tarfile
import threading
import tracemalloc
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from silogan.common.errors import ConfigError, UsageError, VerificationError
from silogan.server.operations import backup
from silogan.server.operations.backup import back_up, restore
from silogan.server.operations.coordinator import DATABASE, Coordinator
from silogan.server.rounds.checkpoint import Checkpoint


@pytest.fixture
def coordinator(tmp_path: Path) -> Coordinator:
    made = Coordinator.create(tmp_path / "server", ["localhost"])
    run = made.folder / "runs" / "digits-1"
    for part in ("checkpoints", "samples"):
        (run / part).mkdir(parents=True)
    Checkpoint("study", 3, {}, {}).save(run)
    (run / "events.jsonl").write_text('{"round": 3}\n')
    for name in ("logs", "proxy", "flower"):
        (made.folder / name).mkdir()
        (made.folder / name / "file").write_text("is made anew")
    (made.folder / "services.json").write_text("{}")
    return made


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_a_folder_comes_back_with_all_that_cannot_be_made_anew(coordinator: Coordinator, tmp_path: Path) -> None:
    count = back_up(coordinator, tmp_path / "b.tar.gz")
    restored = restore(tmp_path / "b.tar.gz", tmp_path / "new" / "server")
    before, after = contents(coordinator.folder), contents(restored.folder)
    gone = {"logs/file", "proxy/file", "flower/file", "services.json"}
    assert after == {name: content for name, content in before.items() if name not in gone}
    assert count == len(after)
    assert {"ca.key", "superexec.secret", "inner/server.key", "runs/digits-1/events.jsonl"} <= after.keys()
    assert (restored.folder / "runs" / "digits-1" / "samples").is_dir()
    restored.authority.check(["localhost"])
    found = Checkpoint.latest(restored.folder / "runs" / "digits-1")
    assert found is not None
    assert found.round == 3


def test_only_the_owner_can_read_any_of_it(coordinator: Coordinator, tmp_path: Path) -> None:
    back_up(coordinator, tmp_path / "b.tar.gz")
    restored = restore(tmp_path / "b.tar.gz", tmp_path / "new")
    assert stat.S_IMODE((tmp_path / "b.tar.gz").stat().st_mode) == 0o600
    assert stat.S_IMODE(restored.folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in restored.folder.rglob("*") if path.is_file()} == {0o600}


def test_a_database_in_use_is_copied_as_of_its_last_transaction(coordinator: Coordinator, tmp_path: Path) -> None:
    with closing(sqlite3.connect(coordinator.folder / DATABASE)) as database:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("CREATE TABLE run (id INTEGER)")
        database.execute("INSERT INTO run VALUES (7)")
        database.commit()
        database.execute("INSERT INTO run VALUES (8)")  # not committed
        back_up(coordinator, tmp_path / "b.tar.gz")
    restored = restore(tmp_path / "b.tar.gz", tmp_path / "new")
    assert not list(restored.folder.glob(f"{DATABASE}-*"))
    with closing(sqlite3.connect(restored.folder / DATABASE)) as database:
        assert database.execute("SELECT id FROM run").fetchall() == [(7,)]


def test_a_run_that_goes_on_meanwhile_is_whole(coordinator: Coordinator, tmp_path: Path) -> None:
    run, stopping = coordinator.folder / "runs" / "digits-1", threading.Event()

    def train() -> None:
        number = 3
        while not stopping.is_set():
            number += 1
            Checkpoint("study", number, {}, {}).save(run)

    thread = threading.Thread(target=train)
    thread.start()
    try:
        for index in range(5):
            back_up(coordinator, tmp_path / f"{index}.tar.gz")
    finally:
        stopping.set()
        thread.join()
    for index in range(5):
        restored = restore(tmp_path / f"{index}.tar.gz", tmp_path / f"new-{index}")
        found = Checkpoint.latest(restored.folder / "runs" / "digits-1")
        assert found is not None
        assert found.round >= 3


def test_a_file_that_goes_while_a_folder_is_listed_becomes_no_folder(
    coordinator: Coordinator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone, listed = coordinator.folder / "runs" / "digits-1" / "checkpoints" / "gone.safetensors", Path.rglob
    gone.touch()

    def and_it_goes(self: Path, pattern: str) -> list[Path]:
        found = list(listed(self, pattern))
        gone.unlink(missing_ok=True)
        return found

    monkeypatch.setattr(Path, "rglob", and_it_goes)
    back_up(coordinator, tmp_path / "b.tar.gz")
    with tarfile.open(tmp_path / "b.tar.gz") as archive:
        assert not [name for name in archive.getnames() if gone.name in name]


def test_a_backup_is_not_overwritten(coordinator: Coordinator, tmp_path: Path) -> None:
    (tmp_path / "b.tar.gz").write_text("the last one")
    with pytest.raises(UsageError, match=r"exists; choose another name"):
        back_up(coordinator, tmp_path / "b.tar.gz")
    assert (tmp_path / "b.tar.gz").read_text() == "the last one"


def test_a_disk_that_fills_leaves_nothing(
    coordinator: Coordinator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    back_up(coordinator, tmp_path / "b.tar.gz")
    before = sorted(tmp_path.iterdir())

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tarfile.TarFile, "addfile", full)
    with pytest.raises(ConfigError, match=r"cannot be written \(No space left on device\)"):
        back_up(coordinator, tmp_path / "c.tar.gz")
    monkeypatch.setattr(backup, "create_privately", full)
    with pytest.raises(ConfigError, match=r"cannot be restored \(No space left on device\)"):
        restore(tmp_path / "b.tar.gz", tmp_path / "new")
    assert sorted(tmp_path.iterdir()) == before


def test_nothing_is_restored_over_a_folder_in_use(coordinator: Coordinator, tmp_path: Path) -> None:
    back_up(coordinator, tmp_path / "b.tar.gz")
    with pytest.raises(UsageError, match="restore into a new folder"):
        restore(tmp_path / "b.tar.gz", coordinator.folder)


def _archive(path: Path, members: dict[str, bytes], manifest: dict[str, str] | None = None) -> None:
    if manifest is None:
        manifest = {name: hashlib.sha256(content).hexdigest() for name, content in members.items()}
    with tarfile.open(path, "w:gz") as archive:
        for name, content in {**members, "manifest.json": json.dumps(manifest).encode()}.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))


def _link(path: Path) -> None:
    with tarfile.open(path, "w:gz") as archive:
        info = tarfile.TarInfo("server.yaml")
        info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(info)


DAMAGED: dict[str, Callable[[Path], None]] = {
    "empty": lambda path: path.write_bytes(b"") and None,
    "text": lambda path: path.write_text("no archive") and None,
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-200]) and None,
    "a bit turned": lambda path: (
        path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes()).replace(b"names: [", b"names: ("))) and None
    ),
    "a file added": lambda path: _archive(path, {"server.yaml": b"names: [x]"}, {}),
    "a file missing": lambda path: _archive(path, {}, {"server.yaml": "0"}),
    "outside": lambda path: _archive(path, {"../evil": b"x"}),
    "absolute": lambda path: _archive(path, {"/tmp/evil-of-a-backup": b"x"}),  # noqa: S108
    "a link": _link,
    "a manifest that is none": lambda path: _archive(path, {"manifest.json": b"[]"}),
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_a_damaged_backup_makes_no_folder(coordinator: Coordinator, tmp_path: Path, kind: str) -> None:
    back_up(coordinator, tmp_path / "b.tar.gz")
    DAMAGED[kind](tmp_path / "b.tar.gz")
    with pytest.raises(VerificationError, match="is damaged or not a backup; use another backup"):
        restore(tmp_path / "b.tar.gz", tmp_path / "new" / "server")
    assert list((tmp_path / "new").iterdir()) == []
    assert not (tmp_path / "evil").exists()
    assert not Path("/tmp/evil-of-a-backup").exists()  # noqa: S108


def test_a_backup_may_be_larger_than_the_memory(tmp_path: Path) -> None:
    large = bytes(2**26)
    with tarfile.open(tmp_path / "b.tar.gz", "w:gz", compresslevel=1) as archive:
        for name, content in (("large", large), ("manifest.json", b"{}")):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    del large
    tracemalloc.start()
    try:
        with pytest.raises(VerificationError, match="is damaged or not a backup"):
            restore(tmp_path / "b.tar.gz", tmp_path / "new")
        assert tracemalloc.get_traced_memory()[1] < 2**23
    finally:
        tracemalloc.stop()


def test_a_missing_backup_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot be restored \(No such file or directory\)"):
        restore(tmp_path / "none.tar.gz", tmp_path / "new")
