"""A file is there whole or not at all, and on the disk before anybody relies on it."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO

import pytest

from silogan.common.files import create_secret, folder_atomically, write_atomically, write_bytes_atomically


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_content_is_written_and_replaced(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    write_bytes_atomically(path, b"old" * 1000)
    write_atomically(path, lambda file: file.write(b"new"))
    assert path.read_bytes() == b"new"
    assert names(tmp_path) == ["run.yaml"]


@pytest.mark.parametrize("failure", [OSError("no space"), ValueError("bug"), KeyboardInterrupt()])
def test_a_failing_writer_leaves_the_old_file_and_nothing_else(tmp_path: Path, failure: BaseException) -> None:
    path = tmp_path / "run.yaml"
    path.write_bytes(b"old")

    def half(file: BinaryIO) -> None:
        file.write(b"ne")
        file.flush()
        raise failure

    with pytest.raises(type(failure)):
        write_atomically(path, half)
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["run.yaml"]


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_failing_disk_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    path = tmp_path / "run.yaml"
    path.write_bytes(b"old")

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(*((os, "fsync") if step == "fsync" else (Path, "replace")), fail)
    with pytest.raises(OSError, match="No space left"):
        write_bytes_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["run.yaml"]


def test_while_it_is_written_the_old_file_stands(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_bytes(b"old")
    seen: list[bytes] = []

    def write(file: BinaryIO) -> None:
        file.write(b"new")
        file.flush()
        seen.append(path.read_bytes())

    write_atomically(path, write)
    assert seen == [b"old"]


@pytest.mark.skipif(os.name != "posix", reason="folders are synced on POSIX only")
def test_the_content_is_synced_before_the_rename_and_the_folder_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "run.yaml"
    done: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def noting_fsync(descriptor: int) -> None:
        is_folder = os.path.samestat(os.fstat(descriptor), tmp_path.stat())
        done.append("sync folder" if is_folder else f"sync {os.fstat(descriptor).st_size} bytes")
        fsync(descriptor)

    def noting_replace(self: Path, target: Path) -> Path:
        done.append("rename")
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", noting_fsync)
    monkeypatch.setattr(Path, "replace", noting_replace)
    write_bytes_atomically(path, b"12345")
    assert done == ["sync 5 bytes", "rename", "sync folder"]


def test_a_missing_folder_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_bytes_atomically(tmp_path / "no" / "run.yaml", b"")


def test_a_secret_is_its_owner_s_alone_and_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "site.key"
    create_secret(path, b"first")
    with pytest.raises(FileExistsError):
        create_secret(path, b"second")
    assert path.read_bytes() == b"first"
    assert os.name != "posix" or path.stat().st_mode & 0o777 == 0o600
    assert names(tmp_path) == ["site.key"]


def test_of_secrets_written_at_once_one_is_there(tmp_path: Path) -> None:
    path = tmp_path / "site.key"

    def create(number: int) -> int:
        try:
            create_secret(path, str(number).encode())
        except FileExistsError:
            return -1
        return number

    with ThreadPoolExecutor(8) as pool:
        written = set(pool.map(create, range(8))) - {-1}
    assert written == {int(path.read_bytes())}


def test_a_secret_that_the_disk_does_not_take_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space left"):
        create_secret(tmp_path / "site.key", b"secret")
    assert names(tmp_path) == []


@pytest.mark.parametrize("empty", [True, False])
def test_a_folder_appears_when_it_is_whole(tmp_path: Path, empty: bool) -> None:
    path = tmp_path / "out"
    if empty:
        path.mkdir()
        number = path.stat().st_ino
    with folder_atomically(path) as folder:
        (folder / "class").mkdir()
        (folder / "class" / "0.png").write_bytes(b"0")
        (folder / "README.md").write_bytes(b"1")
        assert [name for name in (names(path) if empty else names(tmp_path)) if not name.startswith(".")] == []
    assert names(path) == ["README.md", "class"]
    assert (path / "class" / "0.png").read_bytes() == b"0"
    assert names(tmp_path) == ["out"]
    assert not empty or path.stat().st_ino == number


@pytest.mark.parametrize("empty", [True, False])
@pytest.mark.parametrize("failure", [OSError("no space"), ValueError("bug"), KeyboardInterrupt()])
def test_a_folder_that_is_not_finished_leaves_nothing(tmp_path: Path, failure: BaseException, empty: bool) -> None:
    if empty:
        (tmp_path / "out").mkdir()

    def half() -> None:
        with folder_atomically(tmp_path / "out") as folder:
            (folder / "class").mkdir()
            (folder / "class" / "0.png").write_bytes(b"0")
            raise failure

    with pytest.raises(type(failure)):
        half()
    assert names(tmp_path) == (["out"] if empty else [])
    assert not empty or names(tmp_path / "out") == []


def test_a_folder_never_replaces_what_came_meanwhile(tmp_path: Path) -> None:
    def late() -> None:
        with folder_atomically(tmp_path / "out") as folder:
            (folder / "0.png").write_bytes(b"0")
            (tmp_path / "out").mkdir()
            (tmp_path / "out" / "thesis.txt").write_bytes(b"precious")

    with pytest.raises(OSError, match="not empty"):
        late()
    assert names(tmp_path) == ["out"]
    assert names(tmp_path / "out") == ["thesis.txt"]
