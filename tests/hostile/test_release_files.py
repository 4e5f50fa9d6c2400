"""A release that somebody else has made or changed: each is found, in one line, and nothing is unpacked.

what was done                                    test
------------------------------------------------ --------------------------------------------------------------------
any byte changed                                 test_any_changed_byte_is_found
cut off, appended to, something put before it    test_what_was_cut_off_or_added_is_found
another key                                      test_another_key_is_found
manifest, file or order swapped                  test_a_swapped_part_is_found
paths, links, two of a name, compressed bombs    test_an_archive_of_another_form_is_found
escape sequences in what is signed               test_what_is_printed_moves_no_cursor
"""

import io
import json
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from silogan.common.errors import VerificationError
from silogan.server.release import sealed
from silogan.server.release.sealed import MANIFEST, SIGNATURE, seal, verify
from tests.server.release.test_sealed import FILES, KEY, STATEMENT

OTHER = Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33)))
Parts = dict[str, bytes]


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("release") / "r.zip"
    seal(path, STATEMENT, FILES, KEY)
    verify(path, KEY.public_key())
    return path.read_bytes()


def refused(path: Path, content: bytes) -> str:
    path.write_bytes(content)
    before = set(path.parent.iterdir())
    with pytest.raises(VerificationError) as error:
        verify(path, KEY.public_key())
    assert set(path.parent.iterdir()) == before
    assert "\n" not in str(error.value)
    return error.value.problem


@given(data=st.data())
def test_any_changed_byte_is_found(
    release: bytes, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    place = data.draw(st.integers(0, len(release) - 1))
    change = data.draw(st.integers(1, 255))
    path = tmp_path_factory.getbasetemp() / "changed.zip"
    refused(path, release[:place] + bytes([release[place] ^ change]) + release[place + 1 :])


def test_a_changed_byte_of_each_field_of_the_archive_is_found(release: bytes, tmp_path: Path) -> None:
    """Every byte of the first member's header and of the directory, in which zipfile itself overlooks most."""
    directory = release.rindex(b"PK\x01\x02")
    for place in (*range(60), *range(directory, len(release))):
        refused(tmp_path / "r.zip", release[:place] + bytes([release[place] ^ 1]) + release[place + 1 :])


@pytest.mark.parametrize(
    "change",
    [
        lambda content: content[:-1],
        lambda content: content[: len(content) // 2],
        lambda content: content[:0],
        lambda content: content + b"\0",
        lambda content: content + content,
        lambda content: b"#!/bin/sh\n" + content,
        lambda content: content[:-2] + struct.pack("<H", 4) + b"note",  # the archive's own comment
    ],
    ids=["last byte", "half", "all", "a byte", "itself", "before", "comment"],
)
def test_what_was_cut_off_or_added_is_found(release: bytes, tmp_path: Path, change: Callable[[bytes], bytes]) -> None:
    assert refused(tmp_path / "r.zip", change(release)) in (
        "is cut off, damaged or not a release",
        "has bytes that belong to no file: something was changed or appended",
    )


def test_another_key_is_found(tmp_path: Path) -> None:
    seal(tmp_path / "other.zip", STATEMENT, FILES, OTHER)
    assert "is not signed by this key" in refused(tmp_path / "r.zip", (tmp_path / "other.zip").read_bytes())


def parts(content: bytes) -> Parts:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def archive_of(members: Parts, kind: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", kind) as archive:
        for name, content in members.items():
            info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            info.create_system, info.external_attr = 3, 0o100644 << 16
            archive.writestr(info, content, kind)
    return file.getvalue()


def test_the_archives_made_here_are_those_of_a_release(release: bytes) -> None:
    """Otherwise the findings below could come from how they are made."""
    assert archive_of(parts(release)) == release


def with_verdict(text: bytes) -> bytes:
    manifest = json.loads(text)
    manifest["statement"]["verdict"] = "usable: perfect"
    return json.dumps(manifest).encode()


def without(members: Parts, *names: str) -> Parts:
    return {name: content for name, content in members.items() if name not in names}


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda p: {**p, MANIFEST: with_verdict(p[MANIFEST])}, "not signed by this key"),
        (lambda p: {**p, SIGNATURE: bytes(64)}, "not signed by this key"),
        (lambda p: {**p, SIGNATURE: p[SIGNATURE] * 2}, "not signed by this key"),
        (lambda p: {**p, SIGNATURE: b""}, "not signed by this key"),
        (lambda p: {**p, "generator.safetensors": bytes(999) + b"\1"}, "has a changed generator.safetensors"),
        (lambda p: {**p, "samples.png": b"patient"}, "holds samples.png, which its manifest does not name"),
        (lambda p: without(p, "datasheet.md"), "lacks datasheet.md"),
        (lambda p: without(p, MANIFEST), "does not begin with a manifest"),
        (lambda p: without(p, SIGNATURE), "does not begin with a manifest"),
        (lambda p: dict(reversed(p.items())), "does not begin with a manifest"),
        (
            lambda p: {name: p[name] for name in (MANIFEST, SIGNATURE, *reversed(FILES))},
            "has its files in another order",
        ),
        (lambda p: without(p, *p), "does not begin with a manifest"),
    ],
    ids=range(12),
)
def test_a_swapped_part_is_found(
    release: bytes, tmp_path: Path, change: Callable[[Parts], Parts], problem: str
) -> None:
    assert problem in refused(tmp_path / "r.zip", archive_of(change(parts(release))))


