"""Hashes that `sha256sum -c` checks."""

import subprocess
from pathlib import Path

import pytest

from silogan.common.errors import DataError
from silogan.server.release.manifest import SUMS_FILE, write_sums


def checked(folder: Path) -> int:
    """The exit code of `sha256sum -c`."""
    return subprocess.run(["sha256sum", "-c", "--quiet", "--strict", SUMS_FILE], check=False, cwd=folder).returncode


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a/1.png", "a/deep/er.png", "ä b/two words", "back\\slash", "line\nend", "README.md"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    return tmp_path


def test_sha256sum_finds_every_file_right(folder: Path) -> None:
    write_sums(folder)
    lines = (folder / SUMS_FILE).read_text().splitlines()
    assert [line.split("  ")[1] for line in lines] == [
        *("README.md", "a/1.png", "a/deep/er.png", "back\\\\slash", "line\\nend", "ä b/two words"),
    ]
    assert checked(folder) == 0
    write_sums(folder)  # its own hash is not among them
    assert checked(folder) == 0


def test_sha256sum_finds_a_changed_and_a_missing_file(folder: Path) -> None:
    write_sums(folder)
    (folder / "a" / "1.png").write_bytes(b"a/1.pnh")
    assert checked(folder) == 1
    write_sums(folder)
    (folder / "line\nend").unlink()
    assert checked(folder) == 1


def test_a_link_is_refused(folder: Path) -> None:
    (folder / "link").symlink_to("/etc/hostname")
    with pytest.raises(DataError, match=r"link': is not a plain file or folder; replace it with its content$"):
        write_sums(folder)
    assert not (folder / SUMS_FILE).exists()