@pytest.mark.parametrize(
    "name",
    ["../evil.md", "/etc/evil.md", "a/../../evil.md", "folder/evil.md", "C:\\evil.md", "Evil.MD", "e\x1b.md"],
)
def test_a_name_that_leads_elsewhere_is_found(release: bytes, tmp_path: Path, name: str) -> None:
    problem = refused(tmp_path / "r.zip", archive_of({**parts(release), name: b"x"}))
    assert problem == "holds a file under a name that a release does not have"


def twice(release: bytes) -> bytes:
    file = io.BytesIO(release)
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(file, "a") as archive:
        archive.writestr("datasheet.md", b"another")
    return file.getvalue()


def bomb(release: bytes) -> bytes:
    return archive_of({**parts(release), "bomb.md": bytes(10**8)}, zipfile.ZIP_DEFLATED)


def overlapping(release: bytes) -> bytes:
    """Members that claim the same bytes: 30 files out of one, each as large as the archive."""
    members = {**parts(release), **{f"b{number}.md": b"" for number in range(28)}}
    content = bytearray(archive_of(members))
    at = content.find(b"PK\x01\x02")
    while at >= 0:
        content[at + 20 : at + 28] = struct.pack("<II", 2**31, 2**31)
        at = content.find(b"PK\x01\x02", at + 1)
    return bytes(content)


def crowd(release: bytes) -> bytes:
    return archive_of({**parts(release), **{f"f{number}.md": b"" for number in range(100)}})


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (twice, "holds two files of one name"),
        (bomb, "holds a compressed file"),
        (overlapping, "holds files that claim to be larger than all of it"),
        (crowd, "holds more than 32 files"),
    ],
)
def test_an_archive_of_another_form_is_found(
    release: bytes, tmp_path: Path, make: Callable[[bytes], bytes], problem: str
) -> None:
    assert refused(tmp_path / "r.zip", make(release)) == problem


def test_a_file_beyond_all_bounds_is_not_read(release: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealed, "MOST_BYTES", len(release) - 1)
    assert "is larger than" in refused(tmp_path / "r.zip", release)


@pytest.mark.parametrize("title", ["\x1b[2J", "a\nb", "\u202eevil"])
def test_what_is_printed_moves_no_cursor(title: str) -> None:
    """Whoever has the key could sign it: such a statement cannot even be made."""
    with pytest.raises(ValueError, match="cannot be printed"):
        sealed.Statement(**{**vars(STATEMENT), "title": title})
